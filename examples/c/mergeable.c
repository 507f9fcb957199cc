/*
 * Registers memory as every program can since Linux 2.6.32: madvise(MADV_MERGEABLE).
 *
 *     make
 *     samepage run ./mergeable &
 *     samepage run ./mergeable &
 *     samepage status            # pages of both are shared
 *
 * Usage: mergeable [MEGABYTES [SECONDS]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096

int main(int argc, char **argv)
{
	size_t bytes = (argc > 1 ? strtoul(argv[1], NULL, 10) : 64) << 20;
	unsigned seconds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 60;
	unsigned char *memory =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	/* The order does not matter: what is written after the call is merged as well. */
	if (madvise(memory, bytes, MADV_MERGEABLE) != 0) {
		perror("madvise(MADV_MERGEABLE)");
		return 1;
	}
	/* Every page differs from the others of this process, but a second process has the same ones. */
	for (size_t page = 0; page < bytes / PAGE; page++) {
		memset(memory + page * PAGE, 1 + (int)(page % 255), PAGE);
		memcpy(memory + page * PAGE, &page, sizeof page);
	}
	printf("process %d: %zu MiB at %p, merged with equal pages of other processes\n",
	       (int)getpid(), bytes >> 20, (void *)memory);
	fflush(stdout);
	sleep(seconds);

	/* Returns when every page is private again. */
	if (madvise(memory, bytes, MADV_UNMERGEABLE) != 0) {
		perror("madvise(MADV_UNMERGEABLE)");
		return 1;
	}
	for (size_t page = 0; page < bytes / PAGE; page++) {
		if (memcmp(memory + page * PAGE, &page, sizeof page) != 0) {
			fprintf(stderr, "page %zu has changed\n", page);
			return 1;
		}
	}
	puts("private again, and every page as it was");
	return 0;
}
