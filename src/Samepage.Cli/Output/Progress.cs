using System.Globalization;
using Samepage.Daemon.Api;

namespace Samepage.Cli.Output;

/// <summary>
/// How far long work has come: on a terminal one line that is written over, elsewhere a line every few seconds (a log
/// of a slow run shows that it lives, one of a quick run shows nothing).
/// </summary>
internal sealed class Progress(Terminal terminal)
{
    private static readonly TimeSpan LineEvery = TimeSpan.FromSeconds(5);
    private long last = TimeProvider.System.GetTimestamp();
    private int width;

    internal void Show(ProgressDocument done) => Show(string.Create(
        CultureInfo.InvariantCulture,
        $"{done.Phase}: {done.PagesDone:N0} of {done.PagesTotal:N0} pages"));

    internal void Show(string text)
    {
        if (terminal.ErrorIsTerminal)
        {
            terminal.Error.Write("\r" + text.PadRight(width));
            width = text.Length;
        }
        else if (TimeProvider.System.GetElapsedTime(last) >= LineEvery)
        {
            terminal.Error.WriteLine(text);
            last = TimeProvider.System.GetTimestamp();
        }
    }

    internal void Clear()
    {
        if (width > 0)
        {
            terminal.Error.Write("\r" + new string(' ', width) + "\r");
            width = 0;
        }
    }
}
