using System.Diagnostics;
using System.Globalization;
using Samepage.Linux.Interop;
using Samepage.Linux.Tests.Live;
using Samepage.Linux.Tests.Support;
using Kind = Samepage.Linux.Tests.Interception.DeviceFileKind;

namespace Samepage.Linux.Tests.Interception;

/// <summary>
/// A random sequence of calls on /dev/ksm, made by a program and its children, and compared with a
/// <see cref="DeviceModel"/>: every answer at once, and from time to time which pages are registered. That is seen by
/// their frames: a second process has the same bytes and has registered them all, so that after a merge exactly the
/// registered pages lie in the same frames as its own.
/// </summary>
internal sealed class DeviceFuzzer : IDisposable
{
    public const ulong Base = 0x2000_0000_0000;

    // The window: pages that can be merged, a gap, shared memory, pages that can be merged.
    private const int GapAt = 48, SharedAt = 56, SecondAt = 64, Pages = 96;
    private const int ChildrenMax = 2, FilesMax = 24;
    private const int BadDescriptor = 77;
    private static readonly TimeSpan NoticedAfter = TimeSpan.FromMilliseconds(300);

    private readonly int _seed;
    private readonly Random _random;
    private readonly RunDaemon _daemon;
    private readonly Asker _asker, _reference;
    private readonly DeviceModel _model;
    private readonly TimeSpan _patience;
    private readonly List<string> _sequence = [];

    public DeviceFuzzer(RunDaemon daemon, int seed, DeviceFlaw flaw)
    {
        (_daemon, _seed, _random) = (daemon, seed, new Random(seed));
        // A wrong model never comes true by waiting.
        _patience = flaw == DeviceFlaw.None ? TimeSpan.FromSeconds(20) : TimeSpan.FromSeconds(1);
        _asker = Asker.Run(daemon.Live, "--dev-ksm");
        _reference = Asker.Run(daemon.Live);
        int[] taken = [.. Directory.EnumerateFileSystemEntries($"/proc/{_asker.Pid}/fd").Select(Path.GetFileName)
            .Select(name => int.Parse(name!, CultureInfo.InvariantCulture))];
        _model = new DeviceModel(Pages, _asker.Pid, taken, flaw);
        Map(_asker);
        Map(_reference);
        _reference.Advise(Base, GapAt, Asker.Merge);
        _reference.Advise(Base + (SecondAt * 4096), Pages - SecondAt, Asker.Merge);
    }

    /// <summary>Frames compared so far, and how many of them were shared.</summary>
    public (int Compared, int Shared) Seen { get; private set; }

    private IEnumerable<int> Processes => _model.Children.Append(_asker.Pid);

    public void Run(int steps)
    {
        for (int step = 1; step <= steps; step++)
        {
            Step();
            if (step % 50 == 0)
            {
                CompareRegistered();
            }
        }
    }

    public void Dispose()
    {
        foreach (int child in _model.Children)
        {
            DetachedProcess.Kill(child);
        }

        _asker.Dispose();
        _reference.Dispose();
    }

    private static void Map(Asker asker)
    {
        asker.Do($"map anon {Base} {GapAt}");
        asker.Do($"map shared {Base + (SharedAt * 4096)} {SecondAt - SharedAt}");
        asker.Do($"map anon {Base + (SecondAt * 4096)} {Pages - SecondAt}");
        Fill(asker);
    }

    private static void Fill(Asker asker)
    {
        asker.Do($"fill {Base} {GapAt} 1");
        asker.Do($"fill {Base + (SharedAt * 4096)} {SecondAt - SharedAt} 2");
        asker.Do($"fill {Base + (SecondAt * 4096)} {Pages - SecondAt} 3");
    }

    private static ulong At(long offset) => (ulong)((long)Base + offset);

    private static bool CanBeMerged(int page) => page is < GapAt or >= SecondAt;

