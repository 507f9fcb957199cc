/*
 * madvise(MADV_DONTNEED): afterwards the memory must read as zeros, whatever it was mapped from. Pages are filled with
 * content worth merging, every byte of it not zero; some are taken away, read back and filled again. --threads 0 is a
 * process with a single thread (nobody else can answer for it); otherwise every thread owns a part of the region.
 * --broken: stale bytes are put back where zeros should be.
 */
#include "victim.h"

struct owner {
    int first, pages;
    uint64_t random;
    unsigned char *filled;
};

static uint64_t tag(int page, int word)
{
    /* Eight different pages only: nearly everything can be merged. No byte of it is zero. */
    return mix((uint64_t)(page % 8) << 16 ^ (uint64_t)word) | 0x0101010101010101u;
}

static void check(struct owner *o, int page)
{
    int zeros = 0, tags = 0;
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
    if (threads == 0) {
        victim_ready();
        while (!victim_poll(0))
            for (int i = 0; i < 20; i++)
                step(&owners[0]);
        return victim_end();
    }
    for (int i = 0; i < threads; i++)
        victim_thread(&ids[i], take_until_stopped, &owners[i]);
    victim_serve();
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    return victim_end();
}
