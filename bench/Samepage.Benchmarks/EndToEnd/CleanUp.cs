using System.Runtime.InteropServices;

namespace Samepage.Benchmarks.EndToEnd;

/// <summary>What must be put back however the run ends: also when it is interrupted or ended by a signal.</summary>
internal static class CleanUp
{
    private static readonly Lock Gate = new();
    private static readonly Stack<Action> Actions = [];
    private static readonly List<PosixSignalRegistration> Signals = [];

    /// <summary>Begins to listen for signals.</summary>
    public static void Arm()
    {
        if (Signals.Count > 0)
        {
            return;
        }

        AppDomain.CurrentDomain.ProcessExit += (_, _) => RunAll();
        PosixSignal[] ends = [PosixSignal.SIGINT, PosixSignal.SIGTERM, PosixSignal.SIGHUP, PosixSignal.SIGQUIT];
        foreach (var signal in ends)
        {
            Signals.Add(PosixSignalRegistration.Create(signal, context =>
            {
                context.Cancel = true;
                RunAll();
                Environment.Exit(128 + 2);
            }));
        }
    }

    /// <summary>Adds something to be done at the end; what was added last is done first.</summary>
    public static void Add(Action action)
    {
        lock (Gate)
        {
            Actions.Push(action);
        }
    }

    /// <summary>Does everything that was added, once; what fails is reported and does not keep the rest from running.
    /// </summary>
    public static void RunAll()
    {
        lock (Gate)
        {
            while (Actions.TryPop(out var action))
            {
                try
                {
                    action();
                }
#pragma warning disable CA1031 // The other actions must run.
                catch (Exception error)
#pragma warning restore CA1031
                {
                    Console.Error.WriteLine($"cleaning up: {error.Message}");
                }
            }
        }
    }
}
