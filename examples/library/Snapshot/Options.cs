using System.Globalization;

namespace Samepage.Examples;

/// <summary>What the user asked for.</summary>
internal sealed record Options(string Verb, string File, string Socket, bool KeepStopped, IReadOnlyList<int> Pids)
{
    internal static Options Parse(string[] args)
    {
        if (args is not [("write" or "verify") and var verb, var file, .. var rest])
        {
            throw new ArgumentException("say write FILE [--socket PATH] [--keep-stopped] PID... or verify FILE");
        }

        var options = new Options(verb, file, SamepageClient.DefaultSocket, false, []);
        for (int i = 0; i < rest.Length; i++)
        {
            options = rest[i] switch
            {
                "--keep-stopped" => options with { KeepStopped = true },
                "--socket" when i + 1 < rest.Length => options with { Socket = rest[++i] },
                _ => options with { Pids = [.. options.Pids, Pid(rest[i])] },
            };
        }

        return verb == "write" && options.Pids.Count == 0
            ? throw new ArgumentException("give the process ids of attached processes")
            : options;
    }

    private static int Pid(string text) =>
        int.TryParse(text, CultureInfo.InvariantCulture, out int pid) && pid > 0
            ? pid
            : throw new ArgumentException($"\"{text}\" is not a process id");
}
