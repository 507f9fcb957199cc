using System.Globalization;
using Samepage.Linux.Proc;

namespace Samepage.Linux.Tracing;

/// <summary>
/// Which threads of a target have children (/proc/PID/task/TID/children; CONFIG_PROC_CHILDREN, since Linux 4.2): a stop
/// window seizes them last and lets them go first. Without the file it is the leader alone.
/// </summary>
internal sealed class ParentThreads(ProcessIdentity process)
{
    /// <summary>Threads remembered; of more, the first ones.</summary>
    public const int Max = 64;

    private readonly HashSet<int> _known = [process.Pid];
    private readonly List<int> _tids = [];
    private readonly ProcBuffer _buffer = new();
    private int[] _all = [process.Pid];
    private long _nextLook;

    /// <summary>The threads as far as known; looks anew a few times a second, seldom when that takes long.</summary>
    public int[] Current()
    {
        long begin = Environment.TickCount64;
        if (begin >= _nextLook)
        {
            Look();
            _nextLook = begin + Math.Max(250, 100 * (Environment.TickCount64 - begin));
        }

        return _all;
    }

    /// <summary>Threads without children first: while one thread alone is held, no ignored SIGCHLD should meet it.</summary>
    public void Order(List<int> tids)
    {
        int[] parents = Current();
        if (tids.Count > 1)
        {
            List<int> last = tids.FindAll(tid => Array.IndexOf(parents, tid) >= 0);
            _ = tids.RemoveAll(last.Contains);
            tids.AddRange(last);
        }
    }

    private void Look()
    {
        if (!process.Proc.TryReadThreads(_tids))
        {
            return;
        }

        // One that had a child will have another: it stays known for as long as it lives.
        _ = _known.RemoveWhere(tid => tid != process.Pid && !_tids.Contains(tid));
        foreach (int tid in _tids)
        {
            if (_known.Count < Max && !_known.Contains(tid) && HasChildren(tid))
            {
                _ = _known.Add(tid);
            }
        }

        _all = [.. _known];
    }

    private bool HasChildren(int tid) =>
        process.Proc.Read(string.Create(CultureInfo.InvariantCulture, $"task/{tid}/children"), _buffer) == 0
        && !_buffer.Text.IsEmpty;
}
