using System.Globalization;
using Xunit;

namespace Samepage.Linux.Tests.Support;

/// <summary>
/// Virtual machines nobody prepared (examples/guests). Started together, each up and checked when <see cref="Start"/>
/// returns; all ended by <see cref="Dispose"/>.
/// </summary>
internal sealed class Guests : IDisposable
{
    private readonly string directory;
    private readonly List<(string Directory, int Pid, ulong StartTime)> guests = [];

    private Guests(string directory) => this.directory = directory;

    public IReadOnlyList<int> Pids => [.. guests.Select(guest => guest.Pid)];

    /// <summary>Skips the test when QEMU or another package is missing.</summary>
    public static Guests Start(int count, int mebibytes)
    {
        Assert.SkipUnless(
            TestPaths.Which("qemu-system-x86_64") is not null && TestPaths.Which("cpio") is not null,
            "QEMU or cpio is missing (Debian packages qemu-system-x86, cpio, busybox-static)");
        var guests = new Guests(Directory.CreateTempSubdirectory("samepage-test-guests-").FullName);
        try
        {
            guests.Boot(count, mebibytes);
            return guests;
        }
        catch
        {
            guests.Dispose();
            throw;
        }
    }

    /// <summary>One command to one guest (examples/guests/talk): its answer.</summary>
    public string Talk(int guest, string command, string? argument = null) => Script(
        "talk",
        argument is null
            ? [guests[guest].Directory, "--timeout", "300", command]
            : [guests[guest].Directory, "--timeout", "300", command, argument]);

    /// <summary>Fails when a guest no longer has the files it was given.</summary>
    public void Check()
    {
        for (int guest = 0; guest < guests.Count; guest++)
        {
            Assert.Equal(Checksum, Talk(guest, "check"));
        }
    }

    /// <summary>Checksum of the files in every guest, computed on the host.</summary>
    public string Checksum { get; private set; } = string.Empty;

    /// <summary>A field of /proc/PID/smaps_rollup ("Pss", "Rss") over all guests, in bytes.</summary>
    public long Memory(string field = "Pss") => Pids.Sum(pid => MemoryOf(pid, field));

    /// <summary>The same for one process.</summary>
    public static long MemoryOf(int pid, string field) => long.Parse(
        File.ReadLines($"/proc/{pid}/smaps_rollup")
            .First(line => line.StartsWith(field + ":", StringComparison.Ordinal))
            .Split(' ', StringSplitOptions.RemoveEmptyEntries)[1],
        CultureInfo.InvariantCulture) * 1024;

    public void Dispose()
    {
        foreach ((_, int pid, ulong startTime) in guests)
        {
            if (startTime != 0 && DetachedProcess.StartTimeOf(pid) == startTime)
            {
                DetachedProcess.Kill(pid);
            }
        }

        foreach ((_, int pid, ulong startTime) in guests)
        {
            DetachedProcess.WaitUntil(
                () => DetachedProcess.StartTimeOf(pid) != startTime || startTime == 0,
                TimeSpan.FromSeconds(20),
                $"guest {pid} did not end");
        }

        Directory.Delete(directory, recursive: true);
    }

    private static string Script(string name, IEnumerable<string> arguments) =>
        DetachedProcess.Run(Path.Combine(TestPaths.GuestScripts, name), arguments, TimeSpan.FromMinutes(6)).Trim();

    private void Boot(int count, int mebibytes)
    {
        string size = mebibytes.ToString(CultureInfo.InvariantCulture);
        string images = Script("prepare", ["--mebibytes", size]);
        Checksum = File.ReadAllText(Path.Combine(images, "sum")).Trim();
        for (int guest = 0; guest < count; guest++)
        {
            string path = Directory.CreateDirectory(Path.Combine(directory, $"guest-{guest}")).FullName;
            int pid = int.Parse(Script("boot", [path, "--mebibytes", size]), CultureInfo.InvariantCulture);
            guests.Add((path, pid, DetachedProcess.StartTimeOf(pid)));
        }

        for (int guest = 0; guest < count; guest++)
        {
            Assert.Equal(Checksum, Talk(guest, "ready"));
        }
    }
}
