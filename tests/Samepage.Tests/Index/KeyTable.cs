namespace Samepage.Tests;

/// <summary>Keys of ids in an array.</summary>
internal sealed class KeyTable(int ids) : IDigestKeys
{
    public ulong[] Keys { get; } = new ulong[ids];

    public ulong KeyOf(uint id) => Keys[id];
}
