/*
 * Threads that unmap, drop, protect and rewrite pages while these are sampled, and a handler for SIGSEGV that the program
 * relies on: each thread now and then reads memory it has protected itself, and the handler must be called for that, and
 * for nothing else. Nearly every page is like no other, so that scanning is all there is to do. --broken: one thread
 * takes the handler away for a moment.
 */
#include "victim.h"
#include <setjmp.h>

#define BLOCK 16

static __thread sigjmp_buf back;
static __thread volatile sig_atomic_t expected;

static void on_fault(int signal)
{
    (void)signal;
    if (!expected) {
        atomic_fetch_add(&count.wrong, 1);
        victim_report();
        _exit(1);
    }
    siglongjmp(back, 1);
}

static uint64_t value_at(uint64_t tag, int page, int word)
{
    return mix(tag ^ (uint64_t)page << 16) ^ word;
}

static void fill(int block, uint64_t tag)
{
    for (int page = block; page < block + BLOCK; page++)
        for (int word = 0; word < WORDS; word++)
            region[page * WORDS + word] = value_at(tag, page, word);
}

static void check(int block, uint64_t tag)
{
    for (int page = block; page < block + BLOCK; page++)
        for (int word = 0; word < WORDS; word += 7) {
            uint64_t value = region[page * WORDS + word];
            if (value != (tag ? value_at(tag, page, word) : 0)) {
                atomic_fetch_add(&count.wrong, 1);
                break;
            }
        }
    atomic_fetch_add(&count.ops, BLOCK);
}

static void check_handler(void)
{
    struct sigaction action;
    if (sigaction(SIGSEGV, NULL, &action) != 0 || action.sa_handler != on_fault)
        atomic_fetch_add(&count.lost, 1);
    if (sigaction(SIGBUS, NULL, &action) != 0 || action.sa_handler != SIG_IGN)
        atomic_fetch_add(&count.lost, 1);
}

/* The fault this program makes on purpose is seen by its own handler. */
static void protect_and_read(int block)
{
    volatile uint64_t *place = &region[block * WORDS];
    if (mprotect((void *)place, BLOCK * PAGE, PROT_NONE) != 0)
        fail("mprotect");
    nap_us(2000);
    expected = 1;
    if (sigsetjmp(back, 1) == 0) {
        (void)*place;
        atomic_fetch_add(&count.lost, 1);
    }
    expected = 0;
    if (mprotect((void *)place, BLOCK * PAGE, PROT_READ | PROT_WRITE) != 0)
        fail("mprotect");
}

static uint64_t turn(int block, uint64_t tag, uint64_t random)
{
    void *place = (void *)&region[block * WORDS];
    check(block, tag);
    check_handler();
    switch (random % 4) {
    case 0:
        if (munmap(place, BLOCK * PAGE) != 0)
            fail("munmap");
        nap_us(1000);
        if (mmap(place, BLOCK * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != place)
            fail("mmap");
        check(block, 0);
        break;
    case 1:
        if (madvise(place, BLOCK * PAGE, MADV_DONTNEED) != 0)
            fail("madvise");
        nap_us(300);
        check(block, 0);
        break;
    case 2:
        protect_and_read(block);
        return tag;
    default:
        if (broken) {
            signal(SIGSEGV, SIG_DFL);
            nap_us(1000);
            signal(SIGSEGV, on_fault);
        }
        break;
    }
    fill(block, random | 1);
    return random | 1;
}

static void *turn_until_stopped(void *argument)
{
    uint64_t index = (uintptr_t)argument, random = mix(seed + index), *tags;
    int blocks = pages / BLOCK / threads, first = (int)index * blocks;
    tags = calloc(blocks, sizeof *tags);
    for (int i = 0; i < blocks; i++)
        fill((first + i) * BLOCK, tags[i] = next_random(&random) | 1);
    while (!stopping) {
        uint64_t r = next_random(&random);
        int i = (int)(r >> 8) & 0x7fffffff;
        i %= blocks;
        tags[i] = turn((first + i) * BLOCK, tags[i], next_random(&random));
        nap_us(200);
    }
    free(tags);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t ids[200];
    struct sigaction action = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };
    if (sigaction(SIGSEGV, &action, NULL) != 0 || signal(SIGBUS, SIG_IGN) == SIG_ERR)
        fail("sigaction");
    victim_begin(argc, argv);
    for (int i = 0; i < threads; i++)
        victim_thread(&ids[i], turn_until_stopped, (void *)(intptr_t)i);
    victim_serve();
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    return victim_end();
}
