using System.Runtime.InteropServices;
using Samepage.Linux.Interop;
using Samepage.Linux.Store;

namespace Samepage.Linux.Tests;

/// <summary>The store against a real tmpfs, with real processes mapping it.</summary>
public class StoreTests
{
    public StoreTests() => Puppet.SkipUnlessRoot();

    [Fact]
    public void WhatWasWrittenIsRead()
    {
        using TmpfsStore store = TmpfsStore.Create("test");
        byte[] pages = Pages(1, 2, 3);
        store.Write(10, pages);
        byte[] back = new byte[pages.Length];
        store.Read(10, back);
        Assert.Equal(pages, back);
        Assert.Equal(3 * PageSize.Bytes, store.AllocatedBytes);
        Assert.Equal([(10u, 3u)], store.UsedSlots());
    }

    [Fact]
    public void SlotsThatMustStayEmptyAreNeverWritten()
    {
        using TmpfsStore store = TmpfsStore.Create("test");
        Assert.Throws<ArgumentException>(() => store.Write(510, Pages(1, 2)));
        Assert.Throws<ArgumentException>(() => store.Write(511, Pages(1)));
        Assert.Throws<ArgumentException>(() => store.Write(TmpfsStore.SlotCount, Pages(1)));
        Assert.Throws<ArgumentException>(() => store.Write(0, new byte[100]));
        Assert.Empty(store.UsedSlots());
    }

    [Fact]
    public void WithoutMemoryNothingIsPublished()
    {
        using TmpfsStore store = TmpfsStore.Create("test", bytesMax: 8 * PageSize.Bytes);
        store.Write(0, Pages(1, 2, 3, 4, 5));
        Assert.Throws<IOException>(() => store.Write(5, Pages(6, 7, 8, 9, 10)));
        Assert.Equal([(0u, 5u)], store.UsedSlots());
        store.Write(5, Pages(6, 7, 8));
        Assert.Equal([(0u, 8u)], store.UsedSlots());
    }

    [Fact]
    public void TheDescriptorForTargetsCannotWrite()
    {
        using TmpfsStore store = TmpfsStore.Create("test");
        Assert.Equal(-1, Fcntl.Write(store.ReadOnlyDescriptor, Pages(1), 0));
        Assert.Equal(-1, Mman.mmap(
            0, PageSize.Bytes, Mman.PROT_READ | Mman.PROT_WRITE, Mman.MAP_SHARED, store.ReadOnlyDescriptor, 0));
    }

    [Fact]
    public void PagesNobodyMapsAreGivenBack()
    {
        using TmpfsStore store = TmpfsStore.Create("test");
        store.Write(0, Pages(1, 2, 3, 4));
        Assert.Equal([true, true, true], Reclaim(store, 0, 1, 3));
        Assert.Equal([(2u, 1u)], store.UsedSlots());
        Assert.Equal(PageSize.Bytes, store.AllocatedBytes);
        store.Write(0, Pages(9));
    }

    [Fact]
    public void PagesAProcessMapsStay()
    {
        using TmpfsStore store = TmpfsStore.Create("test");
        store.Write(0, Pages(1, 2, 3, 4));
        using Puppet puppet = Puppet.Start();
        ulong address = puppet.Do($"store 0 1 2 {PathOf(store)}");
        Assert.Equal([true, false, false, true], Reclaim(store, 0, 1, 2, 3));
        puppet.Expect($"unmap {address:x} 1");
        Assert.Equal([true, false], Reclaim(store, 1, 2));
        puppet.Kill();
        Assert.Equal([true], Reclaim(store, 2));
    }

    /// <summary>A target keeps a shared window over the whole store; it must not keep all pages for ever. (The two
    /// pages lie apart because a fault shows up to 16 neighbours too.)</summary>
    [Fact]
    public void ASharedWindowKeepsAPageOnlyWhileItShowsIt()
    {
        const uint shown = 40;
        using TmpfsStore store = TmpfsStore.Create("test");
        store.Write(0, Pages(1));
        store.Write(shown, Pages(2));
        using Puppet puppet = Puppet.Start();
        ulong window = puppet.Do($"window 0 64 {PathOf(store)}");
        ulong address = window + (shown * PageSize.Bytes);
        Assert.Equal(0x0202020202020202ul, puppet.Do($"read {address:x}"));
        Assert.Equal([true, false], Reclaim(store, 0, shown));
        puppet.Expect($"advise {window:x} 64 4"); // MADV_DONTNEED
        Assert.Equal([true], Reclaim(store, shown));
        store.Write(shown, Pages(7));
        Assert.Equal(0x0707070707070707ul, puppet.Do($"read {address:x}"));
    }

    [Fact]
    public void APageBrokenByAWriteInAMappingStillCountsAsCovered()
    {
        using TmpfsStore store = TmpfsStore.Create("test");
        store.Write(0, Pages(1));
        using Puppet puppet = Puppet.Start();
        puppet.Fill(puppet.Do($"store 0 0 1 {PathOf(store)}"), 1);
        Assert.Equal([false], Reclaim(store, 0));
    }

