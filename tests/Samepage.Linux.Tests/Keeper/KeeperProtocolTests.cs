using System.Net.Sockets;
using System.Text;
using Samepage.Linux.Keeper;
using Xunit;

namespace Samepage.Linux.Tests.Keeper;

[Collection(KeeperTestsOneByOne.Name)]
public sealed class KeeperProtocolTests
{
    private static readonly string[] s_pieces =
    [
        "PING", "HELLO", "GOODBYE", "ADD", "DROP", "STORE", "DROP-STORE", "TAKE-STORE", "LIST", "STATE-GET",
        "STATE-PUT", "STATS", "ping", " ", "  ", "0", "1", "-1", "+1", "99999999999999999999", "2147483648", "uid%3A0",
        "%", "%zz", "%00", "%0A", "\t", "\0", "\r", "\u007f", "é", "/bin/true", "x",
    ];

    [Theory]
    [InlineData("")]
    [InlineData("NOTHING")]
    [InlineData("ping")]
    [InlineData(" PING")]
    [InlineData("PING ")]
    [InlineData("PING 1")]
    [InlineData("HELLO")]
    [InlineData("HELLO 0")]
    [InlineData("HELLO 1 relative")]
    [InlineData("HELLO 1 /bin/x%zz")]
    [InlineData("HELLO 1 /bin%2ftrue")]
    [InlineData("ADD 1 2")]
    [InlineData("ADD 1 2 3 4")]
    [InlineData("ADD -1 2 3")]
    [InlineData("ADD 1 2 -3")]
    [InlineData("ADD 1 0x2 3")]
    [InlineData("ADD 2147483648 2 3")]
    [InlineData("ADD 1  2 3")]
    [InlineData("DROP")]
    [InlineData("DROP x")]
    [InlineData("STORE uid:0 1 2")]
    [InlineData("STORE uid%3A0 1")]
    [InlineData("STORE %00 1 2")]
    [InlineData("STATE-PUT")]
    [InlineData("STATE-PUT 65537")]
    [InlineData("STATE-PUT -1")]
    [InlineData("LIST\r")]
    [InlineData("LIST\0")]
    public void Malformed_requests_are_refused(string line)
    {
        (KeeperRequest? request, string? error) = KeeperProtocol.Parse(Encoding.UTF8.GetBytes(line));
        Assert.Null(request);
        Assert.False(string.IsNullOrWhiteSpace(error));
        Assert.DoesNotContain('\n', error);
    }

    [Fact]
    public void Requests_are_read_as_written()
    {
        Assert.Equal(new KeeperRequest(KeeperVerb.Add, 12, 34, 56), Good("ADD 12 34 56"));
        Assert.Equal(new KeeperRequest(KeeperVerb.Store, 12, Fd: 3, Domain: "uid:0 x"), Good("STORE uid%3A0%20x 12 3"));
        Assert.Equal(new KeeperRequest(KeeperVerb.StatePut, Bytes: 65536), Good("STATE-PUT 65536"));
        Assert.Equal(["/bin/a b", "-c", "x\ny"], Good("HELLO 7 %2Fbin%2Fa%20b -c x%0Ay").Arguments!);
    }

    [Fact]
    public void Fuzzed_requests_get_one_answer_each_and_change_nothing()
    {
        Require.Root();
        using var fixture = new KeeperFixture();
        using KeeperClient client = fixture.Connect();
        client.PutState("untouched");
        var random = new Random(4711);
        using Socket socket = Dial(fixture);
        using var stream = new NetworkStream(socket);
        using var answers = new StreamReader(stream, Encoding.Latin1);
        for (int i = 0; i < 20_000; i++)
        {
            byte[] line = Fuzz(random);
            if (KeeperProtocol.Parse(line).Request is not null || line.AsSpan().StartsWith("STATE-PUT"u8))
            {
                continue;
            }

            stream.Write([.. line, (byte)'\n']);
            string? answer = answers.ReadLine();
            Assert.StartsWith("err ", answer, StringComparison.Ordinal);
        }

        Assert.Equal("untouched", client.GetState());
        KeeperContents contents = client.List();
        Assert.Empty(contents.Targets);
        Assert.Empty(contents.Domains);
        Assert.Equal(0, contents.Descriptors);
    }

