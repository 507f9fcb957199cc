using System.Net.Sockets;
using Samepage.Daemon;
using Samepage.Daemon.Hosting;
using Xunit;

namespace Samepage.Tests;

public sealed class SocketTests
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    [Fact]
    public async Task TheSocketIsForItsOwnerOnlyAndNothingElseIsLeftBesideIt()
    {
        await using RunningDaemon daemon = await RunningDaemon.Start();
        Assert.Equal(OwnerOnly, File.GetUnixFileMode(daemon.Socket));
        string[] beside = Directory.GetFileSystemEntries(Path.GetDirectoryName(daemon.Socket)!);
        Assert.Equal([daemon.Socket, daemon.Socket + ".lock"], beside.Order());
        Assert.Equal(OwnerOnly, File.GetUnixFileMode(daemon.Socket + ".lock"));
    }

    [Fact]
    public async Task NobodyElseCouldConnectAtAnyInstantOfTheStart()
    {
        string socket = RunningDaemon.NewSocket();
        string folder = Path.GetDirectoryName(socket)!;
        using var done = new CancellationTokenSource();
        Task<List<string>> watching = Task.Run(() => WatchModes(folder, done.Token), CancellationToken.None);
        for (int i = 0; i < 20; i++)
        {
            using SocketFile file = SocketFile.Claim(socket);
            using Socket bound = file.Bind();
        }

        await done.CancelAsync();
        Assert.Empty(await watching);
    }

    [Fact]
    public async Task NothingIsLeftAfterTheEnd()
    {
        RunningDaemon daemon = await RunningDaemon.Start();
        await daemon.Stop();
        Assert.Empty(Directory.GetFileSystemEntries(Path.GetDirectoryName(daemon.Socket)!));
        Assert.Equal(1, daemon.Targets.Disposed);
    }

    [Fact]
    public async Task ASecondDaemonAtTheSameSocketIsRefusedAndTheFirstGoesOn()
    {
        await using RunningDaemon daemon = await RunningDaemon.Start();
        var second = new DaemonOptions
        {
            Socket = daemon.Socket,
            OpenTargets = () => new MemoryTargets(),
            Keeper = new NoStateKeeper(),
        };
        RequestException refused = await Assert.ThrowsAsync<RequestException>(
            () => DaemonHost.Run(second, TestContext.Current.CancellationToken));
        Assert.Contains("a daemon runs already", refused.Message, StringComparison.Ordinal);
        Assert.Equal(ExitCode.Failed, refused.Code);
        daemon.Cli("status").Good();
    }

    [Fact]
    public async Task TheSocketOfADeadDaemonIsReplaced()
    {
        string socket = RunningDaemon.NewSocket();
        LeaveDeadSocket(socket);
        Assert.Throws<SocketException>(() => Connect(socket));
        await using RunningDaemon daemon = await RunningDaemon.Start(socket: socket);
        daemon.Cli("status").Good();
    }

    [Fact]
    public void AFileThatIsNoSocketIsNeverReplaced()
    {
        string path = RunningDaemon.NewSocket();
        File.WriteAllText(path, "precious");
        RequestException refused = Assert.Throws<RequestException>(() => SocketFile.Claim(path));
        Assert.Equal(ExitCode.Usage, refused.Code);
        Assert.Contains("is no socket", refused.Message, StringComparison.Ordinal);
        Assert.Equal("precious", File.ReadAllText(path));
    }

    [Theory]
    [InlineData("/nowhere/at/all/samepage.sock", "does not exist")]
    [InlineData("/tmp/0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456"
        + "789", "is longer than")]
    public void ASocketPathThatCannotBeIsRefusedInOneLine(string path, string saying)
    {
        RequestException refused = Assert.Throws<RequestException>(() => SocketFile.Claim(path));
        Assert.Equal(ExitCode.Usage, refused.Code);
        Assert.Contains(saying, refused.Message, StringComparison.Ordinal);
    }

    private static List<string> WatchModes(string folder, CancellationToken done)
    {
        var wrong = new List<string>();
        while (!done.IsCancellationRequested)
        {
            foreach (string entry in Directory.GetFileSystemEntries(folder))
            {
                try
                {
                    UnixFileMode mode = File.GetUnixFileMode(entry);
                    if ((mode & ~(OwnerOnly | UnixFileMode.UserExecute)) != 0)
                    {
                        wrong.Add($"{entry}: {mode}");
                    }
                }
                catch (IOException)
                {
                    // It has gone or been moved to its place.
                }
            }
        }

        return wrong;
    }

    private static void LeaveDeadSocket(string path)
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        string elsewhere = path + ".born";
        socket.Bind(new UnixDomainSocketEndPoint(elsewhere));
        File.Move(elsewhere, path); // so that closing does not delete it, as kill -9 would not
    }

    private static void Connect(string path)
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Connect(new UnixDomainSocketEndPoint(path));
    }
}
