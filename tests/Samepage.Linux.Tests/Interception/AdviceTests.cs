using Samepage.Linux.Tests.Live;
using Samepage.Linux.Tests.Support;
using static Samepage.Linux.Tests.Interception.Asker;

namespace Samepage.Linux.Tests.Interception;

/// <summary>
/// Goal: programs that call madvise and prctl for KSM are merged as they ask, under the real daemon. What is merged is
/// proven by the kernel (frames in pagemap, PSS) and by the bytes.
/// </summary>
[Collection(LiveTestsOneByOne.Name)]
public sealed class AdviceTests(RunDaemon daemon) : IClassFixture<RunDaemon>
{
    private const int Pages = 512;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Two_unrelated_programs_share_frames_until_one_un_merges(bool isStatic)
    {
        using Asker one = isStatic ? RunStatic(daemon.Live) : Run(daemon.Live);
        using Asker two = Run(daemon.Live);
        ulong a = one.Filled(Pages, 1), b = two.Filled(Pages, 1);
        Assert.Equal(0, PageProof.Shared(one.Frames(a, Pages), two.Frames(b, Pages)));
        Assert.Equal(Answer.Ok, one.Advise(a, Pages, Merge));
        Assert.Equal(Answer.Ok, two.Advise(b, Pages, Merge));
        daemon.Merge(Pages, one.Pid, two.Pid);
        Assert.Equal(Pages, PageProof.Shared(one.Frames(a, Pages), two.Frames(b, Pages)));
        Assert.Equal(Pages * 2, PageProof.PssKilobytes(one.Pid, a, Pages));
        Assert.Equal(0, one.Wrong(a, Pages, 1));
        Assert.Equal(0, two.Wrong(b, Pages, 1));

        // The call returns when it is done, not before: the frames are looked at right after.
        Assert.Equal(Answer.Ok, one.Advise(a, Pages, Unmerge));
        Assert.Equal(0, PageProof.Shared(one.Frames(a, Pages), two.Frames(b, Pages)));
        Assert.DoesNotContain(0ul, one.Frames(a, Pages));
        Assert.Equal(0, one.Wrong(a, Pages, 1));
        Assert.Equal(0, two.Wrong(b, Pages, 1));

        // And what was registered once can be again.
        Assert.Equal(Answer.Ok, one.Advise(a, Pages, Merge));
        daemon.Merge(Pages, one.Pid);
        Assert.Equal(Pages, PageProof.Shared(one.Frames(a, Pages), two.Frames(b, Pages)));
        Assert.Equal(0, one.Wrong(a, Pages, 1));
    }

    [Fact]
    public void Only_what_is_registered_is_merged()
    {
        using Asker one = Run(daemon.Live);
        using Asker two = Run(daemon.Live);
        ulong a = one.Filled(Pages, 2), b = two.Filled(Pages, 2);
        one.Advise(a + (64 * 4096), 64, Merge);
        two.Advise(b, Pages, Merge);
        daemon.Merge(64, one.Pid, two.Pid);
        ulong[] frames = one.Frames(a, Pages), others = two.Frames(b, Pages);
        Assert.Equal(64, PageProof.Shared(frames, others));
        Assert.Equal(64, PageProof.Shared(frames[64..128], others[64..128]));

        // A part of it is taken out again.
        Assert.Equal(Answer.Ok, one.Advise(a + (80 * 4096), 8, Unmerge));
        daemon.Live.Ask(HttpMethod.Post, "/v1/merge", "{}");
        Assert.Equal(56, PageProof.Shared(one.Frames(a, Pages), two.Frames(b, Pages)));
        Assert.Equal(0, one.Wrong(a, Pages, 2));
    }

    [Fact]
    public void Memory_written_after_the_call_and_by_other_threads_is_merged()
    {
        using Asker one = Run(daemon.Live);
        using Asker two = Run(daemon.Live);
        ulong a = (ulong)one.Do($"map anon 0 {Pages}").Result, b = (ulong)two.Do($"map anon 0 {Pages}").Result;
        Assert.Equal(Answer.Ok, one.Do($"thread madvise {a} {Pages * 4096} 12"));
        Assert.Equal(Answer.Ok, two.Do($"thread madvise {b} {Pages * 4096} 12"));
        one.Do($"thread fill {a} {Pages} 3");
        two.Do($"fill {b} {Pages} 3");
        daemon.Merge(Pages, one.Pid, two.Pid);
        Assert.Equal(Pages, PageProof.Shared(one.Frames(a, Pages), two.Frames(b, Pages)));
        Assert.Equal(0, one.Wrong(a, Pages, 3));
    }

    [Fact]
    public void A_whole_process_is_registered_by_prctl_and_its_children_and_next_programs_with_it()
    {
        using Asker one = Run(daemon.Live);
        using Asker two = Run(daemon.Live);
        foreach (Asker asker in (Asker[])[one, two])
        {
            Assert.Equal(new Answer(0, 0), asker.Do($"prctl {GetAll}"));
            Assert.Equal(Answer.Ok, asker.Do($"prctl {SetAll} 1"));
            Assert.Equal(new Answer(1, 0), asker.Do($"prctl {GetAll}"));
            Assert.Equal(new Answer(1, 0), asker.Do($"child prctl {GetAll}"));
            asker.Execute();
            Assert.Equal(new Answer(1, 0), asker.Do($"prctl {GetAll}"));
        }

        // Nothing asks in the new programs: their memory is merged because the process is registered.
        ulong a = one.Filled(Pages, 4), b = two.Filled(Pages, 4);
        daemon.Merge(Pages, one.Pid, two.Pid);
        Assert.Equal(Pages, PageProof.Shared(one.Frames(a, Pages), two.Frames(b, Pages)));
        Assert.Equal(Answer.Ok, one.Do($"prctl {SetAll} 0"));
        Assert.Equal(0, PageProof.Shared(one.Frames(a, Pages), two.Frames(b, Pages)));
        Assert.Equal(new Answer(0, 0), one.Do($"prctl {GetAll}"));
        Assert.Equal(0, one.Wrong(a, Pages, 4));
    }

