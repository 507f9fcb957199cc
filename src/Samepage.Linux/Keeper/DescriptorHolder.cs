using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using static Samepage.Linux.Keeper.KeeperNative;

namespace Samepage.Linux.Keeper;

/// <summary>
/// A process that does nothing but share the keeper's descriptor table (clone with CLONE_FILES).
/// <para>
/// The userfaultfds of forked children exist nowhere but in that table: the kernel hands them to whoever reads the
/// parent's fork event. If they were closed because the keeper was killed, the kernel would drop the registration
/// and show store bytes to the child. A shared table has no instant at which a descriptor is read but not yet saved:
/// whatever the keeper gets is in the holder's table in the same step. The next keeper finds the holder by its name
/// and takes all descriptors over with pidfd_getfd.
/// </para>
/// <para>
/// The holder runs some twenty instructions: block all signals, set its name, leave the session, unmap all memory but
/// its own page of code, pause for ever. It therefore costs one page and the process itself.
/// </para>
/// Because it shares <em>all</em> descriptors, a dead keeper's sockets stay open until the next keeper kills the
/// holder; so nobody may take an open connection as a sign of life (<see cref="KeeperClient"/> watches the process).
/// </summary>
internal static class DescriptorHolder
{
    private const int CodePageBytes = 4096;
    private const int NameOffset = 0xE8;
    private const int NameBytesMax = 15;
    private const int NameMillisecondsMax = 1000;

    // Position independent; rdi = address of the thread's rseq area or 0. Child's side starts at "child".
    private static ReadOnlySpan<byte> Code =>
    [
        0x49, 0x89, 0xF9,                               //        mov r9, rdi
        0xBF, 0x11, 0x04, 0x00, 0x00,                   //        mov edi, CLONE_FILES | SIGCHLD
        0x31, 0xF6,                                     //        xor esi, esi          same stack, copied on write
        0x31, 0xD2,                                     //        xor edx, edx
        0x45, 0x31, 0xD2,                               //        xor r10d, r10d
        0x45, 0x31, 0xC0,                               //        xor r8d, r8d
        0xB8, 0x38, 0x00, 0x00, 0x00,                   //        mov eax, clone
        0x0F, 0x05,                                     //        syscall
        0x85, 0xC0,                                     //        test eax, eax
        0x74, 0x01,                                     //        je child
        0xC3,                                           //        ret                   parent: pid or -errno
        0xB8, 0x0E, 0x00, 0x00, 0x00,                   // child: mov eax, rt_sigprocmask
        0xBF, 0x02, 0x00, 0x00, 0x00,                   //        mov edi, SIG_SETMASK
        0x48, 0x8D, 0x35, 0xB1, 0x00, 0x00, 0x00,       //        lea rsi, [mask]
        0x31, 0xD2,                                     //        xor edx, edx
        0x41, 0xBA, 0x08, 0x00, 0x00, 0x00,             //        mov r10d, 8
        0x0F, 0x05,                                     //        syscall
        0xB8, 0x9D, 0x00, 0x00, 0x00,                   //        mov eax, prctl
        0xBF, 0x0F, 0x00, 0x00, 0x00,                   //        mov edi, PR_SET_NAME
        0x48, 0x8D, 0x35, 0x9E, 0x00, 0x00, 0x00,       //        lea rsi, [name]
        0x0F, 0x05,                                     //        syscall
        0xB8, 0x70, 0x00, 0x00, 0x00,                   //        mov eax, setsid
        0x0F, 0x05,                                     //        syscall
        0x4D, 0x85, 0xC9,                               //        test r9, r9
        0x74, 0x1E,                                     //        je unmap
        0x4C, 0x89, 0xCF,                               //        mov rdi, r9
        0xBE, 0x20, 0x00, 0x00, 0x00,                   //        mov esi, 32
        0xBA, 0x01, 0x00, 0x00, 0x00,                   //        mov edx, RSEQ_FLAG_UNREGISTER
        0x41, 0xBA, 0x53, 0x30, 0x05, 0x53,             //        mov r10d, RSEQ_SIG
        0xB8, 0x4E, 0x01, 0x00, 0x00,                   //        mov eax, rseq
        0x0F, 0x05,                                     //        syscall
        0x85, 0xC0,                                     //        test eax, eax
        0x75, 0x2B,                                     //        jne sleep             area still in use: keep memory
        0xB8, 0x0B, 0x00, 0x00, 0x00,                   // unmap: mov eax, munmap
        0x31, 0xFF,                                     //        xor edi, edi
        0x48, 0x8D, 0x35, 0x7C, 0xFF, 0xFF, 0xFF,       //        lea rsi, [start of page]
        0x0F, 0x05,                                     //        syscall
        0xB8, 0x0B, 0x00, 0x00, 0x00,                   //        mov eax, munmap
        0x48, 0x8D, 0x3D, 0x6E, 0x0F, 0x00, 0x00,       //        lea rdi, [end of page]
        0x48, 0xBE, 0x00, 0xF0, 0xFF, 0xFF, 0xFF, 0x7F, 0x00, 0x00, // mov rsi, end of user space
        0x48, 0x29, 0xFE,                               //        sub rsi, rdi
        0x0F, 0x05,                                     //        syscall
        0xB8, 0x22, 0x00, 0x00, 0x00,                   // sleep: mov eax, pause
        0x0F, 0x05,                                     //        syscall
        0xEB, 0xF7,                                     //        jmp sleep
    ];

