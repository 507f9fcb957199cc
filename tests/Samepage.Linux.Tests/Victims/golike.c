/*
 * Threads as the Go runtime makes them: raw clone() without a TLS block of their own, on tiny stacks that lie side by
 * side in ordinary heap memory, using system calls only. A merge program that needed stack space, a C library, or a
 * valid fs base in the thread it borrows would break them. The bottom of every stack holds a pattern that must stay.
 */
#include "victim.h"
#include <sched.h>

#define PATTERN_WORDS 32

static atomic_int running;
static struct writer writers[64];
static uint64_t *stacks[64];
static const int stack_sizes[] = { 2048, 4096, 8192 };

static void raw_nap(void)
{
    struct timespec t = { 0, 300000 };
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "0"(SYS_nanosleep), "D"(&t), "S"(0) : "rcx", "r11", "memory");
    /* The kernel hides a stop from nanosleep; no errno here: that would be thread-local storage. */
    if (result == -EINTR)
        atomic_fetch_add(&count.eintr, 1);
}

static int run(void *argument)
{
    while (!stopping) {
        writer_step(argument, 500);
        raw_nap();
    }
    atomic_fetch_sub(&running, 1);
    return 0;
}

static void check_stacks(void)
{
    for (int i = 0; i < threads; i++)
        for (int word = 0; word < PATTERN_WORDS; word++)
            if (stacks[i][word] != mix(i * 1000 + word))
                atomic_fetch_add(&count.wrong, 1);
    atomic_fetch_add(&count.ops, threads);
}

int main(int argc, char **argv)
{
    victim_begin(argc, argv);
    if (threads < 1 || threads > 64)
        fail("--threads from 1 to 64");
    char *arena = mmap(NULL, 64 * 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (arena == MAP_FAILED)
        fail("mmap");
    for (int i = 0; i < threads; i++) {
        int size = stack_sizes[i % 3];
        writer_init(&writers[i], i);
        stacks[i] = (uint64_t *)arena;
        for (int word = 0; word < PATTERN_WORDS; word++)
            stacks[i][word] = mix(i * 1000 + word);
        arena += size;
        atomic_fetch_add(&running, 1);
        int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
        if (clone(run, arena, flags, &writers[i]) == -1)
            fail("clone");
    }
    victim_ready();
    while (!victim_poll(50)) {
        if (broken)
            stacks[0][0]++;
        check_stacks();
    }
    stopping = 1;
    for (int tries = 0; running > 0 && tries < 5000; tries++)
        nap_us(1000);
    check_stacks();
    if (running > 0)
        atomic_fetch_add(&count.wrong, running);
    return victim_end();
}
