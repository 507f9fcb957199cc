using System.Net.Sockets;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Samepage.Daemon.AdminFiles;
using Samepage.Daemon.Api;
using Samepage.Daemon.Loop;
using Samepage.Linux.Host;

namespace Samepage.Daemon.Hosting;

/// <summary>
/// One daemon from start to end: claims its socket, opens the machine, answers requests, and leaves when asked to -
/// un-merging nothing unless told so, since the next daemon takes over what is merged.
/// </summary>
public static class DaemonHost
{
    internal const long RequestBytesMax = 64 * 1024;
    private static readonly TimeSpan ShutdownTimeout = TimeSpan.FromMinutes(5); // un-merging much memory takes its time

    /// <summary>Runs until SIGTERM, SIGINT or <paramref name="stop"/>.</summary>
    /// <exception cref="RequestException">It could not start, or ended by an error.</exception>
    public static async Task Run(DaemonOptions options, CancellationToken stop = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        using var file = SocketFile.Claim(options.Socket);
        await using var app = Build(options, file.Bind, describe: false);
        using var loop = app.Services.GetRequiredService<EngineLoop>();
        var log = app.Services.GetRequiredService<ILoggerFactory>().CreateLogger("Samepage.Daemon");
        await Started(loop).ConfigureAwait(false);
        using var mounts = app.Services.GetRequiredService<AdminMounts>();
        await mounts.Restore().ConfigureAwait(false);
        await app.StartAsync(stop).ConfigureAwait(false);
        log.LogInformation("Answering at {Socket}, process {Pid}", options.Socket, Environment.ProcessId);
        ServiceNotify.Ready();
        if (options.Detached)
        {
            StandardStreams.RedirectError(options.LogFile);
        }

        await EndOf(app, loop, stop).ConfigureAwait(false);
        ServiceNotify.Stopping();
        mounts.Dispose();
        await loop.Stop(options.UnmergeOnExit).ConfigureAwait(false);
        await app.StopAsync(CancellationToken.None).ConfigureAwait(false);
        log.LogInformation("Ended");
    }

    /// <summary>
    /// The application with all routes; <paramref name="describe"/> adds what generates its description.
    /// </summary>
    internal static WebApplication Build(DaemonOptions options, Func<Socket> bind, bool describe)
    {
        // Empty: no configuration files, no environment, nothing that a small daemon pays memory for and never uses.
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions { ApplicationName = "samepage" });
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxRequestBodySize = RequestBytesMax;
            kestrel.Limits.MaxConcurrentConnections = 256;
            kestrel.ListenUnixSocket(Path.GetFullPath(options.Socket));
        });
        builder.WebHost.UseSockets(sockets => sockets.CreateBoundListenSocket = _ => bind());
        builder.Services.AddRoutingCore();
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = ShutdownTimeout);
        builder.Services.ConfigureHttpJsonOptions(json =>
        {
            json.SerializerOptions.PropertyNamingPolicy = ApiJson.Default.Options.PropertyNamingPolicy;
            json.SerializerOptions.NumberHandling = JsonNumberHandling.Strict;
            json.SerializerOptions.UnmappedMemberHandling = ApiJson.Default.Options.UnmappedMemberHandling;
            json.SerializerOptions.TypeInfoResolver = describe
                ? JsonTypeInfoResolver.Combine(ApiJson.Default, json.SerializerOptions.TypeInfoResolver)
                : ApiJson.Default;
        });
        builder.Services.Configure<RouteHandlerOptions>(routes => routes.ThrowOnBadRequest = true);
        builder.Services.AddSingleton<EventHub>();
        builder.Services.AddSingleton<SnapshotBoard>();
        builder.Services.AddSingleton(services => new EngineLoop(
            serveLookers => Open(options, services, serveLookers), services.GetRequiredService<SnapshotBoard>()));
        builder.Services.AddSingleton(services => new AdminMounts(
            options.Socket,
            services.GetRequiredService<EngineLoop>(),
            services.GetRequiredService<SnapshotBoard>(),
            services.GetRequiredService<ILoggerFactory>().CreateLogger("Samepage.Daemon.AdminFiles")));
        AddLog(builder.Logging, options);
        if (describe)
        {
            ApiDescription.Add(builder.Services);
        }

        var app = builder.Build();
        var log = app.Services.GetRequiredService<ILoggerFactory>().CreateLogger("Samepage.Daemon.Api");
        app.Use((context, next) => Problems.Handle(context, next, log));
        MapAll(app);
        return app;
    }

    private static void MapAll(WebApplication app)
    {
        app.MapStatus();
        app.MapTargets();
        app.MapRuns();
        app.MapMerge();
        app.MapKnobs();
        app.MapMounts();
        app.MapEvents();
        app.MapDescription();
    }

    private static Supervisor Open(DaemonOptions options, IServiceProvider services, Action serveLookers) =>
        new(
            options.OpenTargets(),
            options.Keeper,
            services.GetRequiredService<EventHub>(),
            services.GetRequiredService<ILoggerFactory>().CreateLogger("Samepage.Daemon.Targets"),
            serveLookers,
            Seed(),
            RunsChanged(services.GetRequiredService<EngineLoop>()));

    // The answer of the loop is awaited by nobody: should it be full, the next look around comes anyway.
    private static Action RunsChanged(EngineLoop loop) => () => loop.Ask(
        supervisor =>
        {
            supervisor.CarryOutRequests();
            return true;
        },
        CancellationToken.None).ContinueWith(task => _ = task.Exception, TaskScheduler.Default);

    // From the kernel directly: the framework's generator loads OpenSSL for it, 7 MB that the daemon would keep.
    private static ulong Seed()
    {
        using var random = File.OpenRead("/dev/urandom");
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        random.ReadExactly(bytes);
        return BitConverter.ToUInt64(bytes);
    }

    // When the thread dies while it opens the machine, its own error says more than the unanswered question.
    private static async Task Started(EngineLoop loop)
    {
        try
        {
            await loop.Start().ConfigureAwait(false);
        }
        catch (RequestException) when (loop.Ended.IsFaulted)
        {
            await loop.Ended.ConfigureAwait(false);
        }
    }

    private static async Task EndOf(WebApplication app, EngineLoop loop, CancellationToken stop)
    {
        var asked = new TaskCompletionSource();
        await using var _ = app.Lifetime.ApplicationStopping.Register(asked.SetResult).ConfigureAwait(false);
        await using var __ = stop.Register(app.Lifetime.StopApplication).ConfigureAwait(false);
        await Task.WhenAny(asked.Task, loop.Ended).ConfigureAwait(false);
        if (loop.Ended.IsFaulted)
        {
            await loop.Ended.ConfigureAwait(false);
        }
    }

    private static void AddLog(ILoggingBuilder logging, DaemonOptions options)
    {
        logging.SetMinimumLevel(options.LogLevel);
        var frameworks = options.LogLevel < LogLevel.Information ? LogLevel.Information : LogLevel.Warning;
        logging.AddFilter("Microsoft", options.LogLevel > frameworks ? options.LogLevel : frameworks);
        logging.AddProvider(new StandardErrorLog(options.JsonLog));
    }
}
