namespace Samepage.Linux.Program;

/// <summary>
/// Layout of the control area: one memfd per target, mapped by the daemon and, through the bootstrap, by the target.
/// All offsets are from its base. The target's registers while it runs our code: r14 = base, r13 = its restore stub.
/// <code>
///  0x00000  header        mailbox, descriptors, addresses, ioctl arguments, adoption record
///  0x01000  operations    OpCount of them, 96 bytes each
///  0x08000  stack         64 KiB (a signal frame with AMX state must fit: see StopWindowCode, "restore")
///  0x18000  slots         one saved context each, 256 bytes (SlotLayout)
///  0x58000  code          the merge program, read and execute only in the target
///  0x5C000  stubs         one restore stub per slot, 256 bytes, at a constant distance from its slot
///  0x9C000  sampling      key, offsets of the lines, kept signal actions (SampleKey, SampleOffsets, SampleActions)
///  0x9D000  sample runs   256 of address and number of pages
///  0x9E000  samples       16,384 of 8 bytes
///  0xBE000  end
/// </code>
/// The memfd is sparse: pages nobody touched cost nothing.
/// </summary>
internal static class ControlLayout
{
    public const ulong Magic = 0x3145474150454D53; // "SMEPAGE1"

    // Header.
    public const int MagicOffset = 0x00;
    public const int Version = 0x08;
    public const int Mutex = 0x10;
    public const int Done = 0x14;
    public const int OpCount = 0x18;
    public const int RobustNode = 0x20;
    public const int TrackingFd = 0x30;
    public const int MergedFd = 0x38;
    public const int StoreFd = 0x40;
    public const int Shadow = 0x48;
    public const int ShadowBytes = 0x50;
    public const int Window = 0x58;
    public const int WindowBytes = 0x60;
    public const int ShadowUsed = 0x68;
    public const int Base = 0x70;
    public const int UserfaultfdDevice = 0x78;
    public const int ControlFd = 0x80;
    public const int WindowDropStart = 0x88;
    public const int WindowDropBytes = 0x90;
    public const int InShadow = 0x98;
    public const int ReceivedControl = 0xA0;
    public const int ReceivedStore = 0xA8;
    public const int ReceivedDevice = 0xB0;
    public const int DaemonPid = 0xB8;
    public const int DaemonStartTicks = 0xC0;
    public const int TargetPid = 0xC8;
    public const int TargetStartTicks = 0xD0;

    /// <summary>Not 0: the window has lasted long enough, merge operations not begun are left for the next.</summary>
    public const int Enough = 0xD8;

    // Notifiers (LiveTarget.Notify.cs): the program has placed the pages; we have told everybody; how long it waits.
    public const int Placed = 0xE0;
    public const int Told = 0xE8;
    public const int ToldLimit = 0xF0;

    /// <summary>Whose daemon: see <see cref="DaemonMark"/>.</summary>
    public const int DaemonHome = 0xF8;

    public const int RegisterArgument = 0x100;
    public const int MoveArgument = 0x140;
    public const int WakeArgument = 0x180;

    /// <summary>What was gated in this window: from the lowest address to the highest; 0 = nothing.</summary>
    public const int GatedFrom = 0x1A0, GatedTo = 0x1A8;

    public const int Adoption = 0x200;
    public const int AdoptionBytes = 0xE00;

    // Operations.
    public const int Operations = 0x1000;
    public const int OperationBytes = 96;
    public const int OperationsMax = 256;

    public const int StackTop = 0x18000;

    public const int Slots = 0x18000;
    public const int SlotBytes = 256;
    public const int SlotCount = 1024;

    public const int Code = 0x58000;
    public const int CodeBytes = 0x4000;
    public const int Stubs = 0x5C000;

    // Sampling (MergeProgram.Sample.cs), writable in the target again; how many of each: SampleLimits.
    public const int SampleKey = 0x9C000;
    public const int SampleOffsets = 0x9C100;
    public const int SampleActions = 0x9C200;
    public const int SampleRuns = 0x9D000;
    public const int SampleResults = 0x9E000;
    public const int TotalBytes = 0xBE000;

    /// <summary>The value of <see cref="Version"/>: any change of layout or program makes a new one.</summary>
    public const uint CurrentVersion = 4;
}

/// <summary>How much one window can sample.</summary>
internal static class SampleLimits
{
    public const int Runs = (ControlLayout.SampleResults - ControlLayout.SampleRuns) / RunBytes;
    public const int RunBytes = 16;
    public const int Pages = (ControlLayout.TotalBytes - ControlLayout.SampleResults) / sizeof(ulong);
}

/// <summary>A saved context: the kernel's user_regs_struct, the signal mask, and whether it may still be needed.</summary>
internal static class SlotLayout
{
    public const int R15 = 0, R14 = 8, R13 = 16, R12 = 24, Rbp = 32, Rbx = 40, R11 = 48, R10 = 56, R9 = 64, R8 = 72;
    public const int Rax = 80, Rcx = 88, Rdx = 96, Rsi = 104, Rdi = 112, OrigRax = 120, Rip = 128, Cs = 136, Eflags = 144;
    public const int Rsp = 152, Ss = 160, FsBase = 168, GsBase = 176;
    public const int RegistersBytes = 216;
    public const int SignalMask = 216;

    /// <summary>0 free; 1 a thread may still have to come back through this slot, so it is never used again.</summary>
    public const int State = 224;
}

/// <summary>Fields of one operation of the merge program.</summary>
internal static class OpLayout
{
    public const int Kind = 0, Status = 4, Start = 8, Length = 16, StoreOffset = 24, DoneBytes = 32, Protection = 40;
    public const int Advice = 48, Errno = 56, Stage = 64, ShadowOffset = 72, Flags = 84;

    /// <summary>Skip this operation unless the one before it was done completely: both are parts of one run.</summary>
    public const int FlagContinues = 1;

    // Of a system call operation.
    public const int CallNumber = 8, CallArguments = 16, CallResult = 64, CallResultTo = 72, CallIndirect = 80;

    public const uint KindSkip = 0, KindShare = 1, KindZero = 2, KindReshare = 3, KindConvert = 4, KindCall = 5;

    /// <summary>Start: number of runs. DoneBytes: how many pages were done.</summary>
    public const uint KindSample = 6;
    public const uint StatusNone = 0, StatusDone = 1, StatusPartial = 2, StatusThreadArea = 3;

    /// <summary>Not begun, because the window had lasted long enough.</summary>
    public const uint StatusLeft = 4;

    public const uint StageGate = 1, StageMove = 2, StageCompare = 3, StageMap = 4, StagePopulate = 5, StageRegister = 6;
}