    [Fact]
    public void AForkedChildNobodyKnowsKeepsItsPages()
    {
        using TmpfsStore store = TmpfsStore.Create("test");
        store.Write(0, Pages(1, 2));
        using Puppet puppet = Puppet.Start();
        ulong address = puppet.Do($"store 0 0 2 {PathOf(store)}");
        int child = (int)puppet.Do("fork");
        puppet.Expect($"unmap {address:x} 2");
        Assert.Equal([false, false], Reclaim(store, 0, 1));
        System.Diagnostics.Process.GetProcessById(child).Kill();
        for (int i = 0; i < 200 && Reclaim(store, 0) is [false]; i++)
        {
            Thread.Sleep(10);
        }

        Assert.Equal([(1u, 1u)], store.UsedSlots());
    }

    /// <summary>Such a process shows no mappings under its own number in /proc.</summary>
    [Fact]
    public void AProcessThatRunsOnWithoutItsFirstThreadKeepsItsPages()
    {
        using TmpfsStore store = TmpfsStore.Create("test");
        store.Write(0, Pages(1));
        using Puppet puppet = Puppet.Start();
        ulong address = puppet.Do($"store 0 0 1 {PathOf(store)}");
        puppet.Expect("thread");
        for (int i = 0; i < 200 && File.ReadAllText($"/proc/{puppet.Pid}/maps").Length > 0; i++)
        {
            Thread.Sleep(10);
        }

        Assert.Equal([false], Reclaim(store, 0));
        Assert.Equal(0x0101010101010101ul, puppet.Do($"read {address:x}"));
    }

    /// <summary>Each half of the proof alone keeps a mapped page; without either the page's reader sees other bytes.
    /// The last is what shows that this test can tell a broken proof from a good one.</summary>
    [Fact]
    public void WithoutTheProofAProcessSeesAnotherPagesBytes()
    {
        const ulong kept = 0x0101010101010101, foreign = 0x0909090909090909;
        Assert.Equal(kept, ReadAfterReuse(store => new MappingProof(store.Identity, store.ReadOnlyDescriptor)));
        Assert.Equal(kept, ReadAfterReuse(store => new Claim((slots, unmapped) =>
            new MappingProof(store.Identity, store.ReadOnlyDescriptor).FindUncovered(slots, unmapped))));
        Assert.Equal(kept, ReadAfterReuse(store => new Claim((slots, unmapped) =>
        {
            unmapped.Fill(true);
            new MappingProof(store.Identity, store.ReadOnlyDescriptor).ExcludeCounted(slots, unmapped);
        })));
        Assert.Equal(foreign, ReadAfterReuse(_ => new Claim((_, unmapped) => unmapped.Fill(true))));
    }

    [Fact]
    public void AStoreIsTakenOverFromADescriptorOfItsTarget()
    {
        TmpfsStore dead = TmpfsStore.Create("test");
        dead.Write(0, Pages(1, 2));
        dead.Write(700, Pages(3));
        using Microsoft.Win32.SafeHandles.SafeFileHandle left = Fcntl.OpenAt(
            null, PathOf(dead), Fcntl.O_RDONLY | Fcntl.O_CLOEXEC);
        Samepage.Linux.Proc.FileIdentity identity = dead.Identity;
        dead.Dispose();
        using TmpfsStore store = TmpfsStore.Adopt("test", left);
        Assert.Equal(identity, store.Identity);
        Assert.Equal([(0u, 2u), (700u, 1u)], store.UsedSlots());
        store.Write(2, Pages(4));
        byte[] back = new byte[PageSize.Bytes];
        store.Read(700, back);
        Assert.Equal(Pages(3), back);
    }

    [Fact]
    public void AFileThatIsNoStoreIsNotTakenOver()
    {
        string path = Path.GetTempFileName();
        using Microsoft.Win32.SafeHandles.SafeFileHandle file = Fcntl.OpenAt(
            null, path, Fcntl.O_RDONLY | Fcntl.O_CLOEXEC);
        File.Delete(path);
        TargetException error = Assert.Throws<TargetException>(() => TmpfsStore.Adopt("test", file));
        Assert.Equal(TargetError.Refused, error.Error);
    }

    internal static string PathOf(TmpfsStore store) =>
        $"/proc/{Environment.ProcessId}/fd/{store.ReadOnlyDescriptor.DangerousGetHandle()}";

    private static ulong ReadAfterReuse(Func<TmpfsStore, IReclaimProof> makeProof)
    {
        IReclaimProof? proof = null;
        using TmpfsStore store = TmpfsStore.Create("test", proof: new Claim((s, u) => proof!.FindUnmapped(s, u)));
        proof = makeProof(store);
        store.Write(0, Pages(1));
        using Puppet puppet = Puppet.Start();
        ulong address = puppet.Do($"store 0 0 1 {PathOf(store)}");
        if (Reclaim(store, 0) is [true])
        {
            store.Write(0, Pages(9));
        }

        return puppet.Do($"read {address:x}");
    }

    private static bool[] Reclaim(TmpfsStore store, params uint[] slots)
    {
        bool[] freed = new bool[slots.Length];
        store.Reclaim(slots, freed);
        return freed;
    }

    private static byte[] Pages(params byte[] values) =>
        [.. values.SelectMany(v => Enumerable.Repeat(v, PageSize.Bytes))];

    private delegate void Find(ReadOnlySpan<uint> slots, Span<bool> unmapped);

    private sealed class Claim(Find find) : IReclaimProof
    {
        public void FindUnmapped(ReadOnlySpan<uint> slots, Span<bool> unmapped) => find(slots, unmapped);
    }
}
