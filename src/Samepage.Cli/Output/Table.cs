using System.Runtime.CompilerServices;
using Spectre.Console;

namespace Samepage.Cli.Output;

/// <summary>
/// Tables for people. The only place that uses Spectre.Console, so that other verbs need not load it.
/// </summary>
internal static class Table
{
    private const int WidthOfFiles = 200; // nobody looks at line ends in a file or pipe: do not break cells there

    [MethodImpl(MethodImplOptions.NoInlining)]
    internal static void Print(Terminal terminal, string[] columns, IEnumerable<string[]> rows, int textColumns = 1)
    {
        var console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Out = new AnsiConsoleOutput(terminal.Out),
            Ansi = terminal.OutIsTerminal ? AnsiSupport.Detect : AnsiSupport.No,
            Interactive = InteractionSupport.No,
        });
        if (!terminal.OutIsTerminal)
        {
            console.Profile.Width = WidthOfFiles;
        }

        var table = new Spectre.Console.Table { Border = TableBorder.Simple };
        for (var i = 0; i < columns.Length; i++)
        {
            var column = new TableColumn(new Text(columns[i])) { NoWrap = i >= textColumns };
            table.AddColumn(i < textColumns ? column : column.RightAligned());
        }

        foreach (var row in rows)
        {
            table.AddRow(row.Select(cell => new Text(cell)));
        }

        console.Write(table);
    }
}
