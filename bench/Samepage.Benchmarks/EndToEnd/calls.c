/* Time of system calls: getpid CALLS times, then madvise(MADV_MERGEABLE) CALLS times. Prints nanoseconds:
 * getpid's mean, madvise's median, 99th percentile and maximum. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * 1000000000l + at.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	long x = *(const long *)a, y = *(const long *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	long calls = argc > 1 ? atol(argv[1]) : 100000;
	long *times = malloc((size_t)calls * sizeof *times);
	char *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	long begin = now();

	for (long i = 0; i < calls * 10; i++)
		syscall(SYS_getpid);
	printf("%.1f", (double)(now() - begin) / (double)(calls * 10));
	for (long i = 0; i < calls; i++) {
		begin = now();
		if (madvise(memory + 4096 * (i % 256), 4096, MADV_MERGEABLE) != 0)
			return 1;
		times[i] = now() - begin;
	}
	qsort(times, (size_t)calls, sizeof *times, compare);
	printf(" %ld %ld %ld\n", times[calls / 2], times[calls * 99 / 100], times[calls - 1]);
	return 0;
}
