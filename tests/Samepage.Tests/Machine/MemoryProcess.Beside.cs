namespace Samepage.Tests;

// Plans that are carried out beside the engine: at some moment between Start and Finish.
public sealed partial class MemoryProcess
{
    private (IPageStore Store, Memory<MergePlan> Plans)? _started;

    /// <summary>Plans carried out between Start and Finish, while the engine did something else.</summary>
    public int CarriedOutBeside { get; private set; }

    public void Start(IPageStore store, Memory<MergePlan> plans)
    {
        if (machine.Beside is null)
        {
            Execute(store, plans.Span);
            return;
        }

        Demand(_started is null, "Start");
        _started = (store, plans);
    }

    public bool IsUnderWay => _started is not null;

    public void Finish()
    {
        if (_started is { } started)
        {
            _started = null;
            Execute(started.Store, started.Plans.Span);
        }
    }

    /// <summary>The engine looks at memory: time passes, in which plans are carried out and programs write.</summary>
    private void TimePasses()
    {
        if (machine.Beside is not { } random)
        {
            return;
        }

        foreach (MemoryProcess process in machine.Processes)
        {
            if (process._started is not null && random.Next(3) == 0)
            {
                process.CarriedOutBeside++;
                process.Finish();
            }
        }

        if (random.Next(64) == 0)
        {
            machine.Meanwhile?.Invoke();
        }
    }

    private void Demand(bool nothingStarted, string call)
    {
        if (!nothingStarted)
        {
            machine.Violation($"{call} of {Name} while plans are carried out");
        }
    }
}
