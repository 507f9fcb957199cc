/*
 * Registers memory as a program of April 2009 did: with /dev/ksm and ioctls. Runs under
 *
 *     make
 *     samepage run --dev-ksm ./ksm2009
 *
 * Usage: ksm2009 [MEGABYTES [SECONDS]]
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ksm.h"

#define PAGE 4096

/* One call does it all and returns the area, which keeps the memory registered until it is closed. */
static int ksm_register_memory(void *memory, unsigned long bytes)
{
	struct ksm_memory_region region;
	int ksm, area;

	ksm = open("/dev/ksm", O_RDWR | O_TRUNC, (mode_t)0600);
	if (ksm == -1)
		return -1;

	area = ioctl(ksm, KSM_CREATE_SHARED_MEMORY_AREA);
	close(ksm);
	if (area == -1)
		return -1;

	memset(&region, 0, sizeof region);
	region.npages = (unsigned int)(bytes / PAGE);
	region.addr = (uintptr_t)memory;
	if (ioctl(area, KSM_REGISTER_MEMORY_REGION, &region) != 0) {
		close(area);
		return -1;
	}
	return area;
}

int main(int argc, char **argv)
{
	size_t bytes = (argc > 1 ? strtoul(argv[1], NULL, 10) : 64) << 20;
	unsigned seconds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 60;
	unsigned char *memory =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int area;

	if (memory == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	for (size_t page = 0; page < bytes / PAGE; page++) {
		memset(memory + page * PAGE, 1 + (int)(page % 255), PAGE);
		memcpy(memory + page * PAGE, &page, sizeof page);
	}
	area = ksm_register_memory(memory, bytes);
	if (area == -1) {
		perror("/dev/ksm (start this program by: samepage run --dev-ksm)");
		return 1;
	}
	printf("process %d: %zu MiB at %p in shared memory area %d\n",
	       (int)getpid(), bytes >> 20, (void *)memory, area);
	fflush(stdout);
	sleep(seconds);

	if (ioctl(area, KSM_REMOVE_MEMORY_REGION) != 0) {
		perror("KSM_REMOVE_MEMORY_REGION");
		return 1;
	}
	close(area);
	for (size_t page = 0; page < bytes / PAGE; page++) {
		if (memcmp(memory + page * PAGE, &page, sizeof page) != 0) {
			fprintf(stderr, "page %zu has changed\n", page);
			return 1;
		}
	}
	puts("private again, and every page as it was");
	return 0;
}
