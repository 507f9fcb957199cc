using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Samepage.Cli.Output;
using Samepage.Daemon;
using Samepage.Daemon.Api;

namespace Samepage.Cli.Client;

/// <summary>The daemon's requests, one method each: answers as bytes (for --json) or as documents.</summary>
internal static class Requests
{
    /// <summary>Sends and returns the body of a good answer.</summary>
    /// <exception cref="RequestException">The daemon refused, in its words.</exception>
    internal static byte[] Get(this DaemonClient client, string method, string path, ReadOnlySpan<byte> body = default)
    {
        var (status, answer) = client.Send(method, path, body);
        return status < 400 ? answer : throw Refused(answer);
    }

    /// <summary>The status as text for people.</summary>
    internal static string StatusText(this DaemonClient client)
    {
        var (status, answer) = client.Send("GET", "/v1/status", default, DaemonClient.PlainText);
        return status < 400 ? System.Text.Encoding.UTF8.GetString(answer) : throw Refused(answer);
    }

    internal static T Get<T>(this DaemonClient client, string path, JsonTypeInfo<T> type) =>
        Parse(client.Get("GET", path), type);

    internal static byte[] Attach(this DaemonClient client, AttachBody body) =>
        client.Get("POST", "/v1/targets", JsonSerializer.SerializeToUtf8Bytes(body, ApiJson.Default.AttachBody));

    internal static byte[] AddRun(this DaemonClient client, RunBody body) =>
        client.Get("POST", "/v1/runs", JsonSerializer.SerializeToUtf8Bytes(body, ApiJson.Default.RunBody));

    internal static byte[] Serve(this DaemonClient client, MountBody body) =>
        client.Get("POST", "/v1/mounts", JsonSerializer.SerializeToUtf8Bytes(body, ApiJson.Default.MountBody));

    internal static byte[] SetKnob(this DaemonClient client, string name, string value) =>
        client.Get(
            "PUT",
            "/v1/knobs/" + Uri.EscapeDataString(name),
            JsonSerializer.SerializeToUtf8Bytes(new KnobBody { Value = value }, ApiJson.Default.KnobBody));

    /// <summary>Long work: shows progress meanwhile.</summary>
    /// <returns>The last line: the result.</returns>
    internal static StreamLine Work(this DaemonClient client, string path, int[] pids, Progress progress)
    {
        StreamLine? last = null;
        client.Work(path, pids, line =>
        {
            last = Parse(line, ApiJson.Default.StreamLine);
            if (last.Progress is { } done)
            {
                progress.Show(done);
            }
        });
        progress.Clear();
        return Result(last);
    }

    /// <summary>Long work: hands over each line as it comes, the last one with the result or the problem.</summary>
    /// <exception cref="RequestException">The daemon refused, in its words.</exception>
    internal static void Work(this DaemonClient client, string path, IEnumerable<int> pids, Action<byte[]> line)
    {
        // A SelectionBody, written by hand: the serializer's start would be a good part of a short merge.
        var body = System.Text.Encoding.ASCII.GetBytes($"{{\"pids\":[{string.Join(',', pids)}]}}");
        List<byte[]> held = [];
        var status = client.SendForLines("POST", path, body, (status, text) =>
        {
            if (status < 400)
            {
                line(text);
            }
            else
            {
                held.Add(text);
            }
        });
        if (status >= 400)
        {
            throw Refused(held.Count > 0 ? held[^1] : []);
        }
    }

    /// <summary>What the last line of long work says.</summary>
    internal static StreamLine Result(StreamLine? last) => last?.Problem is null
        ? last ?? throw new IOException("the daemon gave no result")
        : throw new RequestException((ExitCode)last.Problem.ExitCode, last.Problem.Detail);

    internal static T Parse<T>(byte[] json, JsonTypeInfo<T> type) =>
        JsonSerializer.Deserialize(json, type) ?? throw new IOException("the daemon gave an empty answer");

    private static RequestException Refused(byte[] answer)
    {
        try
        {
            var problem = Parse(answer, ApiJson.Default.ProblemDocument);
            return new RequestException((ExitCode)problem.ExitCode, problem.Detail);
        }
        catch (JsonException error)
        {
            return new RequestException(ExitCode.Failed, "the daemon refused without saying why", error);
        }
    }
}
