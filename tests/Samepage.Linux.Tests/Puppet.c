/* A process that does to its own memory what the tests tell it on standard input, one line each way. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE 4096ul

static int uffd = -1;

static int track(unsigned long address, unsigned long pages)
{
	if (uffd < 0) {
		uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
		struct uffdio_api api = { .api = UFFD_API, .features = 1ull << 15 /* WP_ASYNC */ };
		if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api))
			return 1;
	}
	struct uffdio_register r = { { address, pages * PAGE }, UFFDIO_REGISTER_MODE_WP, 0 };
	return ioctl(uffd, UFFDIO_REGISTER, &r) != 0;
}

static void *serve(void *unused)
{
	char line[4096], path[3000];
	unsigned long a, b, c, d;
	(void)unused;
	while (fgets(line, sizeof(line), stdin)) {
		unsigned long result = 0;
		if (sscanf(line, "map %lu %lu", &a, &b) == 2) {
			result = (unsigned long)mmap(0, a * PAGE, b, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		} else if (sscanf(line, "anon %lx %lu", &a, &b) == 2) {
			result = (unsigned long)mmap((void *)a, b * PAGE, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		} else if (sscanf(line, "store %lx %lu %lu %2999s", &c, &a, &b, path) == 4) {
			int fd = open(path, O_RDONLY | O_CLOEXEC);
			result = (unsigned long)mmap((void *)c, b * PAGE, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_NORESERVE | (c ? MAP_FIXED : 0), fd, a * PAGE);
			if (result != -1ul && madvise((void *)result, b * PAGE, 22 /* POPULATE_READ */))
				result = -1ul;
			close(fd);
		} else if (sscanf(line, "window %lu %lu %2999s", &a, &b, path) == 3) {
			int fd = open(path, O_RDONLY | O_CLOEXEC);
			result = (unsigned long)mmap(0, b * PAGE, PROT_READ, MAP_SHARED, fd, a * PAGE);
			close(fd);
		} else if (sscanf(line, "track %lx %lu", &a, &b) == 2) {
			result = track(a, b);
		} else if (sscanf(line, "fill %lx %lu %lu", &a, &b, &c) == 3) {
			for (unsigned long i = 0; i < b; i++)
				memset((void *)(a + i * PAGE), (int)(c + i) | 1, PAGE);
		} else if (sscanf(line, "number %lx %lu %lx %lx", &a, &b, &c, &d) == 4) {
			for (unsigned long i = 0; i < b; i++)
				*(volatile uint64_t *)(a + i * PAGE + c) = d + i;
		} else if (sscanf(line, "check %lx %lu %lx %lx", &a, &b, &c, &d) == 4) {
			for (unsigned long i = 0; i < b; i++)
				result += *(volatile uint64_t *)(a + i * PAGE + c) != d + i;
		} else if (sscanf(line, "read %lx", &a) == 1) {
			result = *(volatile uint64_t *)a;
		} else if (sscanf(line, "unmap %lx %lu", &a, &b) == 2) {
			result = munmap((void *)a, b * PAGE);
		} else if (sscanf(line, "protect %lx %lu %lu", &a, &b, &c) == 3) {
			result = mprotect((void *)a, b * PAGE, c);
		} else if (sscanf(line, "advise %lx %lu %lu", &a, &b, &c) == 3) {
			result = madvise((void *)a, b * PAGE, c);
		} else if (sscanf(line, "lock %lx %lu", &a, &b) == 2) {
			result = mlock((void *)a, b * PAGE);
		} else if (strncmp(line, "lockall", 7) == 0) {
			result = mlockall(MCL_FUTURE);
		} else if (strncmp(line, "fork", 4) == 0) {
			pid_t child = fork();
			if (child == 0) {
				prctl(PR_SET_PDEATHSIG, 9);
				for (;;)
					pause();
			}
			result = child;
		} else if (strncmp(line, "uring", 5) == 0) {
			char params[120] = { 0 };
			result = syscall(SYS_io_uring_setup, 1, params);
		} else if (sscanf(line, "pin %lx %lu", &a, &b) == 2) {
			char params[120] = { 0 };
			struct iovec buffer = { (void *)a, b * PAGE };
			int ring = syscall(SYS_io_uring_setup, 4, params);
			result = syscall(SYS_io_uring_register, ring, 0 /* IORING_REGISTER_BUFFERS */, &buffer, 1);
		} else if (sscanf(line, "shared %lu", &a) == 1 || sscanf(line, "huge %lu", &b) == 1) {
			int huge = line[0] == 'h';
			result = (unsigned long)mmap(0, (huge ? b : a) * PAGE, PROT_READ | PROT_WRITE,
				MAP_ANONYMOUS | (huge ? MAP_PRIVATE | MAP_HUGETLB : MAP_SHARED), -1, 0);
		} else if (strncmp(line, "filter", 6) == 0) {
			struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
			struct sock_fprog program = { 1, &allow };
			prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
			result = prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
		} else if (strncmp(line, "exec", 4) == 0) {
			execl("/bin/sleep", "sleep", "1000", (char *)0);
		} else if (strncmp(line, "thread", 6) == 0) {
			pthread_t t;
			result = pthread_create(&t, 0, serve, 0);
			printf("%lx\n", result);
			fflush(stdout);
			pthread_exit(0); /* the process runs on without its first thread */
		} else {
			result = -1ul;
		}
		printf("%lx\n", result);
		fflush(stdout);
	}
	exit(0);
}

int main(void)
{
	prctl(PR_SET_PDEATHSIG, 9);
	serve(0);
}
