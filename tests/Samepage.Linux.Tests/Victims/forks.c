/*
 * A process that forks all the time while others of its threads write: each child must see every byte as it was at
 * the fork (a child that read zeros, or another page, found a page on its way to being merged), and writes of child
 * and parent must not meet. --threads N: 1 thread forks, N - 1 write. --broken: the child's copy is damaged.
 */
#include "victim.h"

static void *write_until_stopped(void *writer)
{
    while (!stopping) {
        writer_step(writer, 1000);
        nap_us(300);
    }
    return NULL;
}

/* Words no writer owns: from OWNED_LAST on. */
static int damaged_pages(void)
{
    int damaged = 0;
    for (int page = 0; page < pages; page++)
        for (int word = OWNED_LAST; word < WORDS; word += 17)
            if (region[page * WORDS + word] != content(page, word)) {
                damaged++;
                break;
            }
    return damaged > 100 ? 100 : damaged;
}

static void one_fork(int round)
{
    int status, mark = round % pages;
    region[mark * WORDS + 5] = round;
    pid_t child = fork();
    if (child == -1)
        fail("fork");
    if (child == 0) {
        if (broken && round % 10 == 0)
            region[mark * WORDS + OWNED_LAST] ^= 1;
        int damaged = damaged_pages();
        if (region[mark * WORDS + 5] != (uint64_t)round)
            damaged++;
        region[mark * WORDS + 5] = ~0ul;
        _exit(damaged);
    }
    region[mark * WORDS + 6] = round;
    for (;;) {
        pid_t got = waitpid(child, &status, 0);
        if (got == child)
            break;
        atomic_fetch_add(got == -1 && errno == EINTR ? &count.eintr : &count.spurious, 1);
    }
    if (!WIFEXITED(status))
        atomic_fetch_add(&count.spurious, 1);
    else
        atomic_fetch_add(&count.wrong, WEXITSTATUS(status));
    if (region[mark * WORDS + 5] != (uint64_t)round || region[mark * WORDS + 6] != (uint64_t)round)
        atomic_fetch_add(&count.lost, 1);
    region[mark * WORDS + 5] = content(mark, 5);
    region[mark * WORDS + 6] = content(mark, 6);
    atomic_fetch_add(&count.ops, pages);
}

int main(int argc, char **argv)
{
    static struct writer writers[200];
    pthread_t ids[200];
    victim_begin(argc, argv);
    for (int i = 0; i < threads - 1; i++) {
        writer_init(&writers[i], i);
        victim_thread(&ids[i], write_until_stopped, &writers[i]);
    }
    victim_ready();
    for (int round = 0; !victim_poll(1); round++)
        one_fork(round);
    stopping = 1;
    for (int i = 0; i < threads - 1; i++)
        pthread_join(ids[i], NULL);
    return victim_end();
}
