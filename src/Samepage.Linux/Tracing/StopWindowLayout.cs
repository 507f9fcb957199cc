namespace Samepage.Linux.Tracing;

/// <summary>The argument block of the stop window: one piece of native memory, offsets in bytes.</summary>
internal static class WindowLayout
{
    // In.
    public const int TaskDirectory = 0x00, Threads = 0x08, ThreadsMax = 0x10, DirectoryBuffer = 0x18;
    public const int DirectoryBufferBytes = 0x20, Registers = 0x28, Slot = 0x30, Header = 0x38, ProgramRegisters = 0x40;
    public const int StopLimitNanoseconds = 0x48, ProgramStart = 0x50, ProgramEnd = 0x58, Mode = 0x60;
    public const int RobustHead = 0x68, OldRobustHead = 0x70, FaultRip = 0x78, Restarts = 0x80, RestartCount = 0x88;
    public const int OwnThread = 0x90;

    // Out.
    public const int ThreadCount = 0xA0, Status = 0xA8, Borrowed = 0xB0, Time0 = 0xB8, Time1 = 0xC0, Time2 = 0xC8, Time3 = 0xD0;
    public const int Stragglers = 0xD8, Seized = 0xE0, Refused = 0xE8, ThreadArea = 0xF0, RseqArea = 0xF8, Errno = 0x100;

    // Scratch.
    public const int WaitStatus = 0x110, TimeSpec = 0x118, Added = 0x128, AllSignals = 0x130, Rseq = 0x138, Candidate = 0x150;
    public const int NextTag = 0x1A0, WantedParent = 0x1A8;

    /// <summary>In: thread numbers (int32) of threads known to have children, and how many.</summary>
    public const int Parents = 0x1B0, ParentCount = 0x1B8;
    public const int Peek = 0x158, Deadline = 0x160;

    /// <summary>Pairs (ours, the target's) of descriptors that must be the same open file: tracking, merged, store.</summary>
    public const int Descriptors = 0x168, DescriptorPairs = 3;

    /// <summary>In: after this time the program is told to begin no further merge operation.</summary>
    public const int EnoughNanoseconds = 0x1C0;

    public const int Bytes = 0x200; // fields end at 0x1C8

    public const int RobustHeadBytes = 24;

    public const int ModeAll = 0, ModeOne = 1;

    /// <summary>Stop nobody; let those go that the call before this one had to leave waiting.</summary>
    public const int ModeSettle = 2;
}

/// <summary>One thread in the table of a stop window; what the daemon keeps of its registers.</summary>
internal static class ThreadLayout
{
    public const int Tid = 0, State = 4, OrigRax = 8, Rax = 16, R10 = 24, Rip = 32, Rsp = 40;
    public const int RegistersKnown = 48, Interrupted = 52, Parent = 56;
    public const int Bytes = 64;

    public const int StateWaiting = 0, StateStopped = 1, StateDead = 2, StateRefused = 3, StateReleased = 4;

    /// <summary>Not seized yet: its turn comes after all others.</summary>
    public const int StateLate = 5;
}

/// <summary>A thread whose wait is to end when its own time-out says, not later for every stop (epoll_wait).</summary>
internal static class RestartLayout
{
    public const int Tid = 0, Tag = 4, DeadlineNanoseconds = 8, Bytes = 16;
}

/// <summary>How a stop window ended.</summary>
internal enum WindowStatus
{
    /// <summary>The program ran to its end.</summary>
    Done = 0,

    /// <summary>Not every thread stopped in time; nothing was done.</summary>
    TimedOut = 1,

    /// <summary>No thread could be borrowed just now; nothing was done.</summary>
    NoThread = 2,

    /// <summary>A thread is still on its way out of our code; nothing was done.</summary>
    SomebodyInside = 3,

    /// <summary>The process is gone.</summary>
    Gone = 4,

    /// <summary>ptrace was refused.</summary>
    NotPermitted = 5,

    /// <summary>More threads than the table holds; nothing was done.</summary>
    TooManyThreads = 6,

    /// <summary>The target has closed or replaced a descriptor of ours; nothing was done.</summary>
    DescriptorsChanged = 7,
}
