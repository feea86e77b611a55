/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* What a captured sample looks like in the ring buffers: written by cpu.bpf.c and sched.bpf.c, read by
 * agent/ring.py, which holds the same layout as a numpy dtype (a test compares the two through BTF). */
#ifndef FLEETPROF_CAPTURE_H
#define FLEETPROF_CAPTURE_H

#define FP_MAX_DEPTH 127 /* frames of one stack; the kernel's default sysctl kernel.perf_event_max_stack */
#define FP_MAX_USER_DEPTH 512 /* frames of a user stack that was unwound by tables */

enum fp_type { FP_CPU = 1, FP_RUNQ = 2, FP_OFFCPU = 3 }; /* fleetprof.v1.ProfileType */

/* Why a user stack has no more frames than it has. */
enum fp_end {
	FP_END_UNKNOWN,	   /* the kernel walked along frame pointers, which does not tell */
	FP_END_ROOT,	   /* the thread's outermost frame */
	FP_END_DEPTH,	   /* deeper than the limit */
	FP_END_NO_TABLE,   /* code without a table, in which the frame pointer leads nowhere */
	FP_END_NO_RULE,	   /* the table says that it cannot be told, or by means that are not followed */
	FP_END_UNREADABLE, /* the stack could not be read, or led backwards */
	FP_END_BUDGET,	   /* code whose table had no room in memory */
	FP_END_NEW,	   /* its tables are not loaded yet; the kernel walked along frame pointers if none was */
	FP_ENDS
};

/* A record is cut after user_depth + kernel_depth addresses. */
struct fp_capture {
	__u64 time_ns;	   /* CLOCK_MONOTONIC */
	__u64 value_ns;	   /* CPU: the period; waits: unbiased weight of the blocked part, 0 when none */
	__u64 runq_ns;	   /* waits: unbiased weight of the run-queue part, 0 when none */
	__u32 pid;	   /* thread group id, initial pid namespace */
	__u32 tid;
	__u8 type;	   /* FP_CPU or FP_OFFCPU (a wait: value_ns blocked and runq_ns on the run queue) */
	__u8 wait;	   /* wait class 0..15, fleetprof.series.WAIT_CLASSES */
	__u8 truncated;	   /* a stack was as deep as FP_MAX_DEPTH */
	__u8 unreadable;   /* bit 0: the user stack could not be read, bit 1: the kernel stack */
	__u16 user_depth;
	__u8 kernel_depth;
	__u8 user_end;	   /* enum fp_end */
	char comm[16];
	/* User stack, then kernel stack, each leaf first. All but the leaf of a user stack are return addresses; where a
	 * signal interrupted the caller, the address is one more than where, so that it can be read as one. */
	__u64 addrs[FP_MAX_USER_DEPTH + FP_MAX_DEPTH];
};

#endif
