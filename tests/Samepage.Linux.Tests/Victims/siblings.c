/*
 * Threads that unmap, map again and protect exactly the pages that are candidates for merging, as fast as they can: a
 * merge that goes on while they run puts its mapping over theirs. Each thread owns blocks of the region; nearly all the
 * time they hold common content. --broken: a word of a fresh mapping is changed behind the owner's back.
 */
#include "victim.h"

#define BLOCK 16

static void check(int block, uint64_t tag)
{
    for (int page = block; page < block + BLOCK; page++)
        for (int word = 0; word < WORDS; word += 31) {
            uint64_t value = region[page * WORDS + word], expected = tag ? tag ^ page : content(page, word);
            if (value != expected) {
                atomic_fetch_add(value == content(page, word) ? &count.lost : &count.wrong, 1);
                break;
            }
        }
    atomic_fetch_add(&count.ops, BLOCK);
}

/* Exactly this hole may be filled; somebody else in it is an error. */
static void map_again(int block)
{
    void *place = (void *)&region[block * WORDS];
    if (munmap(place, BLOCK * PAGE) != 0)
        fail("munmap");
    if (mmap(place, BLOCK * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != place) {
        atomic_fetch_add(&count.wrong, 1);
        if (mmap(place, BLOCK * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != place)
            fail("mmap");
    }
}

static void turn(int block, uint64_t tag)
{
    check(block, 0);
    if ((tag >> 8) % 4 == 3) {
        if (mprotect((void *)&region[block * WORDS], BLOCK * PAGE, PROT_READ) != 0)
            fail("mprotect");
        check(block, 0);
        if (mprotect((void *)&region[block * WORDS], BLOCK * PAGE, PROT_READ | PROT_WRITE) != 0)
            fail("mprotect");
        return;
    }
    map_again(block);
    for (int page = block; page < block + BLOCK; page++)
        for (int word = 0; word < WORDS; word += 31)
            region[page * WORDS + word] = tag ^ page;
    if (broken)
        region[block * WORDS + 31] ^= 1;
    nap_us(100);
    check(block, tag);
    /* The next content begins in memory that is zero again. */
    map_again(block);
    for (int page = block; page < block + BLOCK; page++)
        fill_page(page);
}

static void *turn_until_stopped(void *argument)
{
    uint64_t index = (uintptr_t)argument, random = mix(seed + index);
    int blocks = pages / BLOCK / threads;
    while (!stopping) {
        uint64_t r = next_random(&random);
        turn((int)(index * blocks + r % blocks) * BLOCK, r >> 8 | 1);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t ids[200];
    victim_begin(argc, argv);
    for (int i = 0; i < threads; i++)
        victim_thread(&ids[i], turn_until_stopped, (void *)(intptr_t)i);
    victim_serve();
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    return victim_end();
}
