/*
 * Makes KSM's calls as it is told on standard input, one command a line, and answers each by one line:
 *   = RESULT ERRNO [more]
 * A command after "child" is carried out by a forked child, after "vfork" by a child of vfork, after "thread" by another
 * thread. All calls are made as raw system calls.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096ul
#define WORDS 8
#define APART 16

static volatile sig_atomic_t signals;

static void count(int number)
{
	(void)number;
	signals++;
}

static long call(long number, long a, long b, long c, long d, long e)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
			 : "rcx", "r11", "memory");
	return result;
}

static void answer(long result)
{
	if (result < 0 && result > -4096)
		printf("= -1 %ld\n", -result);
	else
		printf("= %ld 0\n", result);
}

static unsigned char *page_of(unsigned long base, unsigned long index)
{
	return (unsigned char *)(base + index * PAGE);
}

/* Equal in every process that uses the same seed, and no two pages alike. */
static void fill(unsigned long base, unsigned long pages, unsigned long seed)
{
	for (unsigned long i = 0; i < pages; i++) {
		uint64_t *word = (uint64_t *)page_of(base, i);

		for (unsigned k = 0; k < PAGE / 8; k++)
			word[k] = (seed * 1000003 + i) * 0x9E3779B97F4A7C15ul + k;
	}
}

static long wrong(unsigned long base, unsigned long pages, unsigned long seed)
{
	long bad = 0;

	for (unsigned long i = 0; i < pages; i++) {
		volatile uint64_t *word = (volatile uint64_t *)page_of(base, i);

		for (unsigned k = 0; k < PAGE / 8; k++)
			if (word[k] != (seed * 1000003 + i) * 0x9E3779B97F4A7C15ul + k) {
				bad++;
				break;
			}
	}
	return bad;
}

static double now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * 1e6 + at.tv_nsec / 1e3;
}

/* Advises again and again until somebody writes a line. */
static void storm(unsigned long base, unsigned long pages)
{
	struct timeval none = { 0, 0 };
	fd_set input;
	long calls = 0, failed = 0;
	char end;

	do {
		for (int i = 0; i < 100; i++) {
			failed += call(SYS_madvise, (long)base, (long)(pages * PAGE), MADV_MERGEABLE, 0, 0) != 0;
			calls++;
		}
		FD_ZERO(&input);
		FD_SET(0, &input);
	} while (select(1, &input, NULL, NULL, &none) == 0);
	while (read(0, &end, 1) == 1 && end != '\n')
		;
	printf("= %ld %ld\n", calls, failed);
}

static void under_signals(unsigned long base, long calls, int restart)
{
	struct sigaction action = { .sa_handler = count, .sa_flags = restart ? SA_RESTART : 0 };
	timer_t timer;
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
	struct itimerspec often = { { 0, 100000 }, { 0, 100000 } };
	long interrupted = 0, other = 0;

	sigaction(SIGUSR1, &action, NULL);
	timer_create(CLOCK_MONOTONIC, &event, &timer);
	timer_settime(timer, 0, &often, NULL);
	for (long i = 0; i < calls; i++) {
		long result = call(SYS_madvise, (long)base, PAGE, MADV_MERGEABLE, 0, 0);

		interrupted += result == -EINTR;
		other += result != 0 && result != -EINTR;
	}
	timer_delete(timer);
	printf("= %ld %ld %d\n", interrupted, other, (int)signals);
}

static int region(int bits, unsigned long number[])
{
	struct {
		uint32_t npages, pad;
		uint64_t addr, reserved;
	} it = { (uint32_t)number[2], (uint32_t)number[3], number[1], number[4] };

	return (int)call(SYS_ioctl, (long)number[0], bits == 24 ? 0x4018AB20 : 0x4010AB20, (long)&it, 0, 0);
}

static void process_advise(unsigned long base, unsigned long pages)
{
	struct iovec piece = { (void *)base, pages * PAGE };
	int self = (int)call(SYS_pidfd_open, getpid(), 0, 0, 0, 0);

	answer(call(SYS_process_madvise, self, (long)&piece, 1, MADV_MERGEABLE, 0));
	close(self);
}

