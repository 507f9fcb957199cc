using System.Globalization;
using System.Text.Json;
using Microsoft.Extensions.Logging;
using Samepage.Linux.Host;

namespace Samepage.Daemon.Hosting;

/// <summary>
/// Log lines on standard error: for people, for the journal (with its priority prefix, when systemd says that standard
/// error is the journal), or as JSON. The framework's console logger writes the same from a thread and queue of its own
/// and costs a megabyte; a log line here is rare and short.
/// </summary>
internal sealed class StandardErrorLog(bool json) : ILoggerProvider
{
    private readonly bool journal = Environment.GetEnvironmentVariable("JOURNAL_STREAM") is { Length: > 0 };

    public ILogger CreateLogger(string categoryName) => new Lines(categoryName, json, journal);

    public void Dispose()
    {
    }

    private static string Plain(LogLevel level, string category, string text, bool journal)
    {
        text = text.ReplaceLineEndings(" ");
        if (journal)
        {
            return $"<{Priority(level)}>{category}: {text}";
        }

        var time = DateTimeOffset.UtcNow.ToString("yyyy-MM-ddTHH:mm:ss.fffZ", CultureInfo.InvariantCulture);
        return $"{time} {level.ToString().ToUpperInvariant()} {category}: {text}";
    }

    private static string Json(LogLevel level, string category, string text, Exception? error)
    {
        using var bytes = new MemoryStream();
        using (var writer = new Utf8JsonWriter(bytes))
        {
            writer.WriteStartObject();
            writer.WriteString("time", DateTimeOffset.UtcNow);
            writer.WriteString("level", level.ToString().ToLowerInvariant());
            writer.WriteString("category", category);
            writer.WriteString("text", text);
            if (error is not null)
            {
                writer.WriteString("error", error.ToString());
            }

            writer.WriteEndObject();
        }

        return System.Text.Encoding.UTF8.GetString(bytes.ToArray());
    }

    // syslog's severities
    private static int Priority(LogLevel level) => level switch
    {
        LogLevel.Critical => 2,
        LogLevel.Error => 3,
        LogLevel.Warning => 4,
        LogLevel.Information => 6,
        _ => 7,
    };

    private sealed class Lines(string category, bool json, bool journal) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel != LogLevel.None;

        public void Log<TState>(
            LogLevel logLevel,
            EventId eventId,
            TState state,
            Exception? exception,
            Func<TState, Exception?, string> formatter)
        {
            var text = formatter(state, exception);
            StandardStreams.WriteLine(StandardStreams.Error, json
                ? Json(logLevel, category, text, exception)
                : Plain(logLevel, category, exception is null ? text : $"{text}: {exception}", journal));
        }
    }
}
