using System.Globalization;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.RegularExpressions;
using Samepage.Linux.Interop;

namespace Samepage.Linux.Tests.Interop;

/// <summary>
/// Goal: no constant, size or offset of the bindings is wrong. Method: for every class of the binding namespace a C
/// file of static assertions is written and compiled against the system's headers. Names that headers may be too old
/// for are listed here and asserted only where they exist; any other missing name is an error.
/// </summary>
public partial class HeaderTests
{
    private const BindingFlags Declared = BindingFlags.Static | BindingFlags.Instance | BindingFlags.NonPublic |
        BindingFlags.Public | BindingFlags.DeclaredOnly;

    private const string End = "int main(void) { return 0; }\n";

    private const string Common = """
        #define _GNU_SOURCE
        #include <stddef.h>
        #include <errno.h>
        #include <fcntl.h>
        #include <poll.h>
        #include <limits.h>
        #include <sched.h>
        #include <signal.h>
        #include <unistd.h>
        #include <sys/epoll.h>
        #include <sys/file.h>
        #include <sys/prctl.h>
        #include <sys/resource.h>
        #include <sys/socket.h>
        #include <sys/un.h>
        #include <sys/wait.h>
        #include <dirent.h>
        #include <sys/ioctl.h>
        #include <sys/mman.h>
        #include <sys/stat.h>
        #include <sys/syscall.h>
        #include <sys/uio.h>
        #include <sys/vfs.h>
        #include <linux/userfaultfd.h>

        """;

    private static readonly Dictionary<string, string> Headers = new()
    {
        ["Mount"] = "#define _GNU_SOURCE\n#include <stddef.h>\n#include <fcntl.h>\n#include <sys/stat.h>\n" +
            "#include <sys/vfs.h>\n#include <sys/syscall.h>\n#include <linux/magic.h>\n#include <linux/mount.h>\n",
        ["PagemapScan"] = "#include <stddef.h>\n#include <sys/ioctl.h>\n#include <linux/fs.h>\n",
        ["Seccomp"] = "#include <stddef.h>\n#include <linux/seccomp.h>\n#include <linux/filter.h>\n" +
            "#include <linux/audit.h>\n",
        ["SeccompNotify"] = "#include <stddef.h>\n#include <sys/ioctl.h>\n#include <sys/syscall.h>\n" +
            "#include <linux/seccomp.h>\n",
        ["ProcMap"] = "#include <stddef.h>\n#include <sys/ioctl.h>\n#include <linux/fs.h>\n",
        ["KsmCalls"] = Common + "#include <linux/kcmp.h>\n#include <linux/audit.h>\n",
        ["Namespaces"] = "#define _GNU_SOURCE\n#include <stddef.h>\n#include <fcntl.h>\n#include <sched.h>\n" +
            "#include <sys/mount.h>\n#include <sys/stat.h>\n#include <sys/syscall.h>\n",
        ["Abi"] = Common + "#include <sys/ptrace.h>\n#include <linux/futex.h>\n#include <linux/kcmp.h>\n",
        ["Fuse"] = "#include <stddef.h>\n#include <sys/mount.h>\n#include <sys/syscall.h>\n#include <linux/fuse.h>\n",
        ["FuseDevice"] = Common + "#include <sys/eventfd.h>\n",
        ["Capability"] = "#include <stddef.h>\n#include <sys/syscall.h>\n#include <linux/capability.h>\n",
    };

    /// <summary>Newer than the headers of distributions still in use (6.1), all added by Linux 6.9, or not needed
    /// (PROCMAP_QUERY).</summary>
    [GeneratedRegex(
        "^(PAGEMAP_SCAN|PAGE_IS_.*|PM_SCAN_.*|UFFDIO_MOVE.*|UFFD_FEATURE_(MOVE|WP_ASYNC|POISON|WP_UNPOPULATED)|" +
        "FUSE_NOTIFY_RESEND|FUSE_HAS_RESEND|USERFAULTFD_IOC_NEW|PROCMAP_QUERY.*|PR_[SG]ET_MEMORY_MERGE|" +
        "SECCOMP_IOCTL_NOTIF_SET_FLAGS|SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP|MFD_EXEC|MFD_NOEXEC_SEAL)$")]
    private static partial Regex MayBeMissing { get; }

    /// <summary>Structures that came with one of those.</summary>
    private static readonly Dictionary<string, string> CameWith = new()
    {
        ["page_region"] = "PAGEMAP_SCAN", ["pm_scan_arg"] = "PAGEMAP_SCAN", ["uffdio_move"] = "UFFDIO_MOVE",
        ["procmap_query"] = "PROCMAP_QUERY",
    };

