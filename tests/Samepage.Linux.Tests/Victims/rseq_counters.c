/*
 * Restartable sequences: threads add to one counter per CPU without atomics, protected by rseq alone. A thread that is
 * stopped inside its critical section and goes on there, instead of at the abort address, overwrites what others
 * added meanwhile. The sum over all CPUs must be the number of additions that were committed.
 * --broken leaves the protection out.
 */
#include "victim.h"
#include <sched.h>
#include <sys/rseq.h>

#define CPUS_MAX 1024

static struct { long value; char pad[56]; } counters[CPUS_MAX] __attribute__((aligned(64)));
static atomic_long aborted;

/* 1 when the addition was committed, 0 when the kernel sent the thread to the abort address. */
static int add_one(struct rseq *area)
{
    __asm__ goto volatile(
        ".pushsection __rseq_cs, \"aw\"\n\t"
        ".balign 32\n\t"
        "3: .long 0, 0\n\t"
        ".quad 1f, 2f - 1f, 4f\n\t"
        ".popsection\n\t"
        ".pushsection .text.unlikely, \"ax\"\n\t"
        ".byte 0x0f, 0xb9, 0x3d\n\t"
        ".long 0x53053053\n\t"
        "4: jmp %l[abort]\n\t"
        ".popsection\n\t"
        "leaq 3b(%%rip), %%rax\n\t"
        "cmpl $0, %[broken]\n\t"
        "jne 1f\n\t"
        "movq %%rax, %[descriptor]\n\t"
        "1: movl %[cpu], %%eax\n\t"
        "shlq $6, %%rax\n\t"
        "movq (%[counters], %%rax), %%rcx\n\t"
        "movl $100, %%edx\n\t"
        "5: decl %%edx\n\t"
        "jnz 5b\n\t"
        "incq %%rcx\n\t"
        "movq %%rcx, (%[counters], %%rax)\n\t"
        "2:\n\t"
        :
        : [descriptor] "m"(area->rseq_cs), [cpu] "m"(area->cpu_id), [counters] "r"(counters), [broken] "m"(broken)
        : "rax", "rcx", "rdx", "cc", "memory"
        : abort);
    return 1;
abort:
    return 0;
}

static void *add_until_stopped(void *argument)
{
    struct rseq *area = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
    struct writer *writer = argument;
    long committed = 0;
    while (!stopping) {
        for (int i = 0; i < 5000; i++) {
            if (add_one(area))
                committed++;
            else
                atomic_fetch_add(&aborted, 1);
        }
        writer_step(writer, 100);
    }
    atomic_fetch_add(&count.ops, committed);
    return (void *)committed;
}

int main(int argc, char **argv)
{
    static struct writer writers[200];
    pthread_t ids[200];
    victim_begin(argc, argv);
    if (__rseq_size == 0) {
        fprintf(stderr, "rseq is not registered by this C library\n");
        return 2;
    }
    for (int i = 0; i < threads; i++) {
        writer_init(&writers[i], i);
        victim_thread(&ids[i], add_until_stopped, &writers[i]);
    }
    victim_serve();
    long expected = 0, sum = 0;
    for (int i = 0; i < threads; i++) {
        void *committed;
        pthread_join(ids[i], &committed);
        expected += (long)committed;
    }
    for (int cpu = 0; cpu < CPUS_MAX; cpu++)
        sum += counters[cpu].value;
    printf("aborted %ld\n", aborted);
    if (sum < expected)
        count.lost += expected - sum;
    else
        count.wrong += sum - expected;
    return victim_end();
}
