using Samepage.Linux.Proc;

namespace Samepage.Linux;

/// <summary>
/// Descriptors through which the kernel or a device may write a process's memory while all its threads stand still.
/// </summary>
internal static class AsyncWriters
{
    private static readonly string[] Marks =
        ["anon_inode:[io_uring]", "/dev/vfio", "anon_inode:kvm", "/dev/infiniband", "anon_inode:[infiniband", "/dev/vhost", "/dev/iommu"];

    /// <summary>True when there is one, or when it cannot be told.</summary>
    public static bool Has(ProcReader proc)
    {
        var numbers = new List<int>();
        if (proc.ReadDescriptors(numbers) != 0)
        {
            return true;
        }

        foreach (int number in numbers)
        {
            string? link = proc.ReadLink($"fd/{number}");
            if (link is not null && Array.Exists(Marks, mark => link.StartsWith(mark, StringComparison.Ordinal)))
            {
                return true;
            }
        }

        var buffer = new ProcBuffer();
        return proc.Read("maps", buffer) != 0 || buffer.Text.IndexOf("/[aio]"u8) >= 0;
    }
}