    [Fact]
    public void Well_formed_requests_about_nothing_are_refused_and_change_nothing()
    {
        Require.Root();
        using var fixture = new KeeperFixture();
        using KeeperClient client = fixture.Connect();
        int self = Environment.ProcessId;
        ulong start = KeeperFiles.StartTimeOf(self);
        Assert.Throws<KeeperException>(() => client.Add(self, start + 1, 0));
        Assert.Throws<KeeperException>(() => client.Add(self, start, 0));
        Assert.Throws<KeeperException>(() => client.Add(self, start, 99_999));
        Assert.Throws<KeeperException>(() => client.Add(int.MaxValue, 1, 3));
        Assert.Throws<KeeperException>(() => client.Store("uid:0", 99_999));
        Assert.Throws<KeeperException>(() => client.Hello(int.MaxValue, []));
        Assert.False(client.Drop(self));
        Assert.Null(client.TakeStore("uid:0"));
        Assert.Empty(client.List().Targets);
    }

    [Fact]
    public void An_overlong_line_ends_its_connection_and_nobody_elses()
    {
        Require.Root();
        using var fixture = new KeeperFixture();
        using KeeperClient client = fixture.Connect();
        using Socket socket = Dial(fixture);
        using var stream = new NetworkStream(socket);
        stream.Write(new byte[KeeperProtocol.LineBytesMax + 1].AsSpan());
        using var answers = new StreamReader(stream);
        Assert.StartsWith("err ", answers.ReadLine(), StringComparison.Ordinal);
        Assert.Null(answers.ReadLine());
        client.Ping();
    }

    [Fact]
    public void Requests_may_arrive_in_pieces_and_in_bulk()
    {
        Require.Root();
        using var fixture = new KeeperFixture();
        using KeeperClient client = fixture.Connect();
        using Socket socket = Dial(fixture);
        using var stream = new NetworkStream(socket);
        using var answers = new StreamReader(stream);
        foreach (byte letter in "STATE-PUT 6\na\nb\ncdSTATE-GET\n"u8)
        {
            stream.WriteByte(letter);
            Thread.Sleep(1);
        }

        Assert.Equal("ok", answers.ReadLine());
        Assert.Equal("ok 6", answers.ReadLine());
        Assert.Equal("a", answers.ReadLine());
        Assert.Equal("b", answers.ReadLine());
        stream.Write(Encoding.ASCII.GetBytes(string.Concat(Enumerable.Repeat("LIST\n", 500))));
        Assert.Equal("cdok descriptors=0", answers.ReadLine());
        for (int i = 1; i < 500; i++)
        {
            Assert.Equal("ok descriptors=0", answers.ReadLine());
        }
    }

    [Fact]
    public void A_second_keeper_at_the_same_path_gives_way()
    {
        Require.Root();
        using var fixture = new KeeperFixture();
        using KeeperClient client = fixture.Connect();
        System.Diagnostics.Process second = fixture.Run(fixture.Start.Command[0], [.. fixture.Start.Command.Skip(1)]);
        Assert.True(second.WaitForExit(5000));
        Assert.Equal(KeeperProcess.AlreadyServed, second.ExitCode);
        client.Ping();
        Assert.Single(fixture.Holders);
    }

    private static KeeperRequest Good(string line)
    {
        (KeeperRequest? request, string? error) = KeeperProtocol.Parse(Encoding.ASCII.GetBytes(line));
        Assert.Null(error);
        return request!;
    }

    private static byte[] Fuzz(Random random)
    {
        if (random.Next(4) == 0)
        {
            byte[] noise = new byte[random.Next(200)];
            random.NextBytes(noise);
            return Array.FindAll(noise, letter => letter != (byte)'\n');
        }

        var text = new StringBuilder();
        for (int words = random.Next(1, 8); words > 0; words--)
        {
            text.Append(s_pieces[random.Next(s_pieces.Length)]).Append(random.Next(5) == 0 ? "" : " ");
        }

        return Encoding.UTF8.GetBytes(text.ToString().TrimEnd(' '));
    }

    private static Socket Dial(KeeperFixture fixture)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.ReceiveTimeout = 5000;
        socket.Connect(new UnixDomainSocketEndPoint(fixture.SocketPath));
        return socket;
    }
}
