namespace Samepage.Linux.Keeper;

/// <summary>How a keeper runs; the command line of <c>samepage keeper</c>.</summary>
public sealed record KeeperOptions
{
    /// <summary>Where a keeper listens unless told otherwise.</summary>
    public const string DefaultSocketPath = "/run/samepage-keeper.sock";

    /// <summary>Unix socket to listen on; created with mode 0600. One keeper per path.</summary>
    public string SocketPath { get; init; } = DefaultSocketPath;

    /// <summary>True: start a new daemon when the registered one dies without saying goodbye.</summary>
    public bool Respawn { get; init; } = true;

    /// <summary>File that stdout and stderr of a respawned daemon are appended to; null discards them.</summary>
    public string? LogPath { get; init; }

    /// <summary>How long to stay with nothing to serve and nobody connected.</summary>
    public TimeSpan IdleGrace { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How page faults are answered; anything but the default is wrong and exists for tests of the
    /// tests.</summary>
    internal FaultAnswer Answer { get; init; } = FaultAnswer.Zero;

    /// <summary>False: no holder, so a killed keeper takes the userfaultfds of forked children with it. For tests of
    /// the tests.</summary>
    internal bool Holder { get; init; } = true;

    /// <summary>Pages filled with one answer at most.</summary>
    internal int WindowPages { get; init; } = FaultServer.DefaultWindowPages;

    /// <summary>Reads <c>--socket PATH --log PATH --no-respawn --idle-seconds N</c>.</summary>
    /// <exception cref="ArgumentException">Unknown or incomplete option; the message is one clear line.</exception>
    public static KeeperOptions Parse(IReadOnlyList<string> arguments)
    {
        ArgumentNullException.ThrowIfNull(arguments);
        var options = new KeeperOptions();
        for (int i = 0; i < arguments.Count; i++)
        {
            string Value() => ++i < arguments.Count ? arguments[i]
                : throw new ArgumentException($"{arguments[i - 1]} needs a value");
            options = arguments[i] switch
            {
                "--socket" => options with { SocketPath = Path.GetFullPath(Value()) },
                "--log" => options with { LogPath = Path.GetFullPath(Value()) },
                "--no-respawn" => options with { Respawn = false },
                "--idle-seconds" => options with { IdleGrace = TimeSpan.FromSeconds(Whole(Value())) },
                "--window-pages" => options with { WindowPages = Whole(Value()) },
                "--no-holder" => options with { Holder = false },
                "--answer-stale" => options with { Answer = FaultAnswer.Stale },
                _ => throw new ArgumentException($"unknown option {arguments[i]} of the keeper"),
            };
        }

        return options;
    }

    private static int Whole(string text) =>
        int.TryParse(text, out int value) && value is >= 0 and <= 86_400 ? value
            : throw new ArgumentException($"{text} is not a whole number from 0 to 86400");
}

/// <summary>What a keeper maps at an address that has no page-table entry in a merged mapping.</summary>
internal enum FaultAnswer
{
    /// <summary>Zeros, because only MADV_DONTNEED or growth by mremap can have left an entry empty there.</summary>
    Zero,

    /// <summary>The page of the store, as the kernel would do by itself: the defect the keeper exists to prevent.
    /// Lets a test show that its detector sees stale bytes.</summary>
    Stale,
}
