using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text;
using Samepage.Linux.Interop;
using Xunit;

namespace Samepage.Linux.Tests.Keeper;

/// <summary>Numbers and sizes of the binding, checked by the C compiler against the system's own header.</summary>
public sealed class UserfaultfdBindingTests
{
    private const string Headers = "#include <sys/ioctl.h>\n#include <linux/userfaultfd.h>\n";

    [Fact]
    public void Constants_and_struct_sizes_agree_with_the_header()
    {
        var source = new StringBuilder(Headers);
        int constants = 0;
        foreach (FieldInfo field in typeof(Userfaultfd).GetFields(BindingFlags.Static | BindingFlags.NonPublic))
        {
            ulong value = Convert.ToUInt64(field.GetRawConstantValue(), CultureInfo.InvariantCulture);
            // Headers are often older than the kernel; names they do not know cannot be checked.
            source.Append(CultureInfo.InvariantCulture, $"#ifdef {field.Name}\n")
                .Append(CultureInfo.InvariantCulture, $"_Static_assert({field.Name} == {value}ull, ")
                .Append(CultureInfo.InvariantCulture, $"\"{field.Name}\");\n")
                .Append("#endif\n");
            constants++;
        }

        Size<uffdio_api>(source);
        Size<uffdio_range>(source);
        Size<uffdio_register>(source);
        Size<uffdio_copy>(source);
        Size<uffdio_zeropage>(source);
        Size<uffdio_writeprotect>(source);
        Size<uffdio_continue>(source);
        Size<uffd_msg>(source);
        Assert.True(constants > 30);
        (int exitCode, string messages) = Compile(source.ToString());
        Assert.True(exitCode == 0, messages);
    }

    [Fact]
    public void The_compiler_refuses_a_wrong_constant()
    {
        (int exitCode, _) = Compile(Headers + "_Static_assert(UFFDIO_COPY == 1, \"wrong\");\n");
        Assert.NotEqual(0, exitCode);
    }

    private static void Size<T>(StringBuilder source)
        where T : unmanaged => source.Append(CultureInfo.InvariantCulture,
            $"_Static_assert(sizeof(struct {typeof(T).Name}) == {Unsafe.SizeOf<T>()}, \"{typeof(T).Name}\");\n");

    private static (int ExitCode, string Messages) Compile(string source)
    {
        var start = new ProcessStartInfo("gcc", ["-fsyntax-only", "-x", "c", "-"])
        {
            RedirectStandardInput = true,
            RedirectStandardError = true,
        };
        try
        {
            using Process compiler = Process.Start(start)!;
            compiler.StandardInput.Write(source);
            compiler.StandardInput.Close();
            string messages = compiler.StandardError.ReadToEnd();
            compiler.WaitForExit();
            return (compiler.ExitCode, messages);
        }
        catch (System.ComponentModel.Win32Exception)
        {
            Assert.Skip("no gcc: install it to check the binding against the system's headers");
            throw;
        }
    }
}
