using System.Collections;
using static Samepage.Linux.Keeper.KeeperNative;

namespace Samepage.Linux.Keeper;

/// <summary>
/// Starts a process of its own session with default signals, no descriptors but stdio, and nobody waiting for it.
/// Process.Start cannot: it lets inheritable descriptors through, stays in the session, and its SIGCHLD handling would
/// be shared with whoever traces processes here.
/// </summary>
internal static class DetachedProcess
{
    private const int OpaqueBytes = 512;
    private const int SignalSetBytes = 128;
    private const short POSIX_SPAWN_SETSIGDEF = 4, POSIX_SPAWN_SETSIGMASK = 8, POSIX_SPAWN_SETSID = 0x80;
    private const int O_WRONLY = 1;

    /// <summary>Starts <paramref name="command"/>; its first word is the program's path.</summary>
    /// <param name="command">Program and arguments.</param>
    /// <param name="logPath">File to append stdout and stderr to; null: /dev/null.</param>
    /// <returns>The process id, or -errno.</returns>
    internal static unsafe int Start(IReadOnlyList<string> command, string? logPath)
    {
        byte* actions = stackalloc byte[OpaqueBytes];
        byte* attributes = stackalloc byte[OpaqueBytes];
        byte* signals = stackalloc byte[SignalSetBytes];
        using var argv = new NativeStrings(command);
        using var environment = new NativeStrings(Environment.GetEnvironmentVariables().Cast<DictionaryEntry>()
            .Select(entry => $"{entry.Key}={entry.Value}").ToList());
        fixed (byte* program = KeeperFiles.ZeroTerminated(command[0]))
        fixed (byte* nothing = "/dev/null\0"u8)
        fixed (byte* log = KeeperFiles.ZeroTerminated(logPath ?? "/dev/null"))
        {
            // SAFETY: OpaqueBytes is larger than either object in glibc and musl; all strings outlive the call.
            _ = posix_spawn_file_actions_init(actions);
            _ = posix_spawn_file_actions_addopen(actions, 0, nothing, O_RDWR, 0);
            _ = posix_spawn_file_actions_addopen(actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0x180);
            _ = posix_spawn_file_actions_addopen(actions, 2, log, O_WRONLY | O_CREAT | O_APPEND, 0x180);
            CloseOthers(actions);
            _ = posix_spawnattr_init(attributes);
            _ = posix_spawnattr_setflags(
                attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
            new Span<byte>(signals, SignalSetBytes).Clear();
            _ = posix_spawnattr_setsigmask(attributes, signals);
            new Span<byte>(signals, SignalSetBytes).Fill(0xFF);
            _ = posix_spawnattr_setsigdefault(attributes, signals);
            int pid;
            int error = posix_spawn(&pid, program, actions, attributes, argv.Pointers, environment.Pointers);
            _ = posix_spawnattr_destroy(attributes);
            _ = posix_spawn_file_actions_destroy(actions);
            return error == 0 ? pid : -error;
        }
    }

    /// <summary>Collects the exit status of a child, so that it does not stay as a zombie.</summary>
    internal static unsafe bool Reap(int pid) => waitpid(pid, null, WNOHANG) == pid;

    /// <summary>Kills a child that was not collected yet, so its number is its own, and collects it.</summary>
    internal static unsafe void End(int pid)
    {
        const int SIGKILL = 9;
        _ = kill(pid, SIGKILL);
        // SAFETY: no status is asked for.
        _ = waitpid(pid, null, 0);
    }

    private static unsafe void CloseOthers(byte* actions)
    {
        try
        {
            _ = posix_spawn_file_actions_addclosefrom_np(actions, 3);
        }
        catch (EntryPointNotFoundException)
        {
            // Before glibc 2.34. Everything .NET and we open is close-on-exec; only what we inherited stays open.
        }
    }
}
