/*
 * What every victim has in common: a region worth merging, counters, and the conversation over stdin and stdout.
 *
 *   stdout: "region START END" (hex addresses), other facts, then "ready"
 *   stdin:  "report" (answered by the line of counters), "quit" (the same line, then the end)
 *   exit:   0 when nothing went wrong, 1 when the victim saw an error, 2 when it could not start
 *
 * --broken makes the victim do itself the kind of damage it is there to find: a detector that has never
 * caught anything proves nothing.
 */
#ifndef VICTIM_H
#define VICTIM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define WORDS (PAGE / 8)
#define MAYBE_UNUSED __attribute__((unused))

struct counters {
    atomic_long ops;      /* checked operations */
    atomic_long lost;     /* a write that is not there any more: the value before it is back */
    atomic_long wrong;    /* any other byte that nobody wrote */
    atomic_long eintr;    /* EINTR that no signal of ours explains */
    atomic_long spurious; /* returns of a blocking call that nothing explains */
    atomic_long early;    /* time-outs that ended too soon */
    atomic_long late;     /* time-outs that ended more than `slack` late: no error, a busy machine does it too */
};

static struct counters count;
static atomic_int stopping;
static int broken, writers_broken, pages = 1024, threads = 4, slack_ms = 200;
static uint64_t seed = 1;
static const char *option_call, *option_file = "victim.data";
static volatile uint64_t *region;

MAYBE_UNUSED static void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(2);
}

MAYBE_UNUSED static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

MAYBE_UNUSED static uint64_t next_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15u;
    return mix(*state);
}

/* One page in eight is all zero, one is like no other, six come from a pool that all victims of one seed share. */
MAYBE_UNUSED static uint64_t content(uint64_t page, uint64_t word)
{
    static uint64_t own;
    if (own == 0)
        own = mix((uint64_t)getpid() << 32 | 1) | 1;
    switch (page % 8) {
    case 0:
        return 0;
    case 7:
        return mix(own ^ (page << 16) ^ word);
    default:
        return mix((seed << 40) ^ ((page % 16) << 16) ^ word);
    }
}

MAYBE_UNUSED static void fill_page(uint64_t page)
{
    for (uint64_t word = 0; word < WORDS; word++)
        region[page * WORDS + word] = content(page, word);
}

MAYBE_UNUSED static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

MAYBE_UNUSED static void nap_us(long us)
{
    struct timespec t = { us / 1000000, us % 1000000 * 1000 };
    while (nanosleep(&t, &t) == -1 && errno == EINTR)
        ;
}

static void victim_options(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--broken") == 0) {
            broken = 1;
            continue;
        }
        if (strcmp(argv[i], "--pages") == 0)
            pages = atoi(value);
        else if (strcmp(argv[i], "--threads") == 0)
            threads = atoi(value);
        else if (strcmp(argv[i], "--seed") == 0)
            seed = strtoull(value, NULL, 0);
        else if (strcmp(argv[i], "--slack") == 0)
            slack_ms = atoi(value);
        else if (strcmp(argv[i], "--call") == 0)
            option_call = value;
        else if (strcmp(argv[i], "--file") == 0)
            option_file = value;
        else {
            fprintf(stderr, "unknown option %s\n", argv[i]);
            exit(2);
        }
        i++;
    }
    if (pages < 16 || pages > 1 << 20 || threads < 0 || threads > 200) {
        fprintf(stderr, "--pages from 16 to 1048576, --threads from 0 to 200\n");
        exit(2);
    }
}

