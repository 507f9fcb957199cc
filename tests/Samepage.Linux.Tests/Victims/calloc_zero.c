/*
 * For an allocator that takes MADV_DONTNEED at its word (Debian's libjemalloc2, preloaded with
 * MALLOC_CONF=dirty_decay_ms:0,muzzy_decay_ms:0): it gives pages back and relies on finding zeros there, so calloc()
 * does not clear them again. Every calloc'ed byte is checked. Blocks are filled with tags that are equal page by page.
 * --broken damages a block before it is checked.
 */
#include "victim.h"

#define BLOCKS 64

static void *allocate_until_stopped(void *argument)
{
    uint64_t random = mix(seed + (uintptr_t)argument);
    static const size_t sizes[] = { 3 * PAGE, 16 * PAGE, 40 * PAGE, 256 * PAGE };
    uint64_t *blocks[BLOCKS] = { 0 };
    size_t words[BLOCKS] = { 0 };
    while (!stopping) {
        int i = (int)(next_random(&random) % BLOCKS);
        if (blocks[i] != NULL) {
            for (size_t word = 0; word < words[i]; word++)
                if (blocks[i][word] != mix(word % WORDS)) {
                    atomic_fetch_add(&count.lost, 1);
                    break;
                }
            free(blocks[i]);
        }
        words[i] = sizes[next_random(&random) % 4] / 8;
        blocks[i] = calloc(words[i], 8);
        if (blocks[i] == NULL)
            fail("calloc");
        /* gcc knows that calloc gives zeros and would leave the check out. */
        volatile uint64_t *check = blocks[i];
        if (broken)
            check[words[i] / 2] = mix(0);
        for (size_t word = 0; word < words[i]; word++)
            if (check[word] != 0) {
                atomic_fetch_add(&count.wrong, 1);
                break;
            }
        for (size_t word = 0; word < words[i]; word++)
            check[word] = mix(word % WORDS);
        atomic_fetch_add(&count.ops, words[i] / WORDS);
        nap_us(100);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t ids[200];
    victim_begin(argc, argv);
    for (int i = 0; i < threads; i++)
        victim_thread(&ids[i], allocate_until_stopped, (void *)(intptr_t)i);
    victim_serve();
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    return victim_end();
}
