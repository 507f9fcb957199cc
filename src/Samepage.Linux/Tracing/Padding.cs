using Microsoft.Win32.SafeHandles;
using Samepage.Linux.Interop;
using Samepage.Linux.Proc;

namespace Samepage.Linux.Tracing;

/// <summary>
/// A stretch of zero bytes at the end of an executable mapping, where a program of less than a page may live for a moment:
/// the vDSO has one in every process; else the tail of a file mapping's last page, behind the end of the code.
/// </summary>
internal sealed class Padding : IDisposable
{
    private readonly SafeFileHandle _memory;
    private readonly int _bytes;
    private bool _written;

    private Padding(SafeFileHandle memory, ulong address, int bytes)
    {
        _memory = memory;
        Address = address;
        _bytes = bytes;
    }

    /// <summary>First byte, in the target.</summary>
    public ulong Address { get; }

    /// <summary>Finds room in a process; null when there is none.</summary>
    public static Padding? Find(ProcessIdentity process, int bytes)
    {
        SafeFileHandle memory = process.Proc.Open("mem", out int errno, Fcntl.O_RDWR);
        if (errno != 0)
        {
            return null;
        }

        var buffer = new ProcBuffer();
        if (process.Proc.Read("maps", buffer) == 0)
        {
            Span<byte> page = stackalloc byte[PageSize.Bytes];
            foreach (bool vdso in new[] { true, false })
            {
                var parser = new MapsParser(buffer.Text);
                while (parser.TryNext(out MapsLine map))
                {
                    bool isVdso = map.Name.SequenceEqual("[vdso]"u8);
                    if ((map.Protection & VmaProtection.Execute) == 0 || isVdso != vdso || map.Name.SequenceEqual("[vsyscall]"u8)
                        || Fcntl.Read(memory, page, (long)map.End - PageSize.Bytes) != PageSize.Bytes)
                    {
                        continue;
                    }

                    // 64 zero bytes stay between the code and ours.
                    if (page[^(bytes + 80)..].IndexOfAnyExcept((byte)0) < 0)
                    {
                        ulong address = (map.End - (ulong)bytes) & ~15ul;
                        return new Padding(memory, address, bytes);
                    }
                }
            }
        }

        memory.Dispose();
        return null;
    }

    public void Write(ReadOnlySpan<byte> image)
    {
        _written = true;
        if (Fcntl.Write(_memory, image, (long)Address) != image.Length)
        {
            throw new KernelException("write the bootstrap to /proc/PID/mem", Errno.Last);
        }
    }

    /// <summary>Puts the zeros back.</summary>
    public void Clear()
    {
        if (_written)
        {
            _written = false;
            _ = Fcntl.Write(_memory, new byte[_bytes], (long)Address);
        }
    }

    /// <summary>Leaves what was written: a thread may still need it.</summary>
    public void Leave() => _written = false;

    public void Dispose()
    {
        Clear();
        _memory.Dispose();
    }
}