static void map(const char *kind, unsigned long at, unsigned long pages)
{
	int flags = at ? MAP_FIXED : 0;
	int fd = -1;

	if (strcmp(kind, "shared") == 0)
		flags |= MAP_SHARED | MAP_ANONYMOUS;
	else if (strcmp(kind, "file") == 0) {
		fd = memfd_create("asker", 0);
		if (ftruncate(fd, (off_t)(pages * PAGE)) != 0)
			exit(1);
		flags |= MAP_PRIVATE;
	} else
		flags |= MAP_PRIVATE | MAP_ANONYMOUS;
	/* Away from everything else: pages beside the thread's own data are not merged with the thread that works. */
	if (!at) {
		char *room = mmap(NULL, (pages + 2 * APART) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		at = (unsigned long)room + APART * PAGE;
		flags |= MAP_FIXED;
	}
	void *memory = mmap((void *)at, pages * PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);

	answer(memory == MAP_FAILED ? -errno : (long)memory);
	if (fd >= 0)
		close(fd);
}

static void obey(char *line);

static void *obey_thread(void *line)
{
	obey(line);
	return NULL;
}

/* A child to keep obeys first, if there is a command, and then stays; its answer comes before its number. */
static void in_child(char *line, int keep)
{
	int ends[2];
	char none;

	if (pipe(ends) != 0)
		exit(1);
	pid_t child = fork();

	if (child == 0) {
		close(ends[0]);
		if (!keep || line[strspn(line, " ")])
			obey(line);
		fflush(stdout);
		close(ends[1]);
		while (keep)
			pause();
		_exit(0);
	}
	close(ends[1]);
	while (read(ends[0], &none, 1) != 0)
		;
	close(ends[0]);
	if (keep)
		printf("= %d 0\n", (int)child);
	else
		waitpid(child, NULL, 0);
}

static void put(const char *path, const char *text)
{
	int file = open(path, O_WRONLY);
	long written = file < 0 ? -errno : write(file, text, strlen(text));

	answer(written == -1 ? -errno : written);
	if (file >= 0)
		close(file);
}

static void in_vfork_child(unsigned long base, unsigned long pages)
{
	volatile long result = -1;
	pid_t child = vfork();

	if (child == 0) {
		result = call(SYS_madvise, (long)base, (long)(pages * PAGE), MADV_MERGEABLE, 0, 0);
		_exit(0);
	}
	waitpid(child, NULL, 0);
	answer(result);
}

static char *next(char *line, char word[32])
{
	int used = 0;

	word[0] = 0;
	sscanf(line, " %31s%n", word, &used);
	return line + used;
}

static void obey(char *line)
{
	char verb[32], kind[32], text[32];
	unsigned long n[WORDS] = { 0 };
	char *rest = next(line, verb);

	if (strcmp(verb, "child") == 0 || strcmp(verb, "keep") == 0) {
		in_child(rest, verb[0] == 'k');
		return;
	}
	if (strcmp(verb, "thread") == 0) {
		pthread_t thread;

		pthread_create(&thread, NULL, obey_thread, rest);
		pthread_join(thread, NULL);
		return;
	}
	if (strcmp(verb, "put") == 0) {
		next(next(rest, kind), text);
		put(kind, text);
		return;
	}
	if (strcmp(verb, "map") == 0 || strcmp(verb, "open") == 0 || strcmp(verb, "openas") == 0)
		rest = next(rest, kind);
	for (int i = 0; i < WORDS && *rest; i++) {
		char *end;

		n[i] = strtoul(rest, &end, 0);
		if (end == rest)
			break;
		rest = end;
	}

	if (strcmp(verb, "madvise") == 0)
		answer(call(SYS_madvise, (long)n[0], (long)n[1], (long)n[2], 0, 0));
	else if (strcmp(verb, "prctl") == 0)
		answer(call(SYS_prctl, (long)n[0], (long)n[1], (long)n[2], (long)n[3], (long)n[4]));
	else if (strcmp(verb, "ioctl") == 0)
		answer(call(SYS_ioctl, (long)n[0], (long)n[1], (long)n[2], 0, 0));
	else if (strcmp(verb, "region") == 0)
		answer(region(24, n));
	else if (strcmp(verb, "region16") == 0)
		answer(region(16, n));
	else if (strcmp(verb, "open") == 0) {
		int fd = open(kind, O_RDWR | O_TRUNC, 0600);
		answer(fd < 0 ? -errno : fd);
	} else if (strcmp(verb, "openas") == 0) {
		int fd = open(kind, (int)n[0], 0600);
		answer(fd < 0 ? -errno : fd);
	} else if (strcmp(verb, "close") == 0)
		answer(call(SYS_close, (long)n[0], 0, 0, 0, 0));
	else if (strcmp(verb, "dup") == 0)
		answer(call(SYS_dup, (long)n[0], 0, 0, 0, 0));
	else if (strcmp(verb, "getfd") == 0)
		answer(call(SYS_fcntl, (long)n[0], F_GETFD, 0, 0, 0));
	else if (strcmp(verb, "map") == 0)
		map(kind, n[0], n[1]);
	else if (strcmp(verb, "munmap") == 0)
		answer(call(SYS_munmap, (long)n[0], (long)(n[1] * PAGE), 0, 0, 0));
	else if (strcmp(verb, "mprotect") == 0)
		answer(call(SYS_mprotect, (long)n[0], (long)(n[1] * PAGE), (long)n[2], 0, 0));
	else if (strcmp(verb, "fill") == 0) {
		fill(n[0], n[1], n[2]);
		puts("= 0 0");
	} else if (strcmp(verb, "wrong") == 0)
		printf("= %ld 0\n", wrong(n[0], n[1], n[2]));
	else if (strcmp(verb, "touch") == 0) {
		*(volatile unsigned char *)n[0] += 0;
		puts("= 0 0");
	} else if (strcmp(verb, "storm") == 0)
		storm(n[0], n[1]);
	else if (strcmp(verb, "signals") == 0)
		under_signals(n[0], (long)n[1], (int)n[2]);
	else if (strcmp(verb, "vfork") == 0)
		in_vfork_child(n[0], n[1]);
	else if (strcmp(verb, "process_madvise") == 0)
		process_advise(n[0], n[1]);
	else if (strcmp(verb, "ids") == 0)
		printf("= %d %d\n", (int)getuid(), (int)geteuid());
	else if (strcmp(verb, "time") == 0) {
		double begin = now();

		for (unsigned long i = 0; i < n[1]; i++)
			call(SYS_madvise, (long)n[0], PAGE, MADV_MERGEABLE, 0, 0);
		printf("= %ld 0\n", (long)((now() - begin) * 1000 / (double)n[1]));
	} else if (strcmp(verb, "exec") == 0) {
		fflush(stdout);
		execl("/proc/self/exe", "asker", (char *)NULL);
		exit(1);
	} else
		printf("= -1 9999 unknown %s\n", verb);
}

int main(void)
{
	char line[512];
	size_t used = 0;

	printf("= ready %d\n", (int)getpid());
	fflush(stdout);
	/* Read byte by byte, so that what follows an "exec" is still there for the next program. */
	while (read(0, line + used, 1) == 1) {
		if (line[used] != '\n') {
			used += used < sizeof line - 1;
			continue;
		}
		line[used] = 0;
		used = 0;
		obey(line);
		fflush(stdout);
	}
	return 0;
}
