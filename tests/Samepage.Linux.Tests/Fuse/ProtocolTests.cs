using System.Runtime.InteropServices;
using System.Text;
using Samepage.Linux.Fuse;
using Samepage.Linux.Interop;
using static Samepage.Linux.Interop.Fuse;

namespace Samepage.Linux.Tests.Fuse;

/// <summary>The protocol without /dev/fuse: whatever bytes come, every request gets one answer.</summary>
public sealed class ProtocolTests
{
    private const int HeaderBytes = 40;

    private static readonly uint[] Unanswered = [FUSE_FORGET, FUSE_BATCH_FORGET, FUSE_INTERRUPT];

    private static readonly uint[] Opcodes =
    [
        .. Enumerable.Range(0, 56).Select(n => (uint)n), 4096, uint.MaxValue,
    ];

    [Fact]
    public void A_file_is_found_opened_read_and_written()
    {
        var kernel = new Kernel();
        kernel.Init();

        var entry = kernel.Ask<fuse_entry_out>(FUSE_LOOKUP, FUSE_ROOT_ID, "kept\0"u8);
        Assert.Equal((0x81A4u, 4096ul), (entry.attr.mode, entry.attr.size));
        ulong handle = kernel.Ask<fuse_open_out>(FUSE_OPEN, entry.nodeid, Pack(new fuse_open_in { flags = 2 })).fh;
        Assert.Equal("first\n", kernel.Read(handle, 0));
        Assert.Equal(3u, kernel.Ask<fuse_write_out>(FUSE_WRITE, entry.nodeid, Write(handle, "new"u8)).size);
        Assert.Equal("ew", kernel.Read(handle, 1));
        Assert.Equal(-Errno.EINVAL, kernel.Error(FUSE_WRITE, entry.nodeid, Write(handle, "bad"u8)));
        Assert.Equal(-Errno.EIO, kernel.Error(FUSE_WRITE, entry.nodeid, Write(handle, "throw"u8)));
        Assert.Equal(0u, kernel.Ask<fuse_write_out>(FUSE_WRITE, entry.nodeid, Write(handle, "zero"u8)).size);
        Assert.Equal(0, kernel.Error(FUSE_RELEASE, entry.nodeid, Pack(new fuse_release_in { fh = handle })));
        byte[] closed = Pack(new fuse_read_in { fh = handle, size = 9 });
        Assert.Equal(-Errno.EBADF, kernel.Error(FUSE_READ, entry.nodeid, closed));
    }

    [Fact]
    public void No_more_than_a_page_of_a_write_is_taken()
    {
        var kernel = new Kernel();
        ulong handle = kernel.Open("kept");

        byte[] data = Enumerable.Repeat((byte)'x', 8192).ToArray();

        Assert.Equal(4096u, kernel.Ask<fuse_write_out>(FUSE_WRITE, 2, Write(handle, data)).size);
        Assert.Equal(4096, kernel.Read(handle, 0).Length);
    }

