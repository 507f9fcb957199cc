/*
 * ksm.h - the interface of /dev/ksm as proposed in April 2009 (fourth version of the KSM patch set, "KSM - the
 * Kernel SamePage Merging driver"). No Linux release ever had it; `samepage run --dev-ksm COMMAND` gives it to a command.
 *
 * Written anew from the interface's numbers, so that programs of that time compile. New programs use
 * madvise(address, length, MADV_MERGEABLE) instead.
 *
 *     int ksm  = open("/dev/ksm", O_RDWR | O_TRUNC, 0600);
 *     int area = ioctl(ksm, KSM_CREATE_SHARED_MEMORY_AREA);
 *     struct ksm_memory_region region = { .npages = pages, .addr = (uintptr_t)memory };
 *     ioctl(area, KSM_REGISTER_MEMORY_REGION, &region);
 *     ...
 *     close(area);                     // nothing of this area is registered any more
 */
#ifndef SAMEPAGE_KSM_H
#define SAMEPAGE_KSM_H

#include <linux/types.h>
#include <sys/ioctl.h>

/* What KSM_GET_API_VERSION returns. Earlier versions of the interface said 1, too. */
#define KSM_API_VERSION 1

/* Bit 0 of the administrator's file `run`. */
#define ksm_control_flags_run 1

/* Pages of the calling process. Only npages and addr are looked at. */
struct ksm_memory_region {
	__u32 npages;        /* number of pages */
	__u32 pad;
	__u64 addr;          /* address of the first; rounded down to a page */
	__u64 reserved_bits;
};

#define KSMIO 0xAB

/* On /dev/ksm itself. */
#define KSM_GET_API_VERSION           _IO(KSMIO, 0x00)
#define KSM_CREATE_SHARED_MEMORY_AREA _IO(KSMIO, 0x01) /* returns a new descriptor: an area without regions */

/* On an area. */
#define KSM_REGISTER_MEMORY_REGION    _IOW(KSMIO, 0x20, struct ksm_memory_region)
#define KSM_REMOVE_MEMORY_REGION      _IO(KSMIO, 0x21) /* no argument: removes all regions of the area */

#endif
