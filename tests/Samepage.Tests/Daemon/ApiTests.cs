using System.Net;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using Samepage.Daemon;
using Samepage.Daemon.Api;
using Samepage.Daemon.Hosting;
using Xunit;

namespace Samepage.Tests;

public sealed class ApiTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task TheCommittedDescriptionIsWhatTheRoutesAre()
    {
        var options = new DaemonOptions
        {
            Socket = RunningDaemon.NewSocket(),
            LogLevel = Microsoft.Extensions.Logging.LogLevel.None,
            OpenTargets = () => new MemoryTargets(),
            Keeper = new NoStateKeeper(),
        };
        using SocketFile file = SocketFile.Claim(options.Socket);
        await using var app = DaemonHost.Build(options, file.Bind, describe: true);
        await app.StartAsync(Cancel); // routes are known from here on
        string generated = await ApiDescription.Generate(app);
        using var committed = new StreamReader(ApiDescription.Open());
        if (generated != await committed.ReadToEndAsync(Cancel))
        {
            string path = Path.Combine(AppContext.BaseDirectory, "openapi.json");
            await File.WriteAllTextAsync(path, generated, Cancel);
            Assert.Fail($"docs/openapi.json is not what the routes are; that is in {path}: look at it and copy it");
        }
    }

    [Fact]
    public async Task TheDescriptionIsServedAndNamesEveryRoute()
    {
        await using RunningDaemon daemon = await RunningDaemon.Start();
        JsonElement paths = (await daemon.Get("/openapi/v1.json")).GetProperty("paths");
        Assert.Equal(
            [
                "/v1/events", "/v1/knobs", "/v1/knobs/{name}", "/v1/merge", "/v1/mounts", "/v1/runs", "/v1/status",
                "/v1/targets", "/v1/targets/{pid}", "/v1/targets/{pid}/events", "/v1/targets/{pid}/pages",
                "/v1/targets/{pid}/ranges", "/v1/targets/{pid}/ranges/{range}", "/v1/unmerge",
            ],
            paths.EnumerateObject().Select(path => path.Name).Order());
        Assert.True(paths.GetProperty("/v1/targets/{pid}").TryGetProperty("delete", out _));
        Assert.True(paths.GetProperty("/v1/knobs/{name}").TryGetProperty("put", out _));
    }

    [Theory]
    [InlineData("GET", "/v1/nix", "", 404, 2, "there is no /v1/nix")]
    [InlineData("DELETE", "/v1/status", "", 405, 2, "DELETE is not for /v1/status")]
    [InlineData("GET", "/v1/targets/7", "", 404, 5, "process 7 is not attached")]
    [InlineData("DELETE", "/v1/targets/7", "", 404, 5, "process 7 is not attached")]
    [InlineData("POST", "/v1/targets", "{", 400, 2, "the body is not as expected")]
    [InlineData("POST", "/v1/targets", "{}", 400, 2, "pid")]
    [InlineData("POST", "/v1/targets", "{\"pid\":7,\"nix\":1}", 400, 2, "nix")]
    [InlineData("POST", "/v1/targets", "{\"pid\":-7}", 400, 2, "-7 is not a process id")]
    [InlineData("POST", "/v1/targets", "{\"pid\":4000000}", 404, 5, "there is no process 4000000")]
    [InlineData("POST", "/v1/targets", "{\"pid\":7,\"domain\":\"a b\"}", 400, 2, "a domain is")]
    [InlineData("POST", "/v1/targets", "{\"pid\":7,\"ranges\":[\"2000-1000\"]}", 400, 2, "its end must be above")]
    [InlineData("POST", "/v1/merge", "{\"pids\":[7]}", 404, 5, "process 7 is not attached")]
    [InlineData("POST", "/v1/unmerge", "{\"pids\":[7]}", 404, 5, "process 7 is not attached")]
    [InlineData("GET", "/v1/knobs/nix", "", 400, 2, "there is no knob \"nix\"")]
    [InlineData("PUT", "/v1/knobs/run", "{\"value\":\"3\"}", 400, 2, "run cannot be \"3\"")]
    [InlineData("PUT", "/v1/knobs/nix", "{\"value\":\"3\"}", 400, 2, "there is no knob \"nix\"")]
    public async Task ABadRequestGetsAProblemWithOneLineAndAnExitCode(
        string method, string path, string body, int status, int exitCode, string saying)
    {
        await using RunningDaemon daemon = await RunningDaemon.Start();
        using var request = new HttpRequestMessage(new HttpMethod(method), path);
        if (body.Length > 0)
        {
            request.Content = new StringContent(body, Encoding.UTF8, "application/json");
        }

        using HttpResponseMessage answer = await daemon.Http.SendAsync(request, Cancel);
        await AssertProblem(answer, status, exitCode, saying);
        Assert.Empty(daemon.Targets.Attached);
    }

    [Fact]
    public async Task ABodyThatIsTooLargeIsRefused()
    {
        await using RunningDaemon daemon = await RunningDaemon.Start();
        string body = "{\"pid\":7,\"domain\":\"" + new string('x', 100_000) + "\"}";
        using HttpResponseMessage answer = await daemon.Http.PostAsync(
            "/v1/targets", new StringContent(body, Encoding.UTF8, "application/json"), Cancel);
        await AssertProblem(answer, 413, 2, "too large");
    }

    [Fact]
    public async Task LongWorkCanBeAskedForAsAStreamThatEndsWithTheResult()
    {
        var (daemon, _, _) = await RunningDaemon.StartWithTwins();
        await using var _ = daemon;
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/merge")
        {
            Content = JsonContent.Create(new { }),
        };
        request.Headers.Accept.ParseAdd("application/x-ndjson");
        using HttpResponseMessage answer = await daemon.Http.SendAsync(request, Cancel);
        Assert.Equal("application/x-ndjson", answer.Content.Headers.ContentType!.MediaType);
        string[] lines = (await answer.Content.ReadAsStringAsync(Cancel)).TrimEnd('\n').Split('\n');
        JsonElement last = JsonDocument.Parse(lines[^1]).RootElement;
        Assert.Equal(128, last.GetProperty("merged").GetProperty("pages_merged").GetInt64());
        Assert.All(lines[..^1], line => Assert.Equal(
            "progress", Assert.Single(JsonDocument.Parse(line).RootElement.EnumerateObject()).Name));
    }

    [Fact]
    public async Task AStreamEndsWithTheProblemWhenTheWorkIsRefused()
    {
        await using RunningDaemon daemon = await RunningDaemon.Start();
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/merge")
        {
            Content = JsonContent.Create(new { pids = new[] { 7 } }),
        };
        request.Headers.Accept.ParseAdd("application/x-ndjson");
        using HttpResponseMessage answer = await daemon.Http.SendAsync(request, Cancel);
        JsonElement problem = (await answer.Content.ReadFromJsonAsync<JsonElement>(Cancel)).GetProperty("problem");
        Assert.Equal(5, problem.GetProperty("exit_code").GetInt32());
    }

    private static async Task AssertProblem(HttpResponseMessage answer, int status, int exitCode, string saying)
    {
        Assert.Equal((HttpStatusCode)status, answer.StatusCode);
        Assert.Equal("application/problem+json", answer.Content.Headers.ContentType!.MediaType);
        JsonElement problem = await answer.Content.ReadFromJsonAsync<JsonElement>(Cancel);
        string detail = problem.GetProperty("detail").GetString()!;
        Assert.Contains(saying, detail, StringComparison.OrdinalIgnoreCase);
        Assert.DoesNotContain('\n', detail);
        Assert.Equal(status, problem.GetProperty("status").GetInt32());
        Assert.Equal(exitCode, problem.GetProperty("exit_code").GetInt32());
        Assert.NotEqual("", problem.GetProperty("title").GetString());
    }
}