    [Fact]
    public void An_interrupt_ends_the_write_it_names_and_no_other()
    {
        var kernel = new Kernel();
        ulong handle = kernel.Open("slow");
        ulong first = kernel.Send(FUSE_WRITE, 4, Write(handle, "a"u8));
        ulong second = kernel.Send(FUSE_WRITE, 4, Write(handle, "b"u8));
        Assert.Equal(2, kernel.Directory.Waiting);
        Assert.Equal("fixed\n", kernel.Read(kernel.Open("fixed"), 0));

        kernel.Send(FUSE_INTERRUPT, 0, Pack(new fuse_interrupt_in { unique = second }));
        Assert.Equal(-Errno.EINTR, kernel.Await(second));
        kernel.Send(FUSE_INTERRUPT, 0, Pack(new fuse_interrupt_in { unique = second }));
        Assert.False(kernel.HasAnswer(first));

        kernel.Directory.LetGo();
        Assert.Equal(0, kernel.Await(first));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void Junk_is_answered_once_and_well_formed_and_does_no_harm(int seed)
    {
        var random = new Random(seed);
        var kernel = new Kernel();
        kernel.Init();
        ulong handle = kernel.Open("kept");
        for (int i = 0; i < 20_000; i++)
        {
            // One that hangs is hung by the test, not by the protocol.
            byte[] request = Junk(random, handle);
            if (request.Length > HeaderBytes && BitConverter.ToUInt64(request, 16) == 5)
            {
                request[16] = 2;
            }

            int answers = kernel.Answers;
            kernel.Dispatcher.Handle(request);
            bool isAnswered = request.Length >= HeaderBytes
                && (!Unanswered.Contains(BitConverter.ToUInt32(request, 4))
                    || BitConverter.ToUInt32(request, 0) != request.Length);
            Assert.True(
                kernel.Answers - answers == (isAnswered ? 1 : 0),
                $"seed {seed}, request {i}: {kernel.Answers - answers} answers to {Convert.ToHexString(request)}");
        }

        // It still works.
        Assert.Equal(3u, kernel.Ask<fuse_write_out>(FUSE_WRITE, 2, Write(kernel.Open("kept"), "new"u8)).size);
        Assert.Equal("new", kernel.Read(kernel.Open("kept"), 0));
    }

    [Fact]
    public void The_directory_is_listed_in_pieces_of_any_size()
    {
        var kernel = new Kernel();
        kernel.Init();
        foreach (uint size in (uint[])[32, 40, 64, 100, 4096])
        {
            var names = new List<string>();
            ulong position = 0;
            while (true)
            {
                byte[] asked = Pack(new fuse_read_in { offset = position, size = size });
                byte[] piece = kernel.Bytes(FUSE_READDIR, FUSE_ROOT_ID, asked);
                if (piece.Length == 0)
                {
                    break;
                }

                Assert.InRange(piece.Length, 1, (int)size);
                for (int at = 0; at < piece.Length;)
                {
                    var entry = MemoryMarshal.Read<fuse_dirent>(piece.AsSpan(at));
                    names.Add(Encoding.UTF8.GetString(piece, at + 24, (int)entry.namelen));
                    position = entry.off;
                    at += (24 + (int)entry.namelen + 7) & ~7;
                }
            }

            Assert.Equal([".", "..", "kept", "fixed", "slow", "stuck"], names);
        }
    }

    [Fact]
    public void Mountinfo_with_odd_paths_is_read()
    {
        const string text = """
            36 35 98:0 /mnt1 /mnt/parent rw,noatime master:1 - ext3 /dev/root rw,errors=continue
            40 35 0:51 / /mnt/a\040b\134c\012d rw - fuse.samepage modern@/run/s.sock rw,user_id=0
            41 35 0:52 / /mnt/x rw,nosuid shared:5 master:7 - fuse.samepage v4@/tmp/a\040b rw
            42 35 0:53 / /mnt/y
            """;
        IReadOnlyList<FuseMountEntry> found = FuseMount.Parse(text);
        Assert.Equal(
            [new("/mnt/a b\\c\nd", "modern@/run/s.sock", "0:51"), new FuseMountEntry("/mnt/x", "v4@/tmp/a b", "0:52")],
            found);
    }

    private static byte[] Junk(Random random, ulong handle)
    {
        var body = new byte[random.Next(4) == 0 ? random.Next(5000) : random.Next(130)];
        random.NextBytes(body);
        if (body.Length >= 24 && random.Next(2) == 0)
        {
            // The handle and sizes near the truth: what a body has to be to get further in.
            BitConverter.TryWriteBytes(body, handle);
            BitConverter.TryWriteBytes(body.AsSpan(8), (ulong)random.Next(10_000));
            uint size = random.Next(3) == 0 ? uint.MaxValue - 20 : (uint)random.Next(6000);
            BitConverter.TryWriteBytes(body.AsSpan(16), size);
        }

        ulong node = random.Next(3) == 0 ? (ulong)random.NextInt64() : (ulong)random.Next(6);
        byte[] request = Request(Opcodes[random.Next(Opcodes.Length)], (ulong)random.NextInt64(), node, body);
        return random.Next(10) switch
        {
            0 => request[..random.Next(request.Length)],
            1 => [.. request, 0],
            _ => request,
        };
    }

    private static byte[] Request(uint opcode, ulong unique, ulong node, ReadOnlySpan<byte> body)
    {
        var request = new byte[HeaderBytes + body.Length];
        MemoryMarshal.Write(
            request,
            new fuse_in_header { len = (uint)request.Length, opcode = opcode, unique = unique, nodeid = node });
        body.CopyTo(request.AsSpan(HeaderBytes));
        return request;
    }

    private static byte[] Pack<T>(T value)
        where T : unmanaged => MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)).ToArray();

    private static byte[] Write(ulong handle, ReadOnlySpan<byte> data) =>
        [.. Pack(new fuse_write_in { fh = handle, size = (uint)data.Length }), .. data];

    /// <summary>The kernel's side: sends requests and checks the form of every answer.</summary>
    private sealed class Kernel
    {
        private readonly Dictionary<ulong, byte[]> answers = [];
        private readonly Lock gate = new();
        private ulong last;

        public Kernel() => Dispatcher = new FuseDispatcher(Directory, Receive);

        public TextDirectory Directory { get; } = new();

        public FuseDispatcher Dispatcher { get; }

        public int Answers { get; private set; }

        public void Init()
        {
            var answer = Ask<fuse_init_out>(
                FUSE_INIT,
                0,
                Pack(new fuse_init_in { major = 7, minor = 45, flags = uint.MaxValue, flags2 = uint.MaxValue }));
            Assert.Equal((7u, 40u, 8192u), (answer.major, answer.minor, answer.max_write));
            Assert.True(Dispatcher.IsInitialized && Dispatcher.CanResend);
        }

        public ulong Open(string name)
        {
            ulong node = Ask<fuse_entry_out>(FUSE_LOOKUP, FUSE_ROOT_ID, Encoding.UTF8.GetBytes(name + "\0")).nodeid;
            uint flags = name == "fixed" ? 0u : 2;
            return Ask<fuse_open_out>(FUSE_OPEN, node, Pack(new fuse_open_in { flags = flags })).fh;
        }

        public string Read(ulong handle, ulong offset) => Encoding.Latin1.GetString(
            Bytes(FUSE_READ, 2, Pack(new fuse_read_in { fh = handle, offset = offset, size = 8192 })));

        public T Ask<T>(uint opcode, ulong node, ReadOnlySpan<byte> body)
            where T : unmanaged => MemoryMarshal.Read<T>(Bytes(opcode, node, body));

        public byte[] Bytes(uint opcode, ulong node, ReadOnlySpan<byte> body)
        {
            ulong unique = Send(opcode, node, body);
            Assert.Equal(0, Await(unique));
            return answers[unique][16..];
        }

        public int Error(uint opcode, ulong node, ReadOnlySpan<byte> body) => Await(Send(opcode, node, body));

        public ulong Send(uint opcode, ulong node, ReadOnlySpan<byte> body)
        {
            Dispatcher.Handle(Request(opcode, ++last, node, body));
            return last;
        }

        public bool HasAnswer(ulong unique)
        {
            lock (gate)
            {
                return answers.ContainsKey(unique);
            }
        }

        public int Await(ulong unique)
        {
            Assert.True(SpinWait.SpinUntil(() => HasAnswer(unique), TimeSpan.FromSeconds(30)), "no answer");
            return BitConverter.ToInt32(answers[unique], 4);
        }

        private void Receive(ReadOnlySpan<byte> message)
        {
            var header = MemoryMarshal.Read<fuse_out_header>(message);
            Assert.Equal((uint)message.Length, header.len);
            Assert.InRange(header.error, -512, 0);
            Assert.True(header.error == 0 || message.Length == 16);
            lock (gate)
            {
                answers[header.unique] = message.ToArray();
                Answers++;
            }
        }
    }
}