    [Fact]
    public void A_child_has_what_its_parent_registered_before_the_fork()
    {
        using Asker one = Run(daemon.Live);
        using Asker two = Run(daemon.Live);
        ulong a = one.Filled(Pages, 5), b = two.Filled(Pages, 5);
        one.Advise(a, Pages, Merge);
        two.Advise(b, Pages, Merge);
        int child = (int)one.Do("keep").Result;
        daemon.Until(() => daemon.Target(child) is not null, "the child was not attached");
        Assert.Equal(Pages, daemon.Target(child)!.Value.GetProperty("registered_pages").GetInt64());
        // The parent writes its pages anew, so that only the child still has those of the fork.
        one.Do($"fill {a} {Pages} 5");
        daemon.Merge(Pages, one.Pid, two.Pid, child);
        Assert.Equal(Pages, PageProof.Shared(PageProof.Frames(child, a, Pages), two.Frames(b, Pages)));
        Assert.Equal(0, one.Wrong(a, Pages, 5));
        DetachedProcess.Kill(child);
        daemon.Until(() => daemon.Target(child) is null, "the child is still attached");
    }

    [Fact]
    public void A_child_that_calls_by_itself_is_registered_and_its_parent_is_not()
    {
        using Asker one = Run(daemon.Live);
        ulong a = one.Filled(8, 6);
        Assert.Equal(Answer.Ok, one.Do($"child madvise {a} {8 * 4096} 12"));
        Assert.Equal(Answer.Ok, one.Do($"child prctl {SetAll} 1"));
        Assert.Equal(new Answer(0, 0), one.Do($"prctl {GetAll}"));
        Assert.Null(daemon.Target(one.Pid));
        // In a child of vfork, the memory is the parent's.
        Assert.Equal(Answer.Ok, one.Do($"vfork {a} 8"));
        daemon.Until(() => daemon.Target(one.Pid) is not null, "the parent was not attached");
        Assert.Equal(8, daemon.Target(one.Pid)!.Value.GetProperty("registered_pages").GetInt64());
    }

    [Fact]
    public void Another_program_in_the_same_process_has_nothing_registered()
    {
        using Asker one = Run(daemon.Live);
        ulong a = one.Filled(8, 7);
        one.Advise(a, 8, Merge);
        daemon.Until(() => daemon.Target(one.Pid) is not null, "it was not attached");
        one.Execute();
        daemon.Until(() => daemon.Target(one.Pid) is null, "it is still attached");
        Assert.Equal(Answer.Error(ENOMEM), one.Advise(a, 8, Merge));
    }

    [Fact]
    public void A_run_inside_a_run_answers_as_well()
    {
        string program = LiveDaemon.Program;
        using Asker one = Start(
            program,
            ["run", "--socket", daemon.Live.Socket, "--", program, "run", "--socket", daemon.Live.Socket, "--",
                Asker.Program()],
            daemon.Live.Log);
        using Asker two = Run(daemon.Live);
        ulong a = one.Filled(64, 8), b = two.Filled(64, 8);
        Assert.Equal(Answer.Ok, one.Advise(a, 64, Merge));
        Assert.Equal(Answer.Ok, two.Advise(b, 64, Merge));
        daemon.Merge(64, one.Pid, two.Pid);
        Assert.Equal(64, PageProof.Shared(one.Frames(a, 64), two.Frames(b, 64)));
    }

    [Fact]
    public void Merging_goes_on_while_the_program_calls_madvise_all_the_time()
    {
        using Asker one = Run(daemon.Live);
        using Asker two = Run(daemon.Live);
        ulong a = one.Filled(Pages, 9), b = two.Filled(Pages, 9);
        one.Advise(a, Pages, Merge);
        two.Advise(b, Pages, Merge);
        one.Send($"storm {a} {Pages}");
        daemon.Merge(Pages, one.Pid, two.Pid);
        Assert.Equal(Pages, PageProof.Shared(one.Frames(a, Pages), two.Frames(b, Pages)));
        one.Send("");
        Answer calls = one.Receive(); // made and failed
        Assert.True(calls.Result > 100);
        Assert.Equal(0, calls.Errno);
        Assert.Equal(0, one.Wrong(a, Pages, 9));
    }

    [Fact]
    public void Python_programs_with_mmap_madvise_are_merged()
    {
        string python = TestPaths.Which("python3") ?? "";
        Assert.SkipUnless(python.Length > 0, "python3 is missing (Debian package python3)");
        const string script = """
            import mmap, os, sys
            size = 256 * 4096
            memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            for page in range(256):
                memory[page * 4096:(page + 1) * 4096] = (b"%08d" % page) * 512
            memory.madvise(mmap.MADV_MERGEABLE)
            print("= ready", os.getpid(), flush=True)
            for line in sys.stdin:
                good = all(memory[p * 4096:(p + 1) * 4096] == (b"%08d" % p) * 512 for p in range(256))
                print("=", 0 if good else -1, 0, flush=True)
            """;
        string[] command = ["run", "--socket", daemon.Live.Socket, "--", python, "-c", script];
        using Asker one = Start(LiveDaemon.Program, command, daemon.Live.Log);
        using Asker two = Start(LiveDaemon.Program, command, daemon.Live.Log);
        daemon.Merge(256, one.Pid, two.Pid);
        Assert.Equal(Answer.Ok, one.Do("check"));
        Assert.Equal(Answer.Ok, two.Do("check"));
    }
}
