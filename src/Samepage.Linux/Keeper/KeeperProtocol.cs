using System.Globalization;
using System.Text;

namespace Samepage.Linux.Keeper;

/// <summary>The verbs of the keeper's protocol.</summary>
internal enum KeeperVerb
{
    Ping,
    Hello,
    Goodbye,
    Add,
    Drop,
    Store,
    DropStore,
    TakeStore,
    List,
    StatePut,
    StateGet,
    Stats,
    Keep,
    LetGo,
    TakeKept,
}

/// <summary>One parsed request. Which numbers and texts are there depends on the verb.</summary>
internal sealed record KeeperRequest(KeeperVerb Verb, int Pid = 0, ulong StartTime = 0, int Fd = 0, string Domain = "",
    int Bytes = 0, IReadOnlyList<string>? Arguments = null);

/// <summary>
/// The keeper's protocol: requests are lines of ASCII words separated by single spaces, free text percent-encoded;
/// each is answered by one line <c>ok ...</c> or <c>err text</c>. Only STATE-PUT and the answer to STATE-GET are
/// followed by raw bytes, as many as the line says.
/// <code>
/// PING                        ok samepage-keeper 1 PID
/// HELLO PID [ARG ...]         the daemon and how to start another one if it dies; no ARG: do not
/// GOODBYE                     the daemon leaves on purpose
/// ADD PID START FD            take userfaultfd FD out of the target's table and serve it
/// DROP PID                    forget the target (it has been un-merged); forked children stay
/// STORE DOMAIN PID FD         keep the store open that PID (the daemon) has as FD
/// DROP-STORE DOMAIN
/// TAKE-STORE DOMAIN           ok PID FD: where to get it with pidfd_getfd
/// LIST                        ok target=PID,START,FD ... store=DOMAIN ... kept=NAME ... descriptors=N
/// STATE-PUT N + N bytes       ok
/// STATE-GET                   ok N + N bytes
/// STATS                       ok name=value ...
/// KEEP NAME PID FD            hold a duplicate of PID's descriptor FD (a seccomp listener and what belongs to it)
/// LET-GO NAME
/// TAKE-KEPT NAME              ok PID FD: where to get it with pidfd_getfd
/// </code>
/// </summary>
internal static class KeeperProtocol
{
    internal const int LineBytesMax = 8192;
    internal const int ArgumentsMax = 128;
    internal const int DomainCharsMax = 256;
    internal const string Greeting = "samepage-keeper 1";

    /// <summary>Reads one line without its end. Exactly one of the results is null.</summary>
    internal static (KeeperRequest? Request, string? Error) Parse(ReadOnlySpan<byte> line)
    {
        foreach (byte letter in line)
        {
            if (letter is < 0x20 or > 0x7E)
            {
                return (null, "only printable ASCII is allowed in a request");
            }
        }

        string[] words = Encoding.ASCII.GetString(line).Split(' ');
        if (words.Any(word => word.Length == 0))
        {
            return (null, "words are separated by exactly one space");
        }

        return words[0] switch
        {
            "PING" => NoArgument(words, KeeperVerb.Ping),
            "GOODBYE" => NoArgument(words, KeeperVerb.Goodbye),
            "LIST" => NoArgument(words, KeeperVerb.List),
            "STATE-GET" => NoArgument(words, KeeperVerb.StateGet),
            "STATS" => NoArgument(words, KeeperVerb.Stats),
            "HELLO" => Hello(words),
            "ADD" => Add(words),
            "DROP" => words.Length == 2 && Pid(words[1], out int pid)
                ? (new KeeperRequest(KeeperVerb.Drop, pid), null) : (null, "DROP needs a process id"),
            "STORE" => Store(words),
            "KEEP" => Keep(words),
            "LET-GO" => DomainOnly(words, KeeperVerb.LetGo),
            "TAKE-KEPT" => DomainOnly(words, KeeperVerb.TakeKept),
            "DROP-STORE" => DomainOnly(words, KeeperVerb.DropStore),
            "TAKE-STORE" => DomainOnly(words, KeeperVerb.TakeStore),
            "STATE-PUT" => words.Length == 2 && Number(words[1], KeeperLedger.StateBytesMax, out ulong bytes)
                ? (new KeeperRequest(KeeperVerb.StatePut, Bytes: (int)bytes), null)
                : (null, $"STATE-PUT needs a length from 0 to {KeeperLedger.StateBytesMax}"),
            _ => (null, "unknown request"),
        };
    }

