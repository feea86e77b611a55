/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* What sched.bpf.c tells the agent about a thread; agent/sched_records.py holds the same layout as a numpy dtype
 * (a test compares the two through BTF). */
#ifndef FLEETPROF_SCHED_H
#define FLEETPROF_SCHED_H

#include "capture.h"

#define FP_WAIT_CLASSES 16

/* Where a thread's time goes at the moment. */
enum fp_state { FP_UNKNOWN, FP_RUNNING, FP_RUNNABLE, FP_BLOCKED, FP_DEAD };

enum fp_record_kind {
	FP_THREAD_FULL = 1, /* struct fp_thread_record and the thread's kernel stack */
	FP_THREAD_SAME = 2, /* struct fp_record_head only: still in the same wait as at the last full record */
	FP_THREAD_EXIT = 3, /* struct fp_thread_record: the thread's last one */
	FP_THREAD_UNSTEADY = 4, /* struct fp_record_head only: it changed at every attempt to read it; see next time */
};

struct fp_record_head {
	__u32 size; /* bytes of the whole record, a multiple of 8 */
	__u8 kind;  /* enum fp_record_kind */
	__u8 state; /* enum fp_state */
	__u8 wait;  /* wait class of FP_BLOCKED */
	__u8 pad;
	__u64 id;     /* of this thread since the programs were attached; never used twice */
	__u64 now_ns; /* CLOCK_MONOTONIC: the record is the thread's state at this moment */
};

/* Totals since born_ns. cpu + runq + all waits == since - born, and the current state has lasted since then. */
struct fp_thread_record {
	struct fp_record_head head;
	__u64 born_ns;	/* when following this thread began */
	__u64 since_ns; /* when the current state began */
	__u64 cpu_ns;
	__u64 runq_ns;
	__u64 wait_ns[FP_WAIT_CLASSES];
	__u64 start_ns; /* CLOCK_BOOTTIME at which the kernel made the thread */
	__u32 pid;
	__u32 tid;
	char comm[16];
	__u64 depth; /* addresses that follow */
};

/* Counted events, in the order of the array `counts`. */
enum fp_sched_count {
	FP_COUNT_MISSED,	/* a switch or wakeup that was not seen, mended with the kernel's own counter */
	FP_COUNT_UNKNOWN,	/* an event of a thread that was not followed: counted from here on */
	FP_COUNT_NO_STORAGE,	/* a thread's state could not be allocated */
	FP_COUNT_RING_FULL,	/* a wait's stack or */
	FP_COUNT_EXIT_LOST,	/* a thread's last record did not fit into its ring */
	FP_COUNT_NOT_RESUMED,	/* another thread than the expected one ended the switch: a stack not taken */
	FP_COUNT_EVICTED,	/* a stack taken before the wait was thrown out before the wait ended */
	FP_COUNT_KEPT,		/* stacks of waits that were kept */
	FP_COUNT_TESTED,	/* self-test: switches seen */
	FP_COUNT_TEST_FAILED,	/* self-test: of those, with a wrong pid in task_struct */
	FP_COUNTS,
};

#endif