    /// <summary>Names in the kernel's or the C library's spelling; others are our own.</summary>
    [GeneratedRegex("^(SYS_[a-z0-9_]+|[A-Z][A-Z0-9]*(_[A-Z0-9_]+)?|MAP_FAILED|__WALL)$")]
    private static partial Regex KernelName { get; }

    [GeneratedRegex("^[a-z][a-z0-9_]+$")]
    private static partial Regex StructName { get; }

    public static TheoryData<string> Bindings =>
        [.. BindingTypes.Where(t => Assertions(t).Length > 0).Select(t => t.Name).Order(StringComparer.Ordinal)];

    private static IEnumerable<Type> BindingTypes => typeof(Libc).Assembly.GetTypes().Where(t =>
        (t.Namespace == typeof(Libc).Namespace || t.Name is "Abi" or "KeeperNative") &&
        !t.IsNested && !t.IsDefined(typeof(CompilerGeneratedAttribute)));

    [Theory]
    [MemberData(nameof(Bindings))]
    public void TheBindingAgreesWithTheHeaders(string name)
    {
        Type type = BindingTypes.Single(t => t.Name == name);
        _ = CCompiler.Build(
            $"headers-{name}", $"{Headers.GetValueOrDefault(name, Common)}{Assertions(type)}{End}", "-Wall");
    }

    /// <summary>The way to be sure of the test above: a wrong number must not compile.</summary>
    [Theory]
    [InlineData(1, "O_CLOEXEC == 0x80000", true)]
    [InlineData(2, "O_CLOEXEC == 0x80001", false)]
    [InlineData(3, "offsetof(struct iovec, iov_len) == 4", false)]
    public void AWrongNumberDoesNotCompile(int number, string claim, bool compiles)
    {
        string source = $"{Common}_Static_assert({claim}, \"\");\n{End}";
        Exception? error = Record.Exception(() => CCompiler.Build($"headers-check-{number}", source));
        Assert.Equal(compiles, error is null);
    }

    [Fact]
    public void DirectoryRecordsHaveTheOffsetsThatAreUsed() => CCompiler.Build(
        "headers-dirent",
        $"{Common}_Static_assert(offsetof(struct dirent64, d_reclen) == 16, \"\");\n" +
        $"_Static_assert(offsetof(struct dirent64, d_name) == 19, \"\");\n{End}");

    private static string Assertions(Type type)
    {
        StringBuilder source = new();
        foreach (FieldInfo field in type.GetFields(Declared).Where(f => f.IsLiteral && KernelName.IsMatch(f.Name)))
        {
            int bits = 8 * Marshal.SizeOf(field.FieldType);
            string mask = bits == 64 ? "~0ull" : $"0x{(1ul << bits) - 1:x}ull";
            string assertion = $"_Static_assert(((unsigned long long)({field.Name}) & {mask}) == " +
                $"{Unsigned(field)}, \"{type.Name}.{field.Name}\");\n";
            _ = source.Append(
                MayBeMissing.IsMatch(field.Name) ? $"#ifdef {field.Name}\n{assertion}#endif\n" : assertion);
        }

        foreach (Type structure in (Type[])[type, .. type.GetNestedTypes(Declared)])
        {
            if (structure.IsValueType && !structure.IsEnum && StructName.IsMatch(structure.Name))
            {
                string assertions = Structure(structure);
                _ = source.Append(CameWith.TryGetValue(structure.Name, out string? with)
                    ? $"#ifdef {with}\n{assertions}#endif\n" : assertions);
            }
        }

        return source.ToString();
    }

    private static string Structure(Type type)
    {
        string assertions =
            $"_Static_assert(sizeof(struct {type.Name}) == {Marshal.SizeOf(type)}, \"sizeof {type.Name}\");\n";
        foreach (FieldInfo field in type.GetFields(Declared).Where(f => !f.IsStatic))
        {
            assertions += $"_Static_assert(offsetof(struct {type.Name}, {CName(type, field)}) == " +
                $"{Marshal.OffsetOf(type, field.Name)}, \"{type.Name}.{field.Name}\");\n";
        }

        return assertions;
    }

    /// <summary>The members of uffd_msg's union are flat here: pagefault_address is arg.pagefault.address
    /// there.</summary>
    private static string CName(Type type, FieldInfo field) =>
        type.Name == "uffd_msg" && field.Name.Contains('_', StringComparison.Ordinal)
            ? "arg." + field.Name.Replace('_', '.')
            : field.Name;

    private static string Unsigned(FieldInfo field) => field.GetRawConstantValue() switch
    {
        int v when field.FieldType == typeof(nint) => $"{unchecked((ulong)v)}ull",
        int v => $"{unchecked((uint)v)}ull",
        short v => $"{unchecked((ushort)v)}ull",
        long v => $"{unchecked((ulong)v)}ull",
        var v => string.Create(CultureInfo.InvariantCulture, $"{v}ull"),
    };
}
