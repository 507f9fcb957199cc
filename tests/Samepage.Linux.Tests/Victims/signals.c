/*
 * Signals with and without SA_RESTART, at threads blocked in read(): every queued signal must be delivered once, in
 * order; with SA_RESTART read() never says EINTR, without it only when a handler ran.
 * --broken: the sender skips a signal now and then.
 */
#include "victim.h"

struct receiver {
    int signal, restarts, pipe[2];
    atomic_int tid;
    atomic_long handled, last;
    long sent, bytes_sent;
};

static struct receiver receivers[2];

static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)context;
    struct receiver *r = &receivers[number == receivers[1].signal];
    if (info->si_value.sival_int != r->last + 1)
        atomic_fetch_add(&count.lost, 1);
    r->last = info->si_value.sival_int;
    atomic_fetch_add(&r->handled, 1);
    atomic_fetch_add(&count.ops, 1);
}

static void *receive(void *argument)
{
    struct receiver *r = argument;
    unsigned char expected = 0, byte;
    long explained = 0;
    r->tid = (int)syscall(SYS_gettid);
    for (;;) {
        ssize_t got = read(r->pipe[0], &byte, 1);
        int error = errno;
        long handled = r->handled;
        if (got == 1) {
            if (byte == 255)
                return NULL;
            if (byte != expected)
                atomic_fetch_add(&count.wrong, 1);
            expected = (expected + 1) % 200;
            atomic_fetch_add(&count.ops, 1);
        } else if (got == -1 && error == EINTR) {
            if (r->restarts || handled == explained)
                atomic_fetch_add(&count.eintr, 1);
        } else {
            atomic_fetch_add(&count.spurious, 1);
        }
        explained = handled;
    }
}

static void send_signal(struct receiver *r)
{
    siginfo_t info = { .si_code = SI_QUEUE };
    info.si_pid = getpid();
    info.si_value.sival_int = (int)++r->sent;
    if (broken && r->sent % 50 == 0)
        return;
    while (syscall(SYS_rt_tgsigqueueinfo, getpid(), r->tid, r->signal, &info) != 0) {
        if (errno != EAGAIN)
            fail("rt_tgsigqueueinfo");
        nap_us(1000);
    }
}

int main(int argc, char **argv)
{
    static struct writer writer;
    pthread_t ids[2];
    victim_begin(argc, argv);
    writer_init(&writer, 0);
    for (int i = 0; i < 2; i++) {
        struct receiver *r = &receivers[i];
        struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | (i == 0 ? SA_RESTART : 0) };
        r->signal = SIGRTMIN + i;
        r->restarts = i == 0;
        if (sigaction(r->signal, &action, NULL) != 0 || pipe(r->pipe) != 0)
            fail("signals");
        victim_thread(&ids[i], receive, r);
        while (r->tid == 0)
            nap_us(100);
    }
    victim_ready();
    while (!victim_poll(2)) {
        writer_step(&writer, 1000);
        for (int i = 0; i < 2; i++) {
            unsigned char byte = receivers[i].bytes_sent++ % 200;
            send_signal(&receivers[i]);
            if (write(receivers[i].pipe[1], &byte, 1) != 1)
                fail("write");
        }
    }
    for (int i = 0; i < 2; i++) {
        struct receiver *r = &receivers[i];
        for (int tries = 0; r->handled < r->sent && tries < 1000; tries++)
            nap_us(1000);
        if (r->handled != r->sent)
            atomic_fetch_add(&count.lost, labs(r->sent - r->handled));
        if (write(r->pipe[1], "\377", 1) != 1)
            fail("write");
        pthread_join(ids[i], NULL);
    }
    return victim_end();
}