    private const int MaskOffset = 0xE0;

    /// <summary>The process name of the holders of keepers at this socket path.</summary>
    internal static string NameFor(string socketPath)
    {
        // FNV-1a: several keepers (tests, containers sharing a pid namespace) must not take each other's descriptors.
        uint hash = 2166136261;
        foreach (char letter in socketPath)
        {
            hash = (hash ^ letter) * 16777619;
        }

        return string.Create(CultureInfo.InvariantCulture, $"smph-{hash:x8}");
    }

    /// <summary>Starts a holder. Its process id, or -errno.</summary>
    internal static unsafe int Start(string name)
    {
        nint page = mmap(0, CodePageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page == -1)
        {
            return -LastErrno;
        }

        // SAFETY: a fresh page; code, mask and name fit by construction (Code ends before MaskOffset).
        var code = new Span<byte>((void*)page, CodePageBytes);
        Code.CopyTo(code);
        code.Slice(MaskOffset, sizeof(ulong)).Fill(0xFF);
        Encoding.ASCII.GetBytes(name.AsSpan(0, Math.Min(name.Length, NameBytesMax)), code[NameOffset..]);
        int pid = mprotect(page, CodePageBytes, PROT_READ | PROT_EXEC) != 0 ? -LastErrno
            : (int)((delegate* unmanaged<nint, long>)page)(RseqArea());
        _ = Interop.Libc.syscall(SYS_munmap, page, CodePageBytes);
        WaitForName(pid, name);
        return pid;
    }

    // Nothing may be entrusted to a holder that the next keeper could not find.
    private static void WaitForName(int pid, string name)
    {
        long deadline = Environment.TickCount64 + NameMillisecondsMax;
        string path = string.Create(CultureInfo.InvariantCulture, $"/proc/{pid}/comm");
        while (pid > 0 && KeeperFiles.ReadShort(path).TrimEnd('\n') != name)
        {
            if (Environment.TickCount64 > deadline)
            {
                KeeperLog.Write($"holder {pid} has not taken its name after {NameMillisecondsMax} ms");
                return;
            }

            Thread.Sleep(0);
        }
    }

    /// <summary>Living holders with this name that are not <paramref name="except"/> and belong to our user.</summary>
    internal static List<int> Find(string name, int except)
    {
        var found = new List<int>();
        foreach (string directory in Directory.EnumerateDirectories("/proc"))
        {
            if (!int.TryParse(Path.GetFileName(directory), CultureInfo.InvariantCulture, out int pid) || pid == except)
            {
                continue;
            }

            try
            {
                if (File.ReadAllText(directory + "/comm").TrimEnd('\n') == name && IsAliveAndOurs(directory))
                {
                    found.Add(pid);
                }
            }
            catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
            {
                // It exited while we looked.
            }
        }

        return found;
    }

    /// <summary>Kills a holder. Its descriptors that nobody else has are closed with it.</summary>
    internal static void Kill(int pid)
    {
        int process = PidfdOpen(pid);
        if (process >= 0)
        {
            _ = PidfdSendSignal(process, SIGKILL);
            _ = close(process);
        }
    }

    private const long SYS_munmap = 11;

    // The kernel writes the CPU number into this area whenever it schedules the thread; unmapping it without
    // unregistering would kill the holder. glibc publishes where it is, relative to the thread pointer.
    private static unsafe nint RseqArea()
    {
        nint libc = NativeLibrary.Load("libc.so.6");
        if (!NativeLibrary.TryGetExport(libc, "__rseq_offset", out nint offset)
            || !NativeLibrary.TryGetExport(libc, "__rseq_size", out nint size))
        {
            return 0;
        }

        // SAFETY: both symbols are exported variables of glibc 2.35 and later (ptrdiff_t and unsigned int); on x86-64
        // pthread_self() is the thread pointer.
        return *(uint*)size == 0 ? 0 : pthread_self() + *(nint*)offset;
    }

    private static bool IsAliveAndOurs(string directory)
    {
        bool ours = false;
        foreach (string line in File.ReadLines(directory + "/status"))
        {
            // A killed holder stays as a zombie until its parent looks; it has no descriptors any more.
            if (line.StartsWith("State:\tZ", StringComparison.Ordinal)
                || line.StartsWith("State:\tX", StringComparison.Ordinal))
            {
                return false;
            }

            if (line.StartsWith("Uid:", StringComparison.Ordinal))
            {
                ours = uint.Parse(line.Split('\t')[1], CultureInfo.InvariantCulture) == geteuid();
            }
        }

        return ours;
    }
}