    private void Step()
    {
        switch (_random.Next(100))
        {
            case < 12:
                Open();
                break;
            case < 20:
                Duplicate();
                break;
            case < 34:
                Close();
                break;
            case < 44:
                AskVersion();
                break;
            case < 54:
                Create();
                break;
            case < 74:
                Register();
                break;
            case < 80:
                RegisterBadly();
                break;
            case < 86:
                Remove();
                break;
            case < 92:
                Unknown();
                break;
            case < 98:
                KeepOrKill();
                break;
            default:
                Execute();
                break;
        }
    }

    private void Open()
    {
        (string Path, int Flags, Kind Kind)[] ways =
        [
            ("/dev/ksm", Fcntl.O_RDONLY, Kind.Device), ("/dev/ksm", 1, Kind.Device), ("/dev/ksm", 2, Kind.Device),
            ("/dev/ksm", 2 | 0x200, Kind.Device), // O_RDWR | O_TRUNC, as programs of 2009 did
            ("/dev/ksm", 2 | 0x40 | 0x400 | 0x800, Kind.Device), // O_CREAT | O_APPEND | O_NONBLOCK
            ("/dev/ksm", 2 | Fcntl.O_CLOEXEC, Kind.Device),
            ("/dev/ksm", Fcntl.O_PATH, Kind.PathOnly),
            ("/dev/null", 2, Kind.Null),
            ("/dev/ksm", 2 | 0xC0, Kind.Closed), // O_CREAT | O_EXCL
            ("/dev/ksm", Fcntl.O_DIRECTORY, Kind.Closed),
        ];
        (string path, int flags, Kind kind) = ways[_random.Next(ways.Length)];
        const int EEXIST = 17, ENOTDIR = 20;
        Answer expected = kind != Kind.Closed ? new Answer(_model.Next, 0)
            : Answer.Error(flags == Fcntl.O_DIRECTORY ? ENOTDIR : EEXIST);
        if (_model.Descriptors.Count < FilesMax || kind == Kind.Closed)
        {
            Expect($"openas {path} {flags}", expected);
            if (kind != Kind.Closed)
            {
                _model.Open(kind, (flags & Fcntl.O_CLOEXEC) != 0);
            }
        }
    }

    private void Duplicate()
    {
        int descriptor = Any();
        bool isOpen = _model[descriptor].Kind != Kind.Closed;
        if (_model.Descriptors.Count < FilesMax || !isOpen)
        {
            Expect($"dup {descriptor}", isOpen ? new Answer(_model.Next, 0) : Answer.Error(DeviceModel.EBADF));
            if (isOpen)
            {
                _model.Duplicate(descriptor);
            }
        }
    }

    private void Close()
    {
        int descriptor = Any();
        DeviceFile file = _model[descriptor];
        if (file.Kind != Kind.Closed)
        {
            Expect($"getfd {descriptor}", new Answer(file.ClosesOnExec ? 1 : 0, 0));
        }

        Expect($"close {descriptor}", file.Kind == Kind.Closed ? Answer.Error(DeviceModel.EBADF) : Answer.Ok);
        _model.Close(descriptor);
    }

    private void AskVersion()
    {
        int descriptor = Any(Kind.Device);
        Expect(
            $"{(_random.Next(4) == 0 ? "child " : "")}ioctl {descriptor} {DeviceModel.GetVersion} {_random.Next()}",
            _model.Answers(descriptor, DeviceModel.GetVersion));
    }

    private void Create()
    {
        int descriptor = Any(Kind.Device);
        bool inChild = _random.Next(4) == 0; // whose copy is the last: the area is gone again
        if (_model.Descriptors.Count < FilesMax || inChild)
        {
            Expect(
                $"{(inChild ? "child " : "")}ioctl {descriptor} {DeviceModel.Create}",
                _model.Answers(descriptor, DeviceModel.Create));
            if (!inChild && _model[descriptor].Kind == Kind.Device)
            {
                _model.CreateArea();
            }
        }
    }

