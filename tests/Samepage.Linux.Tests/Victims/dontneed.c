/*
 * madvise(MADV_DONTNEED): afterwards the memory must read as zeros, whatever it was mapped from. Pages are filled with
 * content worth merging, every byte of it not zero; some are taken away, read back and filled again. --threads 0 is a
 * process with a single thread (nobody else can answer for it); otherwise every thread owns a part of the region.
 * --call fork: now and then a forked child takes pages of its copy away and reads them back.
 * The report says how long a read or a call had to wait at most: wait longest us=N.
 * --broken: stale bytes are put back where zeros should be.
 */
#include "victim.h"

struct owner {
    int first, pages;
    uint64_t random;
    unsigned char *filled;
};

static atomic_long longest_us, forked;

static void note_wait(int64_t since)
{
    long us = (long)(now_us() - since), old = longest_us;
    while (us > old && !atomic_compare_exchange_weak(&longest_us, &old, us))
        ;
}

static void print_wait(void)
{
    printf("wait longest us=%ld\nchildren all forked=%ld\n", longest_us, forked);
}

static uint64_t tag(int page, int word)
{
    /* Eight different pages only: nearly everything can be merged. No byte of it is zero. */
    return mix((uint64_t)(page % 8) << 16 ^ (uint64_t)word) | 0x0101010101010101u;
}

static void check(struct owner *o, int page)
{
    int zeros = 0, tags = 0;
    int64_t since = now_us();
    (void)region[page * WORDS];
    note_wait(since);
    for (int word = 0; word < WORDS; word++) {
        uint64_t value = region[page * WORDS + word];
        zeros += value == 0;
        tags += value == tag(page, word);
    }
    if (o->filled[page - o->first]) {
        if (tags != WORDS)
            atomic_fetch_add(zeros > 0 ? &count.lost : &count.wrong, 1);
    } else if (zeros != WORDS) {
        atomic_fetch_add(&count.wrong, 1);
    }
    atomic_fetch_add(&count.ops, 1);
}

/* The child's memory is a copy: what it takes away must read as zeros there and stay here. */
static void check_in_child(struct owner *o)
{
    int status;
    int64_t since = now_us();
    pid_t child = fork();
    if (child == 0) {
        int damaged = 0;
        char *half = (char *)&region[o->first * WORDS];
        for (int page = o->first; page < o->first + 32; page++)
            damaged |= o->filled[page - o->first] && region[page * WORDS + 3] != tag(page, 3);
        madvise(half, 16 * PAGE, MADV_DONTNEED);
        for (int page = o->first; page < o->first + 16; page++)
            for (int word = 0; word < WORDS; word++)
                damaged |= region[page * WORDS + word] != 0;
        _exit(damaged);
    }
    note_wait(since);
    if (child == -1 || waitpid(child, &status, 0) != child || status != 0)
        atomic_fetch_add(&count.wrong, 1);
    forked++;
}

static void step(struct owner *o)
{
    int length = 1 + (int)(next_random(&o->random) % 32);
    if (length > o->pages)
        length = o->pages;
    int first = o->first + (int)(next_random(&o->random) % (o->pages - length + 1));
    int take = next_random(&o->random) % 2;
    for (int page = first; page < first + length; page++)
        check(o, page);
    if (take && madvise((void *)&region[first * WORDS], (size_t)length * PAGE, MADV_DONTNEED) != 0)
        atomic_fetch_add(errno == EINTR ? &count.eintr : &count.spurious, 1);
    for (int page = first; page < first + length; page++) {
        for (int word = 0; !take && word < WORDS; word++)
            region[page * WORDS + word] = tag(page, word);
        o->filled[page - o->first] = !take;
        if (broken && take && page == first)
            region[page * WORDS + 9] = tag(page, 9);
        check(o, page);
    }
}

static void *take_until_stopped(void *owner)
{
    while (!stopping) {
        for (int i = 0; i < 20; i++)
            step(owner);
        if (option_call != NULL && next_random(&((struct owner *)owner)->random) % 8 == 0)
            check_in_child(owner);
        nap_us(500);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static struct owner owners[200];
    pthread_t ids[200];
    victim_begin(argc, argv);
    int parts = threads ? threads : 1;
    for (int i = 0; i < parts; i++) {
        owners[i] = (struct owner){ i * (pages / parts), pages / parts, mix(seed + i), calloc(pages, 1) };
        for (int page = owners[i].first; page < owners[i].first + owners[i].pages; page++) {
            for (int word = 0; word < WORDS; word++)
                region[page * WORDS + word] = tag(page, word);
            owners[i].filled[page - owners[i].first] = 1;
        }
    }
    report_details = print_wait;
    if (threads == 0) {
        victim_ready();
        while (!victim_poll(0)) {
            for (int i = 0; i < 20; i++)
                step(&owners[0]);
            if (option_call != NULL)
                check_in_child(&owners[0]);
        }
        return victim_end();
    }
    for (int i = 0; i < threads; i++)
        victim_thread(&ids[i], take_until_stopped, &owners[i]);
    victim_serve();
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    return victim_end();
}
