namespace Samepage.Simulation;

/// <summary>
/// Goes through all combinations of choices of a deterministic program: each run replays the choices of the run
/// before, but for the last one that has an alternative left.
/// </summary>
public sealed class Choices
{
    private readonly List<(int Value, int End)> _made = [];
    private int _next;

    /// <summary>The choices of the present run, in order.</summary>
    public IReadOnlyList<int> Made => [.. _made.Take(_next).Select(choice => choice.Value)];

    /// <summary>One of the numbers from 0 up to, but not including, <paramref name="end"/>.</summary>
    public int Next(int end)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(end, 1);
        if (_next == _made.Count)
        {
            _made.Add((0, end));
        }

        (int value, int bound) = _made[_next++];
        Invariant.Check(bound == end);
        return value;
    }

    /// <summary>Prepares the next run.</summary>
    /// <returns>False when all combinations have been run.</returns>
    public bool Advance()
    {
        // What was not asked for any more belongs to an earlier run.
        _made.RemoveRange(_next, _made.Count - _next);
        _next = 0;
        while (_made.Count > 0)
        {
            (int value, int end) = _made[^1];
            if (value + 1 < end)
            {
                _made[^1] = (value + 1, end);
                return true;
            }

            _made.RemoveAt(_made.Count - 1);
        }

        return false;
    }
}