    private void Register()
    {
        int descriptor = Any(Kind.Area);
        bool isShort = _random.Next(3) == 0;
        (long offset, long count) = Region();
        string verb = isShort ? "region16" : "region";
        string command = $"{verb} {descriptor} {At(offset)} {count} {_random.Next()} 9";
        Answer expected = _model.Answers(descriptor, isShort ? DeviceModel.RegisterShort : DeviceModel.Register);
        // What a child registers is the child's, and goes with it.
        bool inChild = _random.Next(6) == 0;
        Expect(inChild ? $"child {command}" : command, expected);
        if (!inChild && _model[descriptor].Kind == Kind.Area)
        {
            _model.AddRegion(descriptor, _asker.Pid, offset, count);
        }
    }

    /// <summary>Mostly a few pages, at a page or inside one, mapped or not; sometimes none, or all above.</summary>
    private (long Offset, long Count) Region()
    {
        long offset = (_random.Next(-8, Pages + 8) * 4096L) + (_random.Next(2) * _random.Next(4096));
        long count = _random.Next(20) switch
        {
            < 3 => 0,
            3 => uint.MaxValue,
            _ => _random.Next(1, 24),
        };
        return (offset, count);
    }

    private void RegisterBadly()
    {
        string[] pointers =
        [
            "0", "8", "-1", "-8", "0x7fffffffffff", "0x7ffffffff000", "0xffffffffff600000", "0x8000000000000000",
            $"{Base + (GapAt * 4096) - 8}", $"{Base + (GapAt * 4096)}",
        ];
        int descriptor = Any(Kind.Area);
        uint number = _random.Next(2) == 0 ? DeviceModel.Register : DeviceModel.RegisterShort;
        Expect(
            $"ioctl {descriptor} {number} {pointers[_random.Next(pointers.Length)]}",
            _model.Answers(descriptor, number, canBeRead: false));
    }

    private void Remove()
    {
        int descriptor = Any(Kind.Area);
        bool inChild = _random.Next(4) == 0;
        bool[] before = _model.RegisteredBy(_asker.Pid);
        Expect(
            $"{(inChild ? "child " : "")}ioctl {descriptor} {DeviceModel.Remove} {_random.Next()}",
            _model.Answers(descriptor, DeviceModel.Remove));
        if (_model[descriptor].Kind != Kind.Area)
        {
            return;
        }

        _model.Empty(descriptor);
        if (inChild)
        {
            return;
        }

        // Who removes his own regions finds them private when the call returns.
        bool[] left = _model.RegisteredBy(_asker.Pid);
        bool[] shared = Shared(_asker.Pid);
        for (int page = 0; page < Pages; page++)
        {
            Check(!before[page] || left[page] || !shared[page], $"page {page} is still merged after its removal");
        }
    }

    private void Unknown()
    {
        uint[] numbers =
        [
            0xAB02, 0xAB03, 0xAB04, 0xAB22, 0xAB40, 0xABFF, 0x8018AB20, 0x4008AB20, 0x4018AB21, 0x0018AB20, 0xFFFFABFF,
            0x5401, 0x4018AA20, 0xAC00,
        ];
        uint number = _random.Next(3) == 0
            ? 0xAB00u | (uint)_random.Next(0x41, 0x100) | ((uint)_random.Next(0x10000) << 16)
            : numbers[_random.Next(numbers.Length)];
        int descriptor = Any();
        // Descriptors and numbers have 32 bits: what stands above them is nothing the kernel looks at.
        ulong above = (ulong)_random.Next(2) << 40;
        Expect($"ioctl {above | (uint)descriptor} {above | number} {Base}", _model.Answers(descriptor, number));
    }

