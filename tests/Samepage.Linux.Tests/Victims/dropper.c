// A process with a mapping like a merged one: private pages of a store file, registered with a userfaultfd of its own.
// It drops, reads, writes, moves, grows and forks at random and compares every page it reads with a model.
//
//   dropper THREADS PAGES SECONDS FLAGS      FLAGS: f fork, m mremap, w write-protect, r merge again, x nothing more,
//                                                   s nothing but forks of children that exit at once, 1000 per second
//
// Prints "ready PID FD", waits for a line, works until the time is over or another line comes, prints
// "done name=value ...". The store's pages are full of tags
// that appear nowhere else, so a page that shows a tag after it was dropped is stale for certain.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#define PAGE 4096L
#define WORDS (PAGE / 8)
#define WORD_WRITTEN 17
#define GROWTH 8
#define CHILDREN 4
#define TAG(slot) (0xfeedface00000000ull + (uint64_t)(slot) * 2 + 1)

struct counters {
    long ops, stale, lost, forks, moves, faults_wait_us, fork_us, move_us;
};

struct range {
    uint64_t *base;
    long first_slot;
    char *zero;          // per page: dropped, so it reads as zeros but for the written word
    uint64_t *written;   // per page: value of WORD_WRITTEN if not 0
    uint64_t random;
    int children;
    int is_child;
};