    private static (KeeperRequest?, string?) NoArgument(string[] words, KeeperVerb verb) =>
        words.Length == 1 ? (new KeeperRequest(verb), null) : (null, $"{words[0]} takes no argument");

    private static (KeeperRequest?, string?) Hello(string[] words)
    {
        if (words.Length < 2 || !Pid(words[1], out int pid))
        {
            return (null, "HELLO needs the daemon's process id and its command line");
        }

        var arguments = new List<string>();
        foreach (string word in words.AsSpan(2))
        {
            if (!Text(word, LineBytesMax, out string argument))
            {
                return (null, "HELLO: an argument is not percent-encoded text");
            }

            arguments.Add(argument);
        }

        return arguments.Count > ArgumentsMax ? (null, $"HELLO: more than {ArgumentsMax} arguments")
            : arguments.Count > 0 && !Path.IsPathRooted(arguments[0]) ? (null, "HELLO: the program needs a full path")
            : (new KeeperRequest(KeeperVerb.Hello, pid, Arguments: arguments), null);
    }

    private static (KeeperRequest?, string?) Add(string[] words) =>
        words.Length == 4 && Pid(words[1], out int pid) && Number(words[2], ulong.MaxValue, out ulong start)
            && Number(words[3], int.MaxValue, out ulong fd)
            ? (new KeeperRequest(KeeperVerb.Add, pid, start, (int)fd), null)
            : (null, "ADD needs a process id, its start time and a descriptor number");

    private static (KeeperRequest?, string?) Store(string[] words) =>
        words.Length == 4 && Text(words[1], DomainCharsMax, out string domain) && Pid(words[2], out int pid)
            && Number(words[3], int.MaxValue, out ulong fd)
            ? (new KeeperRequest(KeeperVerb.Store, pid, Fd: (int)fd, Domain: domain), null)
            : (null, "STORE needs a domain, a process id and a descriptor number");

    private static (KeeperRequest?, string?) Keep(string[] words) =>
        words.Length == 4 && Text(words[1], DomainCharsMax, out string name) && Pid(words[2], out int pid)
            && Number(words[3], int.MaxValue, out ulong fd)
            ? (new KeeperRequest(KeeperVerb.Keep, pid, Fd: (int)fd, Domain: name), null)
            : (null, "KEEP needs a name, a process id and a descriptor number");

    private static (KeeperRequest?, string?) DomainOnly(string[] words, KeeperVerb verb) =>
        words.Length == 2 && Text(words[1], DomainCharsMax, out string domain)
            ? (new KeeperRequest(verb, Domain: domain), null) : (null, $"{words[0]} needs a domain or name");

    private static bool Pid(string word, out int pid)
    {
        bool good = Number(word, int.MaxValue, out ulong number) && number > 0;
        pid = good ? (int)number : 0;
        return good;
    }

    private static bool Number(string word, ulong most, out ulong number) =>
        ulong.TryParse(word, NumberStyles.None, CultureInfo.InvariantCulture, out number) && number <= most;

    // Strict: what would be encoded differently by us is refused, so that one text has one spelling.
    private static bool Text(string word, int most, out string text)
    {
        text = Uri.UnescapeDataString(word);
        return text.Length is > 0 && text.Length <= most && !text.Contains('\0')
            && string.Equals(Uri.EscapeDataString(text), word, StringComparison.Ordinal);
    }
}
