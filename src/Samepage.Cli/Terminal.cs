namespace Samepage.Cli;

/// <summary>
/// Where a verb writes: results to <paramref name="Out"/>, progress and errors to <paramref name="Error"/>.
/// </summary>
/// <param name="Out">Standard output.</param>
/// <param name="Error">Standard error.</param>
/// <param name="OutIsTerminal">A person watches standard output.</param>
/// <param name="ErrorIsTerminal">A person watches standard error.</param>
internal sealed record Terminal(TextWriter Out, TextWriter Error, bool OutIsTerminal, bool ErrorIsTerminal)
{
    internal static Terminal Standard => new(
        Console.Out, Console.Error, !Console.IsOutputRedirected, !Console.IsErrorRedirected);
}
