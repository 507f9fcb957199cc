using System.Globalization;

namespace Samepage.Simulation.Hosts;

/// <summary>Reads host files. One statement per line; docs/host-files.md has the format.</summary>
public sealed class HostFile
{
    private const long PageBytes = PageSize.Bytes;
    private const long HostBytesMax = 1L << 50; // 1 PiB
    private const int GuestsMax = 100_000;

    private readonly List<GuestGroup> _groups = [];
    private readonly Dictionary<string, (PageContentKind Kind, long PoolPages)> _common = new(StringComparer.Ordinal);
    private List<PageClass> _classes = [];
    private Group? _open;
    private bool _hasHost;
    private long _memory;
    private TimeSpan _duration = TimeSpan.FromHours(1);

    private HostFile()
    {
    }

    /// <summary>Reads a description.</summary>
    /// <exception cref="HostFileException">It is wrong: where and why.</exception>
    public static HostDescription Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var file = new HostFile();
        string[] lines = text.Split('\n');
        for (int i = 0; i < lines.Length; i++)
        {
            file.Take(new HostLine(i + 1, lines[i].TrimEnd('\r')));
        }

        file.CloseGroup(lines.Length);
        return file._groups.Count == 0
            ? throw new HostFileException(lines.Length, 1, "there are no guests: add a line \"guests NAME count=N memory=SIZE\"")
            : new HostDescription(file._memory, file._duration, file._groups);
    }

    private void Take(HostLine line)
    {
        if (line.Words.Count == 0)
        {
            return;
        }

        switch (line.Words[0].Text)
        {
            case "host":
                TakeHost(line);
                break;
            case "guests":
                CloseGroup(line.Number);
                TakeGuests(line);
                break;
            case "pages":
                TakePages(line);
                break;
            default:
                throw line.Error(line.Words[0], $"\"{line.Words[0].Text}\" is no statement: a line begins with host, guests or pages");
        }
    }

    private void TakeHost(HostLine line)
    {
        if (_hasHost)
        {
            throw line.Error(line.Words[0], "there is a host line already");
        }

        _hasHost = true;
        IReadOnlyList<HostSetting> settings = line.Settings(1, "memory", "duration");
        foreach (HostSetting setting in settings)
        {
            if (setting.Name == "memory")
            {
                _memory = Size(setting, PageBytes, HostBytesMax);
            }
            else
            {
                _duration = Time(setting, TimeSpan.FromSeconds(1), TimeSpan.FromDays(30));
            }
        }
    }

    private void TakeGuests(HostLine line)
    {
        HostWord name = line.Name(1, "guests");
        if (_groups.Any(group => group.Name == name.Text))
        {
            throw line.Error(name, $"there are guests \"{name.Text}\" already");
        }

        var group = new Group(name.Text, line.Number);
        foreach (HostSetting setting in line.Settings(2, "count", "memory", "start", "over", "life"))
        {
            switch (setting.Name)
            {
                case "count":
                    group.Count = (int)Number(setting, 1, GuestsMax);
                    break;
                case "memory":
                    group.Pages = Size(setting, PageBytes, HostBytesMax) / PageBytes;
                    break;
                case "start":
                    group.Start = Time(setting, TimeSpan.Zero, TimeSpan.FromDays(30));
                    break;
                case "over":
                    group.Over = Time(setting, TimeSpan.Zero, TimeSpan.FromDays(30));
                    break;
                default:
                    group.Life = Time(setting, TimeSpan.FromSeconds(1), TimeSpan.FromDays(3650));
                    break;
            }
        }

        line.Require(group.Count > 0, "count");
        line.Require(group.Pages > 0, "memory");
        _open = group;
        _classes = [];
    }

    private void TakePages(HostLine line)
    {
        if (_open is not { } group)
        {
            throw line.Error(line.Words[0], "pages belong to guests: put a \"guests\" line before");
        }

        HostWord name = line.Name(1, "pages");
        if (_classes.Any(known => known.Name == name.Text))
        {
            throw line.Error(name, $"these guests have pages \"{name.Text}\" already");
        }

        long pages = 0;
        PageClass? content = null;
        TimeSpan? life = null;
        foreach (HostSetting setting in line.Settings(2, "share", "content", "life"))
        {
            switch (setting.Name)
            {
                case "share":
                    pages = Share(setting, group.Pages);
                    break;
                case "content":
                    content = Content(setting, name.Text);
                    break;
                default:
                    life = Time(setting, TimeSpan.FromSeconds(1), TimeSpan.FromDays(3650));
                    break;
            }
        }

        line.Require(pages > 0, "share");
        line.Require(content is not null, "content");
        if (_classes.Sum(known => known.Pages) + pages > group.Pages)
        {
            throw line.Error(line.Words[0], $"the pages of \"{group.Name}\" are more than its memory");
        }

        _classes.Add(content! with { Pages = pages, Life = life });
    }

    private void CloseGroup(int line)
    {
        if (_open is { } group)
        {
            if (_classes.Count == 0)
            {
                throw new HostFileException(
                    Math.Max(group.Line, 1), 1, $"guests \"{group.Name}\" have no pages: add lines \"pages NAME share=N% content=KIND\"");
            }

            _groups.Add(new GuestGroup(
                group.Name, group.Count, group.Pages, group.Start, group.Over, group.Life, _classes));
            if (_groups.Sum(one => (double)one.Count * one.Pages) * PageBytes > HostBytesMax)
            {
                throw new HostFileException(line, 1, "all guests together have more than 1 PiB");
            }

            _open = null;
        }
    }

    private PageClass Content(HostSetting setting, string name)
    {
        string[] parts = setting.Value.Split(':', 2);
        if (parts is ["unique"] or ["zero"])
        {
            return new PageClass(
                name, 0, parts[0] == "zero" ? PageContentKind.Zero : PageContentKind.Unique, null, 0, null);
        }

        if (parts is ["image", { Length: > 0 } image])
        {
            Same(setting, image, PageContentKind.Image, 0);
            return new PageClass(name, 0, PageContentKind.Image, image, 0, null);
        }

        string[] pool = parts is ["pool", var rest] ? rest.Split('/', 2) : [];
        if (pool is [{ Length: > 0 } stock, var size])
        {
            long pages = Size(setting with { Value = size, Column = setting.Column + setting.Value.IndexOf('/', StringComparison.Ordinal) + 1 },
                PageBytes, HostBytesMax) / PageBytes;
            Same(setting, stock, PageContentKind.Pool, pages);
            return new PageClass(name, 0, PageContentKind.Pool, stock, pages, null);
        }

        throw setting.Error($"\"{setting.Value}\" is no content: give unique, zero, image:NAME or pool:NAME/SIZE");
    }

    private void Same(HostSetting setting, string name, PageContentKind kind, long pages)
    {
        if (!_common.TryAdd(name, (kind, pages)) && _common[name] != (kind, pages))
        {
            throw setting.Error($"\"{name}\" is something else, or has another size, further up");
        }
    }

    private static long Share(HostSetting setting, long pages)
    {
        if (!setting.Value.EndsWith('%'))
        {
            return Size(setting, PageBytes, pages * PageBytes) / PageBytes;
        }

        return decimal.TryParse(setting.Value.AsSpan(0, setting.Value.Length - 1), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out decimal percent)
            && percent is > 0 and <= 100 && (long)(pages * percent / 100) > 0
            ? (long)(pages * percent / 100)
            : throw setting.Error($"\"{setting.Value}\" is no share: give more than 0% and at most 100%, or a size");
    }

    private static long Number(HostSetting setting, long least, long most) =>
        long.TryParse(setting.Value, NumberStyles.None, CultureInfo.InvariantCulture, out long number)
            && number >= least && number <= most
            ? number
            : throw setting.Error($"{setting.Name} cannot be \"{setting.Value}\": give {least} to {most}");

    private static long Size(HostSetting setting, long least, long most)
    {
        ReadOnlySpan<(string Unit, int Shift)> units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];
        foreach ((string unit, int shift) in units)
        {
            if (setting.Value.EndsWith(unit, StringComparison.Ordinal)
                && decimal.TryParse(setting.Value.AsSpan(0, setting.Value.Length - 3), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out decimal number)
                && number <= 1 << 20)
            {
                var bytes = (long)(number * (1L << shift));
                return bytes >= least && bytes <= most
                    ? bytes
                    : throw setting.Error($"{setting.Name} cannot be {setting.Value}: it must be {least} to {most} bytes");
            }
        }

        throw setting.Error($"\"{setting.Value}\" is no size: give a number and KiB, MiB, GiB or TiB, as 4GiB");
    }

    private static TimeSpan Time(HostSetting setting, TimeSpan least, TimeSpan most)
    {
        ReadOnlySpan<(char Unit, double Seconds)> units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86400)];
        foreach ((char unit, double seconds) in units)
        {
            if (setting.Value.EndsWith(unit)
                && double.TryParse(setting.Value.AsSpan(0, setting.Value.Length - 1), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double number)
                && number * seconds <= most.TotalSeconds && number * seconds >= least.TotalSeconds)
            {
                return TimeSpan.FromSeconds(number * seconds);
            }
        }

        throw setting.Error(
            $"\"{setting.Value}\" is no time here: give a number and s, m, h or d, {least.TotalSeconds:0} s to {most.TotalDays:0} d");
    }

    private sealed class Group(string name, int line)
    {
        public string Name { get; } = name;

        public int Line { get; } = line;

        public int Count { get; set; }

        public long Pages { get; set; }

        public TimeSpan Start { get; set; }

        public TimeSpan Over { get; set; }

        public TimeSpan? Life { get; set; }
    }
}
