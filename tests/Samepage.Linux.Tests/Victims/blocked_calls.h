/*
 * One entry for each system call a thread may be found blocked in. Two kinds:
 *   timed   nothing ever happens; the call must come back with `expected` after TIMEOUT_MS, not earlier
 *   woken   the call must come back with `expected` after `wake`, and not before it
 * Calls go straight to the kernel, so that its answer is seen as it is.
 */
#ifndef BLOCKED_CALLS_H
#define BLOCKED_CALLS_H

#include "victim.h"
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>

#define TIMEOUT_MS 50

struct slot {
    int fd, other, child;
    atomic_int tid, futex, state;
    uint64_t id;
    struct sockaddr_un address;
    socklen_t address_bytes;
    long returns, eintr, spurious, early, late, latest_ms;
};

struct call {
    const char *name;
    long expected;
    void (*prepare)(struct slot *);   /* once, in the thread that will block; may set fd to -1: not to be had here */
    void (*arm)(struct slot *);       /* before each blocking, by the waker */
    long (*block)(struct slot *);
    void (*wake)(struct slot *);      /* NULL: timed */
    void (*after)(struct slot *);     /* consume what woke it */
};

static long raw(long number, long a, long b, long c, long d, long e, long f)
{
    long result;
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    __asm__ volatile("syscall" : "=a"(result) : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#define RAW(number, a, b, c, d, e, f) \
    raw(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define UNUSED(s) ((void)(s))

static const sigset_t no_signals;

static struct timespec timeout(void) { return (struct timespec){ 0, TIMEOUT_MS * 1000000L }; }

static void check_made(long made, const char *what)
{
    if (made == -1)
        fail(what);
}

/* Pipes, eventfds, epoll. */
static void make_pipe(struct slot *s)
{
    int ends[2];
    check_made(pipe(ends), "pipe");
    s->fd = ends[0];
    s->other = ends[1];
}
static void write_byte(struct slot *s) { check_made(write(s->other, "x", 1), "write"); }
static void read_byte(struct slot *s)
{
    char byte;
    check_made(read(s->fd, &byte, 1), "read");
}
static long block_read(struct slot *s)
{
    char byte;
    return RAW(SYS_read, s->fd, &byte, 1, 0, 0, 0);
}
static long poll_for(struct slot *s, long ms)
{
    struct pollfd fd = { s->fd, POLLIN, 0 };
    return RAW(SYS_poll, &fd, 1, ms, 0, 0, 0);
}
static long block_poll(struct slot *s) { return poll_for(s, -1); }
static long timed_poll(struct slot *s) { return poll_for(s, TIMEOUT_MS); }
static long ppoll_for(struct slot *s, struct timespec *t)
{
    struct pollfd fd = { s->fd, POLLIN, 0 };
    return RAW(SYS_ppoll, &fd, 1, t, NULL, 8, 0);
}
static long block_ppoll(struct slot *s) { return ppoll_for(s, NULL); }
static long timed_ppoll(struct slot *s) { struct timespec t = timeout(); return ppoll_for(s, &t); }
static long select_for(struct slot *s, struct timeval *t)
{
    fd_set set;
    FD_ZERO(&set);
    FD_SET(s->fd, &set);
    return RAW(SYS_select, s->fd + 1, &set, NULL, NULL, t, 0);
}
static long block_select(struct slot *s) { return select_for(s, NULL); }
static long timed_select(struct slot *s) { struct timeval t = { 0, TIMEOUT_MS * 1000 }; return select_for(s, &t); }
static long timed_pselect(struct slot *s)
{
    struct timespec t = timeout();
    fd_set set;
    FD_ZERO(&set);
    FD_SET(s->fd, &set);
    return RAW(SYS_pselect6, s->fd + 1, &set, NULL, NULL, &t, NULL);
}
static void make_eventfd(struct slot *s) { check_made(s->fd = eventfd(0, EFD_SEMAPHORE), "eventfd"); }
static long block_eventfd(struct slot *s)
{
    uint64_t value;
    return RAW(SYS_read, s->fd, &value, 8, 0, 0, 0);
}
static void add_event(struct slot *s)
{
    uint64_t one = 1;
    check_made(write(s->fd, &one, 8), "write");
}
static void make_epoll(struct slot *s)
{
    struct epoll_event event = { .events = EPOLLIN };
    make_pipe(s);
    check_made(s->child = epoll_create1(0), "epoll_create1");
    check_made(epoll_ctl(s->child, EPOLL_CTL_ADD, s->fd, &event), "epoll_ctl");
}
static long epoll_for(struct slot *s, long number, long wait)
{
    struct epoll_event event;
    return RAW(number, s->child, &event, 1, wait, NULL, 8);
}
static long block_epoll_wait(struct slot *s) { return epoll_for(s, SYS_epoll_wait, -1); }
static long timed_epoll_wait(struct slot *s) { return epoll_for(s, SYS_epoll_wait, TIMEOUT_MS); }
static long block_epoll_pwait(struct slot *s) { return epoll_for(s, SYS_epoll_pwait, -1); }
static long timed_epoll_pwait(struct slot *s) { return epoll_for(s, SYS_epoll_pwait, TIMEOUT_MS); }
static long block_epoll_pwait2(struct slot *s) { return epoll_for(s, 441, 0); }
static long timed_epoll_pwait2(struct slot *s) { struct timespec t = timeout(); return epoll_for(s, 441, (long)&t); }

/* Clocks. */
static void make_timerfd(struct slot *s) { check_made(s->fd = timerfd_create(CLOCK_MONOTONIC, 0), "timerfd_create"); }
static long timed_timerfd(struct slot *s)
{
    struct itimerspec when = { .it_value = timeout() };
    uint64_t ticks;
    check_made(timerfd_settime(s->fd, 0, &when, NULL), "timerfd_settime");
    return RAW(SYS_read, s->fd, &ticks, 8, 0, 0, 0);
}
static long timed_nanosleep(struct slot *s)
{
    struct timespec t = timeout();
    UNUSED(s);
    return RAW(SYS_nanosleep, &t, NULL, 0, 0, 0, 0);
}
static long timed_clock_nanosleep(struct slot *s)
{
    struct timespec t;
    UNUSED(s);
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += TIMEOUT_MS * 1000000L;
    if (t.tv_nsec >= 1000000000L) {
        t.tv_nsec -= 1000000000L;
        t.tv_sec++;
    }
    return RAW(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL, 0, 0);
}

/* Futexes. */
static void reset_futex(struct slot *s) { s->futex = 0; }
static long block_futex(struct slot *s)
{
    return RAW(SYS_futex, &s->futex, FUTEX_WAIT_PRIVATE, 0, NULL, 0, 0);
}
static void wake_futex(struct slot *s)
{
    s->futex = 1;
    /* The thread may be between arming and waiting: the changed value lets it through then. */
    RAW(SYS_futex, &s->futex, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
}
static long timed_futex(struct slot *s)
{
    struct timespec t = timeout();
    return RAW(SYS_futex, &s->futex, FUTEX_WAIT_PRIVATE, 0, &t, 0, 0);
}

/* Signals. */
static void kill_usr1(struct slot *s) { RAW(SYS_tgkill, getpid(), s->tid, SIGUSR1, 0, 0, 0); }
static void kill_usr2(struct slot *s) { RAW(SYS_tgkill, getpid(), s->tid, SIGUSR2, 0, 0, 0); }
/* SIGUSR1 is blocked but for the call, so that it cannot come and go before. */
static void block_usr1(struct slot *s)
{
    sigset_t set;
    UNUSED(s);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}
static void block_usr2(struct slot *s)
{
    sigset_t set;
    UNUSED(s);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}
static long block_sigsuspend(struct slot *s)
{
    UNUSED(s);
    return RAW(SYS_rt_sigsuspend, &no_signals, 8, 0, 0, 0, 0);
}
static long block_pause(struct slot *s)
{
    UNUSED(s);
    return RAW(SYS_pause, 0, 0, 0, 0, 0, 0);
}
static long sigtimedwait_for(struct timespec *t)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    return RAW(SYS_rt_sigtimedwait, &set, NULL, t, 8, 0, 0);
}
static long block_sigwait(struct slot *s) { UNUSED(s); return sigtimedwait_for(NULL); }
static long timed_sigwait(struct slot *s) { struct timespec t = timeout(); UNUSED(s); return sigtimedwait_for(&t); }

/*
 * System V. These objects outlive their users, so their ids are written down where the nursery (below) finds them
 * when this process is gone, however it went.
 */
struct objects { int queues[8], semaphores[8], queue_count, semaphore_count; };
static struct objects *objects;
static pthread_mutex_t objects_lock = PTHREAD_MUTEX_INITIALIZER;

static void note_object(int *ids, int *used, int id)
{
    pthread_mutex_lock(&objects_lock);
    if (*used == 8)
        fail("too many System V objects");
    ids[(*used)++] = id;
    pthread_mutex_unlock(&objects_lock);
}
static void make_queue(struct slot *s)
{
    check_made(s->fd = msgget(IPC_PRIVATE, 0600), "msgget");
    note_object(objects->queues, &objects->queue_count, s->fd);
}
static long block_msgrcv(struct slot *s)
{
    struct { long type; char text[8]; } message;
    return RAW(SYS_msgrcv, s->fd, &message, 8, 0, 0, 0);
}
static void send_message(struct slot *s)
{
    struct { long type; char text[8]; } message = { 1, "1234567" };
    check_made(msgsnd(s->fd, &message, 8, 0), "msgsnd");
}
static void make_semaphore(struct slot *s)
{
    check_made(s->fd = semget(IPC_PRIVATE, 1, 0600), "semget");
    note_object(objects->semaphores, &objects->semaphore_count, s->fd);
}
static long block_semop(struct slot *s)
{
    struct sembuf down = { 0, -1, 0 };
    return RAW(SYS_semop, s->fd, &down, 1, 0, 0, 0);
}
static void raise_semaphore(struct slot *s)
{
    struct sembuf up = { 0, 1, 0 };
    check_made(semop(s->fd, &up, 1), "semop");
}
static long timed_semtimedop(struct slot *s)
{
    struct timespec t = timeout();
    struct sembuf down = { 0, -1, 0 };
    return RAW(SYS_semtimedop, s->fd, &down, 1, &t, 0, 0);
}

/*
 * Children and locks. A fork of this process would share all its pages with the child, and none could be merged before
 * it is written again. So a nursery, forked before the region exists, makes our children for us. It
 * outlives this process by a moment and cleans up after it.
 */
static int nursery_requests[2], nursery_answers[2];

static void nursery_main(void)
{
    char byte;
    close(nursery_requests[1]);
    while (read(nursery_requests[0], &byte, 1) == 1) {
        int child = (int)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0L, 0L, 0L, 0L);
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (;;)
                pause();
        }
        check_made(write(nursery_answers[1], &child, sizeof child), "nursery");
    }
    for (int i = 0; i < objects->queue_count; i++)
        msgctl(objects->queues[i], IPC_RMID, NULL);
    for (int i = 0; i < objects->semaphore_count; i++)
        semctl(objects->semaphores[i], 0, IPC_RMID);
    _exit(0);
}

static void start_nursery(void)
{
    objects = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (objects == MAP_FAILED)
        fail("mmap");
    if (pipe(nursery_requests) != 0 || pipe(nursery_answers) != 0)
        fail("pipe");
    int nursery = fork();
    check_made(nursery, "fork");
    if (nursery == 0)
        nursery_main();
    close(nursery_requests[0]);
}

static void make_child(struct slot *s)
{
    check_made(write(nursery_requests[1], "x", 1), "nursery");
    if (read(nursery_answers[0], &s->child, sizeof s->child) != sizeof s->child || s->child <= 0)
        fail("nursery");
}
static void kill_child(struct slot *s) { kill(s->child, SIGKILL); }
static long block_wait4(struct slot *s)
{
    long got = RAW(SYS_wait4, s->child, NULL, 0, NULL, 0, 0);
    return got == s->child ? 0 : got;
}
static void make_lock(struct slot *s)
{
    char name[64];
    snprintf(name, sizeof name, "lock.%d.%lu", getpid(), s->id);
    check_made(s->fd = open(name, O_CREAT | O_RDWR, 0600), "open");
    check_made(s->other = open(name, O_RDWR), "open");
    unlink(name);
}
static void take_lock(struct slot *s) { check_made(flock(s->other, LOCK_EX), "flock"); }
static void drop_lock(struct slot *s) { check_made(flock(s->other, LOCK_UN), "flock"); }
static void drop_taken(struct slot *s) { check_made(flock(s->fd, LOCK_UN), "flock"); }
static long block_flock(struct slot *s) { return RAW(SYS_flock, s->fd, LOCK_EX, 0, 0, 0, 0); }
static void make_inotify(struct slot *s)
{
    char name[64];
    snprintf(name, sizeof name, "watched.%d.%lu", getpid(), s->id);
    check_made(s->other = open(name, O_CREAT | O_RDWR, 0600), "open");
    check_made(s->fd = inotify_init1(0), "inotify_init1");
    check_made(inotify_add_watch(s->fd, name, IN_MODIFY), "inotify_add_watch");
    unlink(name);
}
static long block_inotify(struct slot *s)
{
    char events[512];
    return RAW(SYS_read, s->fd, events, sizeof events, 0, 0, 0);
}

/* Sockets. */
static void make_pair(struct slot *s)
{
    int ends[2];
    check_made(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends), "socketpair");
    s->fd = ends[0];
    s->other = ends[1];
}
static void limit_wait(int fd)
{
    struct timeval t = { 0, TIMEOUT_MS * 1000 };
    check_made(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t), "SO_RCVTIMEO");
}
static void make_limited_pair(struct slot *s) { make_pair(s); limit_wait(s->fd); }
static long block_recvfrom(struct slot *s)
{
    char byte;
    return RAW(SYS_recvfrom, s->fd, &byte, 1, 0, NULL, NULL);
}
static long block_recvmsg(struct slot *s)
{
    char byte;
    struct iovec part = { &byte, 1 };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    return RAW(SYS_recvmsg, s->fd, &message, 0, 0, 0, 0);
}
static void make_listener(struct slot *s)
{
    s->address.sun_family = AF_UNIX;
    /* Abstract: the name starts with a zero byte. */
    int length = snprintf(s->address.sun_path + 1, 64, "samepage-victim-%d-%lu", getpid(), s->id);
    s->address_bytes = (socklen_t)(sizeof(sa_family_t) + 1 + (size_t)length);
    check_made(s->fd = socket(AF_UNIX, SOCK_STREAM, 0), "socket");
    check_made(bind(s->fd, (struct sockaddr *)&s->address, s->address_bytes), "bind");
    check_made(listen(s->fd, 0), "listen");
}
static void make_limited_listener(struct slot *s) { make_listener(s); limit_wait(s->fd); }
static int connect_to(struct slot *s)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    check_made(fd, "socket");
    check_made(connect(fd, (struct sockaddr *)&s->address, s->address_bytes), "connect");
    return fd;
}
static void make_connection(struct slot *s) { s->other = connect_to(s); }
static long block_accept(struct slot *s)
{
    s->child = (int)RAW(SYS_accept, s->fd, NULL, NULL, 0, 0, 0);
    return s->child > 0 ? 1 : s->child;
}
static void close_both(struct slot *s) { close(s->child); close(s->other); }
/* A connection nobody has accepted yet fills the queue, so that the next connect() has to wait. */
static void fill_queue(struct slot *s) { s->other = connect_to(s); }
static void accept_one(struct slot *s) { check_made(s->child = accept(s->fd, NULL, NULL), "accept"); }
static long block_connect(struct slot *s)
{
    s->futex = socket(AF_UNIX, SOCK_STREAM, 0);
    long result = RAW(SYS_connect, s->futex, &s->address, s->address_bytes, 0, 0, 0);
    if (result != 0)
        close(s->futex);
    return result;
}
static void drain_queue(struct slot *s)
{
    close_both(s);
    close(accept(s->fd, NULL, NULL));
    close(s->futex);
}

