using System.Diagnostics;
using System.Globalization;

namespace Samepage.Benchmarks.EndToEnd;

/// <summary>A virtual machine started by examples/guests.</summary>
internal sealed class Guest : IDisposable
{
    private readonly string _folder;
    private readonly string _sum;
    private bool _ended;

    private Guest(string folder, int pid, string sum)
    {
        _folder = folder;
        Pid = pid;
        _sum = sum;
    }

    /// <summary>Process id of QEMU.</summary>
    public int Pid { get; }

    /// <summary>Its proportional set size in bytes.</summary>
    public long Pss => ProcessFigures.Pss(Pid);

    /// <summary>Why guests cannot be started here, or null when they can.</summary>
    public static string? Unavailable()
    {
        var folders = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':');
        return folders.Any(folder => File.Exists(Path.Combine(folder, "qemu-system-x86_64")))
            ? null
            : "qemu-system-x86_64 is missing: apt-get install qemu-system-x86";
    }

    /// <summary>Starts guests and waits until they are up and quiet.</summary>
    public static List<Guest> Boot(string folder, int count, int mebibytes)
    {
        var images = Run("prepare", "--mebibytes", $"{mebibytes}");
        var sum = File.ReadAllText(Path.Combine(images, "sum")).Trim();
        var guests = new List<Guest>();
        for (var i = 0; i < count; i++)
        {
            var own = Path.Combine(folder, $"guest-{Guid.NewGuid():n}");
            Directory.CreateDirectory(own);
            var pid = int.Parse(Run("boot", own, "--mebibytes", $"{mebibytes}"), CultureInfo.InvariantCulture);
            var guest = new Guest(own, pid, sum);
            CleanUp.Add(guest.Dispose);
            guests.Add(guest);
        }

        foreach (var guest in guests.Where(guest => Run("talk", guest._folder, "--timeout", "120", "ready") != sum))
        {
            throw new InvalidOperationException($"guest {guest.Pid} came up with other files than it was given");
        }

        // What a guest still does right after saying that it is up is over by then.
        Thread.Sleep(2000);
        return guests;
    }

    /// <summary>Lets the guest read all its files.</summary>
    /// <exception cref="InvalidOperationException">They have changed.</exception>
    public void Check()
    {
        if (Run("talk", _folder, "check") != _sum)
        {
            throw new InvalidOperationException($"guest {Pid} has other content than it had before merging");
        }
    }

    /// <summary>Ends it.</summary>
    public void Dispose()
    {
        if (_ended)
        {
            return;
        }

        _ended = true;
        const int kill = 9;
        ProcessFigures.Signal(Pid, kill);
        for (var waited = Stopwatch.StartNew(); waited.Elapsed < TimeSpan.FromSeconds(5); Thread.Sleep(5))
        {
            if (!File.Exists($"/proc/{Pid}/exe"))
            {
                return;
            }
        }
    }

    private static string Run(string script, params string[] arguments)
    {
        var path = Path.Combine(Repository.Root, "examples", "guests", script);
        var start = new ProcessStartInfo(path, arguments)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using var process = Process.Start(start) ?? throw new IOException($"cannot start {path}");
        var error = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd().Trim();
        process.WaitForExit();
        return process.ExitCode == 0 ? output : throw new IOException($"{script}: {error.Result.Trim()}");
    }
}
