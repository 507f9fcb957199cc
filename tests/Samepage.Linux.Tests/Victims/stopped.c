/*
 * SIGSTOP as its parent sees it. The parent (this process) stops and continues its child at random and must be told
 * of exactly those stops and continues, once each; the child ("child PID" on stdout; merge that one) writes and
 * checks its region. --broken: the parent sends a stop it does not expect to hear of.
 */
#include "victim.h"

static int reports[2];

static void child_main(void)
{
    struct writer writer;
    /* Mapped only now: pages shared by fork with the parent could not be merged before they are written. */
    victim_region();
    fflush(stdout);
    writer_init(&writer, 0);
    while (!stopping) {
        writer_step(&writer, 500);
        long numbers[3] = { count.ops, count.lost, count.wrong };
        if (write(reports[1], numbers, sizeof numbers) != sizeof numbers)
            _exit(1);
        nap_us(1000);
    }
    _exit(0);
}

static void read_reports(void)
{
    long numbers[3];
    while (read(reports[0], numbers, sizeof numbers) == sizeof numbers) {
        count.ops = numbers[0];
        count.lost = numbers[1];
        count.wrong = numbers[2];
    }
}

/* Waits up to 2 s for the next change of the child's state: its status, or 0. */
static int next_change(pid_t child)
{
    int status;
    for (int tries = 0; tries < 4000; tries++) {
        read_reports();
        pid_t got = waitpid(child, &status, WUNTRACED | WCONTINUED | WNOHANG);
        if (got == child)
            return status;
        if (got == -1)
            fail("waitpid");
        nap_us(500);
    }
    return 0;
}

static void expect_quiet(pid_t child)
{
    int status;
    read_reports();
    if (waitpid(child, &status, WUNTRACED | WCONTINUED | WNOHANG) != 0)
        atomic_fetch_add(&count.spurious, 1);
}

int main(int argc, char **argv)
{
    uint64_t random = 1;
    victim_options(argc, argv);
    if (pipe2(reports, O_CLOEXEC) != 0 || fcntl(reports[0], F_SETFL, O_NONBLOCK) != 0)
        fail("pipe");
    pid_t child = fork();
    if (child == -1)
        fail("fork");
    if (child == 0)
        child_main();
    while (count.ops == 0) {
        read_reports();
        nap_us(1000);
    }
    printf("child %d\n", child);
    victim_ready();
    while (!victim_poll(0)) {
        nap_us(1000 + next_random(&random) % 10000);
        expect_quiet(child);
        kill(child, SIGSTOP);
        if (!WIFSTOPPED(next_change(child)))
            atomic_fetch_add(&count.lost, 1);
        /* Long enough to be merged while it stands still. */
        nap_us(1000 + next_random(&random) % 20000);
        expect_quiet(child);
        kill(child, SIGCONT);
        if (!WIFCONTINUED(next_change(child)))
            atomic_fetch_add(&count.lost, 1);
        if (broken) {
            kill(child, SIGSTOP);
            nap_us(2000);
            kill(child, SIGCONT);
            nap_us(2000);
        }
    }
    read_reports();
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return victim_end();
}
