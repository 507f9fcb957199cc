// Memory to merge, with known content: told what to do by lines on standard input, answers with one line each.
//
//   memory MIB KIND SIDE [mergeable]
//
// KIND says which pages of side 0 and side 1 (two processes) are equal:
//   unique    none
//   same      page i of one and page i of the other
//   half      the first half as in `same`, the second as in `unique`
//   lone:N    N pages among unique ones, at other places in each, no two neighbours of one are neighbours in the other
// `mergeable` asks KSM for it by madvise. Huge pages are off: no merger can share part of one without splitting it.
//
//   rewrite       new content for every page, unique
//   latency S     for S seconds one access every 10 us; answers: accesses p50 p99 p999 max (nanoseconds)
//   check         answers the number of pages with wrong content
//   touch         reads a word of each page; answers: faults p50 p99 max total (nanoseconds, total of all pages)
//   control P     the same on a private mapping of a memory file with the same pages, as merging makes them, but plain:
//                 page table filled by MADV_POPULATE_READ before (P = 1) or not (P = 0); one more figure, the time of
//                 that call
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>
#include <signal.h>
#include <time.h>

enum { WORDS = 512, SUB = 32, BUCKETS = 64 * SUB };
static uint64_t pages, lone, side, epoch;
static const char *kind;
static volatile uint64_t *memory;

static uint64_t identity(uint64_t page) {
    uint64_t own = (side + 1) << 60 | epoch << 40 | page;
    if (epoch) return own;
    if (!strcmp(kind, "same")) return page;
    if (!strcmp(kind, "half")) return page < pages / 2 ? page : own;
    if (lone) {
        uint64_t step = pages / lone;
        if (page % step == 0 && page / step < lone) {
            uint64_t j = page / step;
            return UINT64_C(1) << 52 | (side ? (j * 7919 + 13) % lone : j);
        }
    }
    return own;
}

static uint64_t next(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static uint64_t begin(uint64_t page) {
    uint64_t x = identity(page) + UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return (x ^ x >> 31) | 1;
}

static void fill(void) {
    for (uint64_t page = 0; page < pages; page++) {
        uint64_t state = begin(page);
        for (int i = 0; i < WORDS; i++) memory[page * WORDS + i] = next(&state);
    }
}

static uint64_t wrong(void) {
    uint64_t count = 0;
    for (uint64_t page = 0; page < pages; page++) {
        uint64_t state = begin(page), bad = 0;
        for (int i = 0; i < WORDS; i++) bad |= memory[page * WORDS + i] ^ next(&state);
        count += bad != 0;
    }
    return count;
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint64_t histogram[BUCKETS], longest;

static void record(uint64_t ns) {
    int octave = 63 - __builtin_clzll(ns | SUB);
    histogram[octave * SUB + (ns >> (octave - 5)) % SUB]++;
    if (ns > longest) longest = ns;
}

static uint64_t percentile(uint64_t count, double share) {
    uint64_t seen = 0;
    for (int i = 0; i < BUCKETS; i++) {
        seen += histogram[i];
        if (seen && seen >= share * count) {
            int octave = i / SUB;
            return (UINT64_C(1) << octave) + ((uint64_t)(i % SUB) << (octave - 5));
        }
    }
    return longest;
}

// An access is due every 10 us, whatever the one before it took: what happens while nobody accesses memory counts, too.
// Nine of ten go to the first eighth. A write puts back what it has read, so that pages stay equal to their partners.
static void latency(double seconds) {
    uint64_t random = 88172645463325252u + side, sum = 0, count = 0, start = now(), due = start;
    memset(histogram, 0, sizeof histogram);
    longest = 0;
    while (due - start < seconds * 1e9) {
        due += 10000;
        uint64_t choice = next(&random);
        uint64_t page = choice % 10 ? (choice >> 8) % (pages / 8) : (choice >> 8) % pages;
        volatile uint64_t *word = memory + page * WORDS + (choice >> 50) % WORDS;
        while (now() < due) {
        }
        if (choice & 128) *word = *word;
        else sum += *word;
        record(now() - due);
        count++;
    }
    printf("%lu %lu %lu %lu %lu\n", count, percentile(count, .5), percentile(count, .99), percentile(count, .999),
        longest);
    if (sum == 42) puts("");
}

// Pages in the order of their addresses, as a program that goes through its memory meets them.
static void touch(volatile uint64_t *at) {
    struct rusage before, after;
    uint64_t sum = 0, begin = now();
    memset(histogram, 0, sizeof histogram);
    longest = 0;
    getrusage(RUSAGE_SELF, &before);
    for (uint64_t page = 0; page < pages; page++) {
        uint64_t start = now();
        sum += at[page * WORDS + 7];
        record(now() - start);
    }
    getrusage(RUSAGE_SELF, &after);
    printf("%lu %lu %lu %lu %lu", (uint64_t)(after.ru_minflt - before.ru_minflt), percentile(pages, .5),
        percentile(pages, .99), longest, now() - begin);
    if (sum == 42) printf(" ");
}

static void control(int populate) {
    enum { POPULATE_READ = 22 };
    int file = memfd_create("control", 0);
    size_t bytes = pages * 4096;
    if (file < 0 || ftruncate(file, bytes)) { puts("-1"); return; }
    for (size_t done = 0; done < bytes;) {
        ssize_t now = pwrite(file, (char *)memory + done, bytes - done, done);
        if (now <= 0) { puts("-1"); return; }
        done += now;
    }
    void *at = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    if (at == MAP_FAILED) { puts("-1"); return; }
    madvise(at, bytes, MADV_NOHUGEPAGE);
    uint64_t start = now();
    if (populate && madvise(at, bytes, POPULATE_READ)) { puts("-1"); return; }
    uint64_t took = now() - start;
    touch(at);
    printf(" %lu\n", took);
    munmap(at, bytes);
    close(file);
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pages = strtoull(argv[1], 0, 10) * 256;
    kind = argv[2];
    side = strtoull(argv[3], 0, 10);
    if (!strncmp(kind, "lone:", 5)) lone = strtoull(kind + 5, 0, 10);
    void *at = mmap(0, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return 1;
    memory = at;
    madvise(at, pages * 4096, MADV_NOHUGEPAGE);
    if (argc > 4 && madvise(at, pages * 4096, MADV_MERGEABLE)) return 3;
    fill();
    puts("ready");
    fflush(stdout);
    char line[100];
    while (fgets(line, sizeof line, stdin)) {
        if (!strncmp(line, "rewrite", 7)) { epoch++; fill(); puts("done"); }
        else if (!strncmp(line, "latency ", 8)) latency(atof(line + 8));
        else if (!strncmp(line, "touch", 5)) { touch(memory); puts(""); }
        else if (!strncmp(line, "control ", 8)) control(atoi(line + 8));
        else if (!strncmp(line, "check", 5)) printf("%lu\n", wrong());
        fflush(stdout);
    }
    return 0;
}
