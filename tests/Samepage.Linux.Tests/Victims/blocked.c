/*
 * A thread blocked in each system call of blocked_calls.h (or in the one named by --call), while the main thread works
 * on the region. Being stopped and resumed must not be visible: no EINTR, no return that nothing explains, no time-out
 * that ends early. Each report has a line per call:
 *   call NAME returns=N eintr=N spurious=N early=N late=N latest_ms=N
 * --broken sends every thread signals (handled, without SA_RESTART) it has no explanation for.
 */
#include "blocked_calls.h"

/* Where the dialogue between a blocked thread and the one that wakes it stands. */
enum { RESTING, ARMED, ENTERED, WOKEN, SETTLED, RETURNED };

static struct slot slots[CALLS];

static void on_signal(int number) { (void)number; }

/* True when the call came back as it should; counts it if not. */
static int judge(const struct call *call, struct slot *s, long result, int64_t elapsed_us)
{
    s->returns++;
    atomic_fetch_add(&count.ops, 1);
    if (result == -EINTR && call->expected != -EINTR) {
        s->eintr++;
        atomic_fetch_add(&count.eintr, 1);
        return 0;
    }
    /* A futex whose value had changed before the thread slept says EAGAIN. */
    int changed_before = call->block == block_futex && result == -EAGAIN && s->futex == 1;
    if ((result != call->expected && !changed_before) || (call->wake != NULL && s->state == ENTERED)) {
        s->spurious++;
        atomic_fetch_add(&count.spurious, 1);
        return 0;
    }
    if (call->wake != NULL)
        return 1;
    long over_ms = (long)(elapsed_us / 1000) - TIMEOUT_MS;
    if (over_ms > s->latest_ms)
        s->latest_ms = over_ms;
    if (elapsed_us < TIMEOUT_MS * 1000 - 500) {
        s->early++;
        atomic_fetch_add(&count.early, 1);
    } else if (over_ms > slack_ms) {
        s->late++;
        atomic_fetch_add(&count.late, 1);
    }
    return 1;
}

static void *block_for_ever(void *argument)
{
    struct slot *s = argument;
    const struct call *call = &calls[s - slots];
    s->id = (uint64_t)(s - slots);
    if (call->prepare != NULL)
        call->prepare(s);
    if (s->fd == -1)
        return NULL;
    s->tid = (int)syscall(SYS_gettid);
    while (!stopping) {
        while (call->wake != NULL && s->state != ARMED)
            nap_us(500);
        /* Said before blocking: only who is known to be on its way may be woken. */
        if (call->wake != NULL)
            s->state = ENTERED;
        for (;;) {
            int64_t begin = now_us();
            long result = call->block(s);
            /* After a wrong return the wake-up is still to come: block again, it must not be taken for the next. */
            if (judge(call, s, result, now_us() - begin) || call->wake == NULL)
                break;
        }
        /* The waker may not have written down yet what it woke the thread with. */
        while (s->state == WOKEN)
            nap_us(200);
        if (call->after != NULL)
            call->after(s);
        s->state = RETURNED;
    }
    return NULL;
}

static void print_calls(void)
{
    for (int i = 0; i < CALLS; i++) {
        struct slot *s = &slots[i];
        if (s->tid != 0)
            printf("call %s returns=%ld eintr=%ld spurious=%ld early=%ld late=%ld latest_ms=%ld\n", calls[i].name,
                   s->returns, s->eintr, s->spurious, s->early, s->late, s->latest_ms);
    }
}

static int chosen(int i)
{
    return option_call == NULL || strcmp(option_call, calls[i].name) == 0;
}

/* Lets each blocked thread rest for some rounds, then wakes it, then arms it again. */
static void turn(int round)
{
    for (int i = 0; i < CALLS; i++) {
        struct slot *s = &slots[i];
        const struct call *call = &calls[i];
        if (s->tid == 0)
            continue;
        if (broken && (round + i) % 7 == 0)
            RAW(SYS_tgkill, getpid(), s->tid, SIGURG, 0, 0, 0);
        if (call->wake == NULL)
            continue;
        if (s->state == RESTING || s->state == RETURNED) {
            if (call->arm != NULL)
                call->arm(s);
            s->state = ARMED;
        } else if (s->state == ENTERED && (round + i) % 4 == 0) {
            s->state = WOKEN;
            call->wake(s);
            s->state = SETTLED;
        } else if (s->state == SETTLED && call->block == block_pause) {
            /* The signal may have come when the thread was just outside pause(). */
            call->wake(s);
        }
    }
}

int main(int argc, char **argv)
{
    static struct writer writer;
    struct sigaction action = { .sa_handler = on_signal };
    pthread_t id;
    int found = 0;
    start_nursery();
    victim_begin(argc, argv);
    writer_init(&writer, 0);
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGURG, &action, NULL);
    for (int i = 0; i < CALLS; i++)
        if (chosen(i)) {
            found++;
            victim_thread(&id, block_for_ever, &slots[i]);
        }
    if (found == 0) {
        fprintf(stderr, "no call named %s\n", option_call);
        return 2;
    }
    report_details = print_calls;
    victim_ready();
    for (int round = 0; !victim_poll(5); round++) {
        writer_step(&writer, 500);
        turn(round);
    }
    stopping = 1;
    return victim_end();
}
