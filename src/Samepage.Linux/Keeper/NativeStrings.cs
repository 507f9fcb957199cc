using System.Runtime.InteropServices;

namespace Samepage.Linux.Keeper;

/// <summary>A null-terminated array of zero-terminated strings, as execve takes it.</summary>
internal sealed class NativeStrings : IDisposable
{
    private readonly int _count;

    internal unsafe NativeStrings(IReadOnlyList<string> strings)
    {
        _count = strings.Count;
        Pointers = (byte**)NativeMemory.AllocZeroed((nuint)(_count + 1), (nuint)sizeof(byte*));
        for (int i = 0; i < _count; i++)
        {
            // SAFETY: the array has _count + 1 entries, the last of which stays null.
            Pointers[i] = (byte*)Marshal.StringToCoTaskMemUTF8(strings[i]);
        }
    }

    internal unsafe byte** Pointers { get; }

    public unsafe void Dispose()
    {
        for (int i = 0; i < _count; i++)
        {
            // SAFETY: filled by the constructor.
            Marshal.FreeCoTaskMem((nint)Pointers[i]);
        }

        NativeMemory.Free(Pointers);
    }
}
