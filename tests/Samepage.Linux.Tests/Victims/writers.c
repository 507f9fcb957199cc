/* User stores: --threads 0 is a process with a single thread, otherwise N writers beside the main thread. */
#include "victim.h"

static void *write_until_stopped(void *writer)
{
    while (!stopping) {
        writer_step(writer, 2000);
        nap_us(200);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static struct writer writers[200];
    pthread_t ids[200];
    victim_begin(argc, argv);
    writers_broken = broken;
    for (int i = 0; i < (threads ? threads : 1); i++)
        writer_init(&writers[i], i);
    if (threads == 0) {
        victim_ready();
        while (!victim_poll(0))
            writer_step(&writers[0], 2000);
        return victim_end();
    }
    for (int i = 0; i < threads; i++)
        victim_thread(&ids[i], write_until_stopped, &writers[i]);
    victim_serve();
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    return victim_end();
}
