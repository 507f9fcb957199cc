namespace Samepage.Simulation.Hosts;

/// <summary>A word of a line and the column it begins at, from 1.</summary>
internal readonly record struct HostWord(string Text, int Column);

/// <summary>NAME=VALUE; the column is that of the value.</summary>
internal sealed record HostSetting(string Name, string Value, int Line, int Column)
{
    public HostFileException Error(string problem) => new(Line, Column, problem);
}

/// <summary>One line of a host file, in words; what follows a # is left out.</summary>
internal sealed class HostLine
{
    public HostLine(int number, string text)
    {
        Number = number;
        int comment = text.IndexOf('#', StringComparison.Ordinal);
        string kept = comment < 0 ? text : text[..comment];
        var words = new List<HostWord>();
        for (int at = 0; at < kept.Length; at++)
        {
            int end = at;
            while (end < kept.Length && !char.IsWhiteSpace(kept[end]))
            {
                end++;
            }

            if (end > at)
            {
                words.Add(new HostWord(kept[at..end], at + 1));
                at = end;
            }
        }

        Words = words;
    }

    public int Number { get; }

    public IReadOnlyList<HostWord> Words { get; }

    public HostFileException Error(HostWord word, string problem) => new(Number, word.Column, problem);

    /// <summary>The word that names something.</summary>
    public HostWord Name(int index, string statement)
    {
        if (index >= Words.Count || Words[index].Text.Contains('=', StringComparison.Ordinal))
        {
            throw Error(Words[index - 1], $"\"{statement}\" needs a name behind it");
        }

        return Words[index];
    }

    /// <summary>The settings from a word on.</summary>
    public IReadOnlyList<HostSetting> Settings(int from, params string[] known)
    {
        var settings = new List<HostSetting>();
        foreach (HostWord word in Words.Skip(from))
        {
            int sign = word.Text.IndexOf('=', StringComparison.Ordinal);
            if (sign <= 0 || !known.Contains(word.Text[..sign]))
            {
                throw Error(word, $"\"{word.Text}\" is no setting of \"{Words[0].Text}\": there are {string.Join(", ", known.Select(name => name + "="))}");
            }

            string name = word.Text[..sign];
            if (settings.Any(setting => setting.Name == name))
            {
                throw Error(word, $"{name}= is there already");
            }

            settings.Add(new HostSetting(name, word.Text[(sign + 1)..], Number, word.Column + sign + 1));
        }

        return settings;
    }

    public void Require(bool given, string name)
    {
        if (!given)
        {
            throw Error(Words[0], $"\"{Words[0].Text}\" needs {name}=");
        }
    }
}