/* A guard page on each side keeps the region a mapping of its own. */
static void victim_region(void)
{
    size_t bytes = (size_t)pages * PAGE;
    char *space = mmap(NULL, bytes + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (space == MAP_FAILED || mprotect(space + PAGE, bytes, PROT_READ | PROT_WRITE) != 0)
        fail("mmap");
    region = (volatile uint64_t *)(space + PAGE);
    for (int page = 0; page < pages; page++)
        fill_page(page);
    printf("region %lx %lx\n", (long)region, (long)region + (long)bytes);
}

MAYBE_UNUSED static void victim_begin(int argc, char **argv)
{
    victim_options(argc, argv);
    victim_region();
}

MAYBE_UNUSED static void victim_ready(void)
{
    puts("ready");
    fflush(stdout);
}

static void (*report_details)(void);

static void victim_report(void)
{
    if (report_details != NULL)
        report_details();
    printf("ops=%ld lost=%ld wrong=%ld eintr=%ld spurious=%ld early=%ld late=%ld\n", count.ops, count.lost, count.wrong,
           count.eintr, count.spurious, count.early, count.late);
    fflush(stdout);
}

/* Looks for a command for up to timeout_ms; true when it was "quit" (or there is nobody left to talk to). */
static int victim_poll(int timeout_ms)
{
    static char line[256];
    static int used;
    struct pollfd fd = { 0, POLLIN, 0 };
    if (poll(&fd, 1, timeout_ms) <= 0)
        return 0;
    ssize_t got = read(0, line + used, sizeof line - 1 - used);
    if (got <= 0)
        return got == 0;
    used += got;
    line[used] = 0;
    for (char *end; (end = strchr(line, '\n')) != NULL;) {
        *end = 0;
        if (strcmp(line, "quit") == 0)
            return 1;
        if (strcmp(line, "report") == 0)
            victim_report();
        used -= end + 1 - line;
        memmove(line, end + 1, used + 1);
    }
    return 0;
}

/* For the main thread of victims whose work is done by others. */
MAYBE_UNUSED static void victim_serve(void)
{
    victim_ready();
    while (!victim_poll(1000))
        ;
    stopping = 1;
}

static int victim_end(void)
{
    victim_report();
    return count.lost || count.wrong || count.eintr || count.spurious || count.early;
}

MAYBE_UNUSED static void victim_thread(pthread_t *thread, void *(*run)(void *), void *argument)
{
    if (pthread_create(thread, NULL, run, argument) != 0)
        fail("pthread_create");
}

/*
 * A writer: owns one word in every page, goes through a part of the region for a while (so that the rest comes to
 * rest and can be merged), checks what it wrote last before it writes again, and checks words nobody writes.
 * Most writes put the original content back, otherwise no two pages would ever be alike. With writers_broken the last
 * write of each step is taken back.
 */
#define OWNED_FIRST 8
#define OWNED_LAST 256

struct writer {
    uint64_t random, sequence;
    uint64_t *last, *before;
    int word;
};

MAYBE_UNUSED static void writer_init(struct writer *w, int index)
{
    w->random = mix(seed ^ (uint64_t)index << 20);
    w->sequence = (uint64_t)(index + 1) << 40;
    w->word = OWNED_FIRST + index;
    w->last = malloc(sizeof(uint64_t) * pages);
    w->before = malloc(sizeof(uint64_t) * pages);
    if (w->word >= OWNED_LAST || w->last == NULL || w->before == NULL)
        fail("writer");
    for (int page = 0; page < pages; page++)
        w->last[page] = w->before[page] = content(page, w->word);
}

MAYBE_UNUSED static void writer_step(struct writer *w, int operations)
{
    int part = pages / 8, first = (int)(next_random(&w->random) % 8) * part;
    for (int i = 0; i < operations; i++) {
        uint64_t r = next_random(&w->random);
        int page = first + (int)(r % part);
        volatile uint64_t *word = &region[page * WORDS + w->word];
        int still = OWNED_LAST + (r >> 32) % (WORDS - OWNED_LAST);
        uint64_t value = *word;
        if (value != w->last[page])
            atomic_fetch_add(value == w->before[page] ? &count.lost : &count.wrong, 1);
        if (region[page * WORDS + still] != content(page, still))
            atomic_fetch_add(&count.wrong, 1);
        value = (r >> 60) < 12 ? content(page, w->word) : ++w->sequence;
        w->before[page] = w->last[page];
        *word = w->last[page] = value;
        if (writers_broken && i == operations - 1)
            *word = w->before[page];
    }
    atomic_fetch_add(&count.ops, operations);
}

#endif