static struct counters *count;
static struct range *ranges;
static int threads, pages, store, uffd;
static double seconds;
static volatile double end;
static const char *flags;
// A real merge stops all threads, so no fork can fall between mapping the store and registering the mapping.
static pthread_rwlock_t merging = PTHREAD_RWLOCK_INITIALIZER;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void note_longest(long *longest, double since) {
    long us = (now() - since) * 1e6, old = __atomic_load_n(longest, __ATOMIC_RELAXED);
    while (us > old && !__atomic_compare_exchange_n(longest, &old, us, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

static uint64_t next(struct range *r) {
    r->random ^= r->random << 13;
    r->random ^= r->random >> 7;
    r->random ^= r->random << 17;
    return r->random;
}

static void add(long *counter, long more) { __atomic_fetch_add(counter, more, __ATOMIC_RELAXED); }

static void check(struct range *r, int page) {
    volatile uint64_t *words = r->base + page * WORDS;
    uint64_t tag = TAG(r->first_slot + page);
    double since = now();
    (void)words[next(r) % WORDS];
    note_longest(&count->faults_wait_us, since);
    for (int i = 0; i < WORDS; i++) {
        uint64_t expected = i == WORD_WRITTEN && r->written[page] ? r->written[page] : r->zero[page] ? 0 : tag;
        if (words[i] != expected) {
            add(words[i] == tag ? &count->stale : &count->lost, 1);
            break;
        }
    }
}

static void drop(struct range *r, int page, int n) {
    madvise(r->base + page * WORDS, n * PAGE, MADV_DONTNEED);
    for (int i = page; i < page + n; i++) {
        r->zero[i] = 1;
        r->written[i] = 0;
    }
}

static void put(struct range *r, int page) {
    uint64_t value = next(r) | 1ull << 63;
    double since = now();
    *(volatile uint64_t *)(r->base + page * WORDS + WORD_WRITTEN) = value;
    note_longest(&count->faults_wait_us, since);
    r->written[page] = value;
}

// What a merge does: the store over the range, entries at once, registration last.
static void merge(struct range *r) {
    struct uffdio_register reg = {.range = {(uintptr_t)r->base, pages * PAGE}, .mode = 7};
    pthread_rwlock_rdlock(&merging);
    mmap(r->base, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, store,
         r->first_slot * PAGE);
    madvise(r->base, pages * PAGE, MADV_POPULATE_READ);
    if (ioctl(uffd, UFFDIO_REGISTER, &reg)) {
        perror("register");
        _exit(1);
    }
    pthread_rwlock_unlock(&merging);
    memset(r->zero, 0, pages);
    memset(r->written, 0, pages * sizeof *r->written);
}

static void protect(struct range *r, int page, int n) {
    struct uffdio_writeprotect wp = {.range = {(uintptr_t)(r->base + page * WORDS), n * PAGE}, .mode = 1};
    ioctl(uffd, UFFDIO_WRITEPROTECT, &wp);
}

static void move(struct range *r) {
    double since = now();
    void *to = mmap(0, (pages + GROWTH) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int grow = next(r) % 2;
    void *at = grow ? mremap(r->base, pages * PAGE, (pages + GROWTH) * PAGE, MREMAP_MAYMOVE)
                    : mremap(r->base, pages * PAGE, pages * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
    if (at == MAP_FAILED) {
        munmap(to, (pages + GROWTH) * PAGE);
        return;
    }
    r->base = at;
    if (!grow) {
        munmap((char *)to + pages * PAGE, GROWTH * PAGE);
    } else {
        munmap(to, (pages + GROWTH) * PAGE);
        for (long i = pages * WORDS; i < (pages + GROWTH) * WORDS; i++) {
            if (r->base[i]) {
                add(r->base[i] == TAG(r->first_slot + i / WORDS) ? &count->stale : &count->lost, 1);
                break;
            }
        }
        munmap(r->base + pages * WORDS, GROWTH * PAGE);
    }
    note_longest(&count->move_us, since);
    add(&count->moves, 1);
}

static int has(char flag) { return strchr(flags, flag) != 0; }

static void step(struct range *r, int depth);

static void child(struct range *r, int depth) {
    r->is_child = 1;
    r->children = 0;
    r->random ^= (uint64_t)getpid() << 20;
    for (int i = 0; i < pages; i++) check(r, i);
    for (int t = 0; t < threads; t++) {
        // The other threads are gone, and what they had in hand is unknown; after a drop it is known again.
        if (&ranges[t] != r && !has('m')) {
            drop(&ranges[t], 0, pages);
            for (int i = 0; i < pages; i += 7) check(&ranges[t], i);
        }
    }
    int rounds = next(r) % 200;
    for (int i = 0; i < rounds; i++) {
        step(r, depth + 1);
        if (i % 50 == 49) usleep(next(r) % 20000);
    }
    for (int i = 0; i < pages; i++) check(r, i);
    while (wait(0) > 0) {
    }
    _exit(0);
}

static void split(struct range *r, int depth) {
    int status;
    while (r->children > 0 && waitpid(-1, &status, r->children >= CHILDREN ? 0 : WNOHANG) > 0) r->children--;
    if (r->children >= CHILDREN) return;
    if (!r->is_child) pthread_rwlock_wrlock(&merging);
    double since = now();
    pid_t pid = fork();
    if (pid == 0) child(r, depth);
    note_longest(&count->fork_us, since);
    if (!r->is_child) pthread_rwlock_unlock(&merging);
    if (pid > 0) {
        r->children++;
        add(&count->forks, 1);
    }
}

static void step(struct range *r, int depth) {
    int page = next(r) % pages, n = 1 + next(r) % 32;
    if (page + n > pages) n = pages - page;
    add(&count->ops, 1);
    switch (next(r) % 20) {
    case 0: case 1: case 2: case 3: case 4:
        drop(r, page, n);
        break;
    case 5: case 6: case 7: case 8:
        put(r, page);
        break;
    case 9: case 10:
        for (int i = page; i < page + n; i++) put(r, i);
        break;
    case 11: case 12:
        for (int i = page; i < page + n; i++) check(r, i);
        break;
    case 13:
        if (has('w') && !r->is_child) protect(r, page, n);
        break;
    case 14:
        if (has('r') && !r->is_child && next(r) % 8 == 0) merge(r);
        break;
    case 15:
        if (has('m') && next(r) % 8 == 0) move(r);
        break;
    case 16:
        if (has('f') && depth < 2 && next(r) % 16 == 0) split(r, depth);
        break;
    default:
        check(r, page);
        break;
    }
}

static void storm(void) {
    for (int i = 0; i < seconds * 1000; i++) {
        pid_t pid = fork();
        if (pid == 0) _exit(0);
        count->forks += pid > 0;
        if (i % 16 == 15) {
            while (wait(0) > 0) {
            }
        }
    }
}

static void *work(void *range) {
    struct range *r = range;
    if (has('s')) storm();
    while (now() < end) step(r, 0);
    for (int i = 0; i < pages; i++) check(r, i);
    return 0;
}

static void *wait_for_line(void *unused) {
    char letter;
    if (read(0, &letter, 1) == 1) end = 0;
    return unused;
}

static int make_store(void) {
    int fs = syscall(430, "tmpfs", 1);
    syscall(431, fs, 0, "noswap", 0, 0);
    syscall(431, fs, 1, "huge", "never", 0);
    syscall(431, fs, 6, 0, 0, 0);
    int mount = syscall(432, fs, 1, 0);
    int fd = openat(mount, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0400);
    close(mount);
    close(fs);
    return fd;
}

static void *shared(long bytes) {
    return mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    threads = atoi(argv[1]);
    pages = atoi(argv[2]);
    seconds = atof(argv[3]);
    flags = argv[4];
    count = shared(sizeof *count);
    int writable = make_store();
    if (writable < 0 || ftruncate(writable, 1L << 40)) return perror("store"), 1;
    long slots = (long)threads * (pages + GROWTH);
    for (long slot = 0; slot < slots; slot++) {
        uint64_t page[WORDS];
        for (int i = 0; i < WORDS; i++) page[i] = TAG(slot);
        if (pwrite(writable, page, PAGE, slot * PAGE) != PAGE) return perror("write"), 1;
    }
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", writable);
    store = open(path, O_RDONLY | O_CLOEXEC);
    uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    struct uffdio_api api = {.api = UFFD_API,
                             .features = UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP |
                                         UFFD_FEATURE_MINOR_SHMEM};
    if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api)) return perror("userfaultfd"), 1;
    ranges = calloc(threads, sizeof *ranges);
    for (int t = 0; t < threads; t++) {
        struct range *r = &ranges[t];
        r->first_slot = (long)t * (pages + GROWTH);
        r->zero = calloc(pages, 1);
        r->written = calloc(pages, sizeof *r->written);
        r->random = 88172645463325252ull * (t + 1) ^ (uint64_t)getpid() << 32;
        r->base = mmap(0, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        merge(r);
    }
    printf("ready %d %d\n", getpid(), uffd);
    fflush(stdout);
    char letter;
    if (read(0, &letter, 1) != 1) return 1;
    end = now() + seconds;
    pthread_t handles[64], reader;
    pthread_create(&reader, 0, wait_for_line, 0);
    for (int t = 1; t < threads; t++) pthread_create(&handles[t], 0, work, &ranges[t]);
    work(&ranges[0]);
    for (int t = 1; t < threads; t++) pthread_join(handles[t], 0);
    while (wait(0) > 0) {
    }
    printf("done ops=%ld stale=%ld lost=%ld forks=%ld moves=%ld touch_us=%ld fork_us=%ld move_us=%ld\n", count->ops,
           count->stale, count->lost, count->forks, count->moves, count->faults_wait_us,
           count->fork_us, count->move_us);
    return 0;
}
