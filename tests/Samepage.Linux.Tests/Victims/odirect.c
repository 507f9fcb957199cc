/*
 * O_DIRECT reads into pages that are candidates for merging: the page holds common content, nothing writes it, then
 * the disk does, while the page may just be moved. Threads with an even number use pread(), odd ones io_submit().
 * What arrived must be what the file holds; then the common content is put back by stores.
 * --broken damages a byte after the read. Needs a file on a file system that knows O_DIRECT (--file).
 */
#include "victim.h"
#include <linux/aio_abi.h>

#define CHUNK_PAGES 16
#define FILE_PAGES 1024

struct reader {
    int index;
    uint64_t random;
};

static int fd;

static uint64_t file_word(uint64_t page, uint64_t word)
{
    return mix(0xf11eu << 20 ^ page << 12 ^ word);
}

static void make_file(void)
{
    static uint64_t page[WORDS];
    int out = open(option_file, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (out == -1)
        fail(option_file);
    for (int p = 0; p < FILE_PAGES; p++) {
        for (int word = 0; word < WORDS; word++)
            page[word] = file_word(p, word);
        if (write(out, page, PAGE) != PAGE)
            fail("write");
    }
    if (fsync(out) != 0)
        fail("fsync");
    close(out);
    fd = open(option_file, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (fd == -1)
        fail("open with O_DIRECT");
    unlink(option_file);
}

static long read_by_aio(aio_context_t context, void *buffer, size_t bytes, long offset)
{
    struct iocb block = { .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = fd, .aio_buf = (uintptr_t)buffer,
                          .aio_nbytes = bytes, .aio_offset = offset };
    struct iocb *list[] = { &block };
    struct io_event event;
    if (syscall(SYS_io_submit, context, 1L, list) != 1)
        fail("io_submit");
    for (;;) {
        long got = syscall(SYS_io_getevents, context, 1L, 1L, &event, NULL);
        if (got == 1)
            return event.res;
        /* Nobody signals this process: an EINTR comes from being stopped. */
        atomic_fetch_add(got == -1 && errno == EINTR ? &count.eintr : &count.spurious, 1);
    }
}

static void *read_until_stopped(void *argument)
{
    struct reader *r = argument;
    int part = pages / threads, first = r->index * part;
    aio_context_t context = 0;
    if (r->index % 2 == 1 && syscall(SYS_io_setup, 8, &context) != 0)
        fail("io_setup");
    while (!stopping) {
        int page = first + (int)(next_random(&r->random) % (part - CHUNK_PAGES + 1));
        int from = (int)(next_random(&r->random) % (FILE_PAGES - CHUNK_PAGES));
        char *buffer = (char *)region + (size_t)page * PAGE;
        long got = r->index % 2 == 1 ? read_by_aio(context, buffer, CHUNK_PAGES * PAGE, (long)from * PAGE)
                                     : pread(fd, buffer, CHUNK_PAGES * PAGE, (long)from * PAGE);
        if (got != CHUNK_PAGES * PAGE)
            atomic_fetch_add(&count.spurious, 1);
        if (broken)
            buffer[next_random(&r->random) % PAGE] ^= 1;
        for (int p = 0; p < CHUNK_PAGES; p++) {
            int differs = 0;
            for (int word = 0; word < WORDS; word++)
                differs |= region[(page + p) * WORDS + word] != file_word(from + p, word);
            if (differs)
                atomic_fetch_add(region[(page + p) * WORDS + 1] == content(page + p, 1) ? &count.lost : &count.wrong, 1);
            fill_page(page + p);
        }
        atomic_fetch_add(&count.ops, CHUNK_PAGES);
        /* Time at rest, so that the pages can become candidates. */
        nap_us(500);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static struct reader readers[200];
    pthread_t ids[200];
    victim_begin(argc, argv);
    if (threads < 1 || pages / threads < CHUNK_PAGES)
        fail("more pages or fewer threads");
    make_file();
    for (int i = 0; i < threads; i++) {
        readers[i] = (struct reader){ i, mix(seed + i) };
        victim_thread(&ids[i], read_until_stopped, &readers[i]);
    }
    victim_serve();
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    return victim_end();
}
