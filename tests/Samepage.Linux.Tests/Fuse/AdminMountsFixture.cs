using Samepage.Linux.Fuse;
using Samepage.Linux.Tests.Live;
using Samepage.Linux.Tests.Support;

namespace Samepage.Linux.Tests.Fuse;

/// <summary>A daemon of its own with all three views mounted.</summary>
internal sealed class MountedDaemon : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("samepage-views-").FullName;
    private readonly List<Victim> victims = [];

    public MountedDaemon()
    {
        Puppet.SkipUnlessRoot();
        Assert.SkipUnless(File.Exists("/dev/fuse"), "needs /dev/fuse (modprobe fuse)");
        Daemon = new LiveDaemon();
        try
        {
            Daemon.Start();
            Pid = Daemon.Await(0, 0, TimeSpan.FromSeconds(60));
            foreach (string view in (string[])["v4", "merged", "modern"])
            {
                Directory.CreateDirectory(this[view]);
                Good(Daemon.Cli("mount", this[view], "--view", view));
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public LiveDaemon Daemon { get; }

    /// <summary>The daemon's process id at start.</summary>
    public int Pid { get; }

    /// <summary>Directory of a view.</summary>
    public string this[string view] => Path.Combine(folder, view);

    /// <summary>A file's text.</summary>
    public string Get(string file) => RawFile.Text(Path.Combine(folder, file));

    /// <summary>Writes a file; bytes or minus the error number.</summary>
    public long Put(string file, string text) => RawFile.Put(Path.Combine(folder, file), text);

    /// <summary>A file's number.</summary>
    public long Number(string file) => long.Parse(Get(file), System.Globalization.CultureInfo.InvariantCulture);

    /// <summary>Two processes with equal memory, attached and not merged: scanning is off.</summary>
    /// <returns>Process ids.</returns>
    public IReadOnlyList<Victim> StartPair(int pages)
    {
        Assert.Equal(1, Put("modern/run", "0"));
        for (int i = 0; i < 2; i++)
        {
            var victim = Victim.Start("--mode", "fill", "--pages", $"{pages}");
            victims.Add(victim);
            Good(Daemon.Cli("attach", $"{victim.Pid}", "--range", RangeOf(victim)));
        }

        return victims[^2..];
    }

    public static void Good(CliResult result) => Assert.Equal((0, ""), (result.Code, result.Error));

    public void Dispose()
    {
        try
        {
            victims.ForEach(victim => victim.Dispose());
        }
        finally
        {
            Daemon.Dispose();
            TakeAway();
        }
    }

    private void TakeAway()
    {
        foreach (FuseMountEntry left in FuseMount.List()
            .Where(mount => mount.Path.StartsWith(folder + "/", StringComparison.Ordinal)))
        {
            _ = FuseMount.Unmount(left.Path, lazily: true);
        }

        // Not recursive: a mount that is still there must not be walked into.
        foreach (string directory in Directory.EnumerateDirectories(folder))
        {
            Directory.Delete(directory);
        }

        Directory.Delete(folder);
    }

    private static string RangeOf(Victim victim)
    {
        PageRange region = victim.Regions[0];
        return $"{region.Start << 12:x}-{region.End << 12:x}";
    }
}

/// <summary>One <see cref="MountedDaemon"/> for the tests of a class.</summary>
public sealed class AdminMountsFixture : IDisposable
{
    private MountedDaemon? daemon;

    internal MountedDaemon Get() => daemon ??= new MountedDaemon();

    public void Dispose() => daemon?.Dispose();
}