    private void KeepOrKill()
    {
        List<int> children = [.. _model.Children];
        if (children.Count == ChildrenMax || (children.Count > 0 && _random.Next(2) == 0))
        {
            int child = children[_random.Next(children.Count)];
            Note($"kill the child {child}");
            DetachedProcess.Kill(child);
            _model.End(child);
            return;
        }

        // Private again: else the child would have the merged pages by inheritance, whatever it registers.
        Fill(_asker);
        int descriptor = Any(Kind.Area);
        (long offset, long count) = Region();
        string command = $"keep region {descriptor} {At(offset)} {count} 0 0";
        Expect(command, _model.Answers(descriptor, DeviceModel.Register));
        int pid = (int)_asker.Receive().Result;
        Note($"the child is {pid}");
        _model.Fork(pid);
        if (_model[descriptor].Kind == Kind.Area)
        {
            _model.AddRegion(descriptor, pid, offset, count);
        }
    }

    private void Execute()
    {
        Note("exec");
        _asker.Execute();
        _model.Execute();
        Map(_asker);
    }

    /// <summary>A descriptor of a kind, mostly; sometimes of any, or one that is not open.</summary>
    private int Any(Kind wanted = Kind.Closed)
    {
        List<int> all = [.. _model.Descriptors];
        List<int> fitting = [.. all.Where(descriptor => _model[descriptor].Kind == wanted)];
        return fitting.Count > 0 && _random.Next(8) != 0 ? fitting[_random.Next(fitting.Count)]
            : all.Count > 0 && _random.Next(8) != 0 ? all[_random.Next(all.Count)]
            : BadDescriptor;
    }

    private void CompareRegistered()
    {
        Note("compare the registered pages");
        // What was un-registered stays where it was merged if nobody writes it; and pages that came from a fork belong
        // to two processes until one writes.
        Fill(_asker);
        string difference = "";
        var watch = Stopwatch.StartNew();
        do
        {
            Check(watch.Elapsed < _patience, $"other pages are merged than are registered: {difference}");
            Merge();
            difference = Difference();
        }
        while (difference.Length > 0);

        // It did not only pass by: after the time in which a closed area is noticed, another merge changes nothing.
        Thread.Sleep(NoticedAfter);
        Merge();
        difference = Difference();
        Check(difference.Length == 0, $"other pages are merged a moment later: {difference}");
        Check(
            _asker.Wrong(Base, GapAt, 1) == 0
                && _asker.Wrong(Base + (SharedAt * 4096), SecondAt - SharedAt, 2) == 0
                && _asker.Wrong(Base + (SecondAt * 4096), Pages - SecondAt, 3) == 0,
            "the program does not find the bytes it wrote");
    }

    private void Merge() => _daemon.Live.Ask(HttpMethod.Post, "/v1/merge", "{}");

    private string Difference()
    {
        foreach (int process in Processes)
        {
            bool[] expected = [.. _model.RegisteredBy(process).Select((flag, page) => flag && CanBeMerged(page))];
            bool[] shared = Shared(process);
            Seen = (Seen.Compared + Pages, Seen.Shared + shared.Count(flag => flag));
            if (!expected.SequenceEqual(shared))
            {
                return $"process {process}\n  {Picture(expected)} registered\n  {Picture(shared)} merged";
            }
        }

        return "";
    }

    private bool[] Shared(int process) =>
        [.. PageProof.Frames(process, Base, Pages).Zip(_reference.Frames(Base, Pages))
            .Select(pair => pair.First != 0 && pair.First == pair.Second)];

    private static string Picture(bool[] flags) => string.Concat(flags.Select(flag => flag ? '#' : '.'));

    private void Expect(string command, Answer expected)
    {
        Note(command);
        Answer answer = _asker.Do(command);
        Check(answer == expected, $"the answer is {answer}, and should be {expected}");
    }

    private void Note(string what) => _sequence.Add(what);

    private void Check(bool holds, string otherwise)
    {
        if (!holds)
        {
            Assert.Fail(
                $"seed {_seed}, step {_sequence.Count}: {otherwise}\n{string.Join('\n', _sequence)}\n"
                    + _daemon.Live.LogTail);
        }
    }
}
