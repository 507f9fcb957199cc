using System.Runtime.InteropServices;
using System.Text;
using Samepage.Linux.Interop;

namespace Samepage.Linux.Host;

/// <summary>
/// Starts a program that lives on its own: in a session of its own, without any of our descriptors, and not our child -
/// <c>samepage run</c> becomes a command that must not find a child it never started. What it writes to standard error
/// until it lets go of it comes back through <see cref="ReadUntilReleased"/>.
/// </summary>
internal sealed partial class DetachedStart : IDisposable
{
    private const short POSIX_SPAWN_SETSIGDEF = 0x04;
    private const short POSIX_SPAWN_SETSIGMASK = 0x08;
    private const short POSIX_SPAWN_SETSID = 0x80;
    private const int ActionsBytes = 256; // glibc's posix_spawn_file_actions_t has 80, musl's the same
    private const int AttributesBytes = 512; // glibc's posix_spawnattr_t has 336
    private const int SignalSetBytes = 128;
    private const int ErrorTextBytesMax = 16 * 1024;

    private readonly FileStream errors;

    private DetachedStart(FileStream errors) => this.errors = errors;

    /// <summary>Starts <paramref name="program"/>; it sees the environment of this process.</summary>
    /// <exception cref="IOException">It could not be started.</exception>
    internal static unsafe DetachedStart Start(string program, params ReadOnlySpan<string> arguments)
    {
        // SAFETY: pipe2 writes two descriptors.
        var pipe = stackalloc int[2];
        if (pipe2(pipe, 0x80000) != 0)
        {
            throw new IOException($"no pipe (errno {Marshal.GetLastPInvokeError()})");
        }

        // The shell starts it in the background and ends at once: the kernel then gives it to init, and no process of
        // ours has to wait for it. Being a word of the script's "$@", nothing in the arguments is interpreted.
        string[] command = ["/bin/sh", "-c", "\"$@\" &", "samepage", program, .. arguments];
        var error = Spawn(command, pipe[1], out var shell);
        Libc.syscall(HostCalls.SYS_close, pipe[1]);
        var reader = new FileStream(new Microsoft.Win32.SafeHandles.SafeFileHandle(pipe[0], true), FileAccess.Read, 0);
        if (error != 0)
        {
            reader.Dispose();
            throw new IOException($"/bin/sh could not be started (errno {error})");
        }

        Libc.syscall(HostCalls.SYS_wait4, shell);
        return new DetachedStart(reader);
    }

    /// <summary>Waits until the program has redirected its standard error or ended.</summary>
    /// <returns>What it wrote there, or null when it did neither within the time.</returns>
    internal string? ReadUntilReleased(TimeSpan atMost)
    {
        var reading = Task.Run(() =>
        {
            var text = new byte[ErrorTextBytesMax];
            var filled = 0;
            int now;
            while (filled < text.Length && (now = errors.Read(text, filled, text.Length - filled)) > 0)
            {
                filled += now;
            }

            return Encoding.UTF8.GetString(text, 0, filled);
        });
        return reading.Wait(atMost) ? reading.Result : null;
    }

    public void Dispose() => errors.Dispose();

    private static unsafe int Spawn(string[] command, int errorPipe, out int pid)
    {
        // SAFETY: the opaque structures get more room than any C library's; strings are zero-terminated native copies
        // that outlive the call; everything is freed after it.
        var actions = stackalloc byte[ActionsBytes];
        var attributes = stackalloc byte[AttributesBytes];
        var signals = stackalloc byte[SignalSetBytes];
        var argv = stackalloc nint[command.Length + 1];
        var devNull = Marshal.StringToCoTaskMemUTF8("/dev/null");
        for (var i = 0; i < command.Length; i++)
        {
            argv[i] = Marshal.StringToCoTaskMemUTF8(command[i]);
        }

        argv[command.Length] = 0;
        var defaults = stackalloc byte[SignalSetBytes];
        new Span<byte>(signals, SignalSetBytes).Clear();
        new Span<byte>(defaults, SignalSetBytes).Clear();
        defaults[(HostCalls.SIGPIPE - 1) / 8] = 1 << ((HostCalls.SIGPIPE - 1) % 8);
        var error = posix_spawn_file_actions_init(actions) | posix_spawnattr_init(attributes)
            | posix_spawn_file_actions_addopen(actions, 0, devNull, 0, 0)
            | posix_spawn_file_actions_addopen(actions, 1, devNull, 1, 0)
            | posix_spawn_file_actions_adddup2(actions, errorPipe, 2)
            | posix_spawn_file_actions_addclosefrom_np(actions, 3)
            | posix_spawnattr_setsigmask(attributes, signals)
            | posix_spawnattr_setsigdefault(attributes, defaults)
            | posix_spawnattr_setflags(
                attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
        int child = 0;
        if (error == 0)
        {
            error = posix_spawn(&child, argv[0], actions, attributes, argv, *(nint**)Environ());
        }

        error |= posix_spawn_file_actions_destroy(actions) | posix_spawnattr_destroy(attributes);
        for (var i = 0; i < command.Length; i++)
        {
            Marshal.FreeCoTaskMem(argv[i]);
        }

        Marshal.FreeCoTaskMem(devNull);
        pid = child;
        return error;
    }

    private static nint Environ() => NativeLibrary.GetExport(NativeLibrary.Load("libc.so.6"), "environ");

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial int pipe2(int* fds, int flags);

    [LibraryImport("libc")]
    private static unsafe partial int posix_spawn(
        int* pid, nint path, byte* actions, byte* attributes, nint* argv, nint* envp);

    [LibraryImport("libc")]
    private static unsafe partial int posix_spawn_file_actions_init(byte* actions);

    [LibraryImport("libc")]
    private static unsafe partial int posix_spawn_file_actions_destroy(byte* actions);

    [LibraryImport("libc")]
    private static unsafe partial int posix_spawn_file_actions_addopen(
        byte* actions, int fd, nint path, int flags, uint mode);

    [LibraryImport("libc")]
    private static unsafe partial int posix_spawn_file_actions_adddup2(byte* actions, int fd, int newFd);

    [LibraryImport("libc")]
    private static unsafe partial int posix_spawn_file_actions_addclosefrom_np(byte* actions, int from);

    [LibraryImport("libc")]
    private static unsafe partial int posix_spawnattr_init(byte* attributes);

    [LibraryImport("libc")]
    private static unsafe partial int posix_spawnattr_destroy(byte* attributes);

    [LibraryImport("libc")]
    private static unsafe partial int posix_spawnattr_setflags(byte* attributes, short flags);

    [LibraryImport("libc")]
    private static unsafe partial int posix_spawnattr_setsigmask(byte* attributes, byte* set);

    [LibraryImport("libc")]
    private static unsafe partial int posix_spawnattr_setsigdefault(byte* attributes, byte* set);
}
