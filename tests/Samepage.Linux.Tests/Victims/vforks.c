/*
 * vfork: while the child runs, its parent cannot be stopped, and the child uses the parent's memory without being
 * one of its threads. The child writes through shared memory (as vfork allows) and the parent must see it.
 * --broken: the child leaves one of its writes out.
 */
#include "victim.h"

static volatile int told;

static void *write_until_stopped(void *writer)
{
    while (!stopping) {
        writer_step(writer, 1000);
        nap_us(300);
    }
    return NULL;
}

static void one_vfork(int round)
{
    static char *const arguments[] = { "true", NULL };
    int status, page = round % pages;
    uint64_t before = region[page * WORDS + 4];
    pid_t child = vfork();
    if (child == 0) {
        if (!broken || round % 20 != 0)
            told = round + 1;
        region[page * WORDS + 4] = ~before;
        if (round % 10 == 0)
            nap_us(20000);
        if (round % 3 == 0)
            execv("/bin/true", arguments);
        _exit(0);
    }
    if (child == -1)
        fail("vfork");
    if (told != round + 1 || region[page * WORDS + 4] != ~before)
        atomic_fetch_add(&count.lost, 1);
    region[page * WORDS + 4] = before;
    for (;;) {
        pid_t got = waitpid(child, &status, 0);
        if (got == child)
            break;
        atomic_fetch_add(got == -1 && errno == EINTR ? &count.eintr : &count.spurious, 1);
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        atomic_fetch_add(&count.wrong, 1);
    atomic_fetch_add(&count.ops, 1);
}

int main(int argc, char **argv)
{
    static struct writer writers[200];
    pthread_t ids[200];
    victim_begin(argc, argv);
    for (int i = 0; i < threads; i++) {
        writer_init(&writers[i], i);
        victim_thread(&ids[i], write_until_stopped, &writers[i]);
    }
    victim_ready();
    for (int round = 0; !victim_poll(5); round++)
        one_vfork(round);
    stopping = 1;
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    return victim_end();
}