/* Asynchronous I/O. */
static void make_aio(struct slot *s)
{
    aio_context_t context = 0;
    check_made(syscall(SYS_io_setup, 8, &context), "io_setup");
    s->id = context;
    check_made(s->fd = open("/proc/self/exe", O_RDONLY), "open");
}
static void submit_read(struct slot *s)
{
    static char buffer[64];
    struct iocb block = { .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = s->fd, .aio_buf = (uintptr_t)buffer,
                          .aio_nbytes = sizeof buffer };
    struct iocb *list[] = { &block };
    check_made(syscall(SYS_io_submit, s->id, 1L, list), "io_submit");
}
static long getevents_for(struct slot *s, long number, struct timespec *t)
{
    struct io_event event;
    return RAW(number, s->id, 1, 1, &event, t, NULL);
}
static long block_io_getevents(struct slot *s) { return getevents_for(s, SYS_io_getevents, NULL); }
static long timed_io_getevents(struct slot *s)
{
    struct timespec t = timeout();
    return getevents_for(s, SYS_io_getevents, &t);
}
static long timed_io_pgetevents(struct slot *s)
{
    struct timespec t = timeout();
    return getevents_for(s, 333, &t);
}
static void make_ring(struct slot *s)
{
    struct io_uring_params parameters = { 0 };
    s->fd = (int)syscall(SYS_io_uring_setup, 4, &parameters);
}
static long timed_io_uring(struct slot *s)
{
    struct timespec t = timeout();
    struct io_uring_getevents_arg argument = { .ts = (uintptr_t)&t };
    return RAW(SYS_io_uring_enter, s->fd, 0, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &argument,
               sizeof argument);
}

static const struct call calls[] = {
    { "poll", 1, make_pipe, NULL, block_poll, write_byte, read_byte },
    { "ppoll", 1, make_pipe, NULL, block_ppoll, write_byte, read_byte },
    { "select", 1, make_pipe, NULL, block_select, write_byte, read_byte },
    { "epoll_wait", 1, make_epoll, NULL, block_epoll_wait, write_byte, read_byte },
    { "epoll_pwait", 1, make_epoll, NULL, block_epoll_pwait, write_byte, read_byte },
    { "epoll_pwait2", 1, make_epoll, NULL, block_epoll_pwait2, write_byte, read_byte },
    { "read_pipe", 1, make_pipe, NULL, block_read, write_byte, NULL },
    { "read_eventfd", 8, make_eventfd, NULL, block_eventfd, add_event, NULL },
    { "read_inotify", 16, make_inotify, NULL, block_inotify, write_byte, NULL },
    { "futex", 0, NULL, reset_futex, block_futex, wake_futex, NULL },
    { "rt_sigsuspend", -EINTR, block_usr1, NULL, block_sigsuspend, kill_usr1, NULL },
    { "pause", -EINTR, NULL, NULL, block_pause, kill_usr1, NULL },
    { "rt_sigtimedwait", SIGUSR2, block_usr2, NULL, block_sigwait, kill_usr2, NULL },
    { "msgrcv", 8, make_queue, NULL, block_msgrcv, send_message, NULL },
    { "semop", 0, make_semaphore, NULL, block_semop, raise_semaphore, NULL },
    { "wait4", 0, NULL, make_child, block_wait4, kill_child, NULL },
    { "flock", 0, make_lock, take_lock, block_flock, drop_lock, drop_taken },
    { "recvfrom", 1, make_pair, NULL, block_recvfrom, write_byte, NULL },
    { "recvmsg", 1, make_pair, NULL, block_recvmsg, write_byte, NULL },
    { "accept", 1, make_listener, NULL, block_accept, make_connection, close_both },
    { "connect", 0, make_listener, fill_queue, block_connect, accept_one, drain_queue },
    { "io_getevents", 1, make_aio, NULL, block_io_getevents, submit_read, NULL },
    { "timed_poll", 0, make_pipe, NULL, timed_poll, NULL, NULL },
    { "timed_ppoll", 0, make_pipe, NULL, timed_ppoll, NULL, NULL },
    { "timed_select", 0, make_pipe, NULL, timed_select, NULL, NULL },
    { "timed_pselect6", 0, make_pipe, NULL, timed_pselect, NULL, NULL },
    { "timed_epoll_wait", 0, make_epoll, NULL, timed_epoll_wait, NULL, NULL },
    { "timed_epoll_pwait", 0, make_epoll, NULL, timed_epoll_pwait, NULL, NULL },
    { "timed_epoll_pwait2", 0, make_epoll, NULL, timed_epoll_pwait2, NULL, NULL },
    { "timed_nanosleep", 0, NULL, NULL, timed_nanosleep, NULL, NULL },
    { "timed_clock_nanosleep", 0, NULL, NULL, timed_clock_nanosleep, NULL, NULL },
    { "timed_timerfd", 8, make_timerfd, NULL, timed_timerfd, NULL, NULL },
    { "timed_futex", -ETIMEDOUT, NULL, reset_futex, timed_futex, NULL, NULL },
    { "timed_rt_sigtimedwait", -EAGAIN, block_usr2, NULL, timed_sigwait, NULL, NULL },
    { "timed_semtimedop", -EAGAIN, make_semaphore, NULL, timed_semtimedop, NULL, NULL },
    { "timed_recvfrom", -EAGAIN, make_limited_pair, NULL, block_recvfrom, NULL, NULL },
    { "timed_accept", -EAGAIN, make_limited_listener, NULL, block_accept, NULL, NULL },
    { "timed_io_getevents", 0, make_aio, NULL, timed_io_getevents, NULL, NULL },
    { "timed_io_pgetevents", 0, make_aio, NULL, timed_io_pgetevents, NULL, NULL },
    { "timed_io_uring_enter", -ETIME, make_ring, NULL, timed_io_uring, NULL, NULL },
};
#define CALLS ((int)(sizeof calls / sizeof *calls))

#endif
