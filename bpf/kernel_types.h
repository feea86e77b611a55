/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The few kernel structures that the scheduler program reads, with the fields it reads. The layout is not the
 * kernel's: libbpf moves every access to where the running kernel's BTF has the field (CO-RE). A name ending in
 * ___something is another version of the structure before the three underscores. */
#ifndef FLEETPROF_KERNEL_TYPES_H
#define FLEETPROF_KERNEL_TYPES_H

#include <linux/bpf.h>
#include <stdbool.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sched_entity {
	__u64 sum_exec_runtime; /* nanoseconds on a CPU, brought up to date at every switch-out */
};

/* Since 6.12 a sleeper may stay queued for a while. */
struct sched_entity___delayed {
	unsigned char sched_delayed;
};

struct task_struct {
	unsigned int __state;
	unsigned int flags;
	int on_cpu;
	int on_rq;
	__u32 pid;  /* what user space calls the thread id */
	__u32 tgid; /* what user space calls the process id */
	unsigned long nvcsw;  /* switches because it blocked */
	unsigned long nivcsw; /* other switches */
	__u64 start_boottime;
	char comm[16];
	struct sched_entity se;
};

/* Before 5.14. */
struct task_struct___state {
	volatile long state;
};

struct pt_regs___x86 {
	unsigned long orig_ax;
	unsigned short cs;
};

struct pt_regs___arm64 {
	int syscallno;
	__u64 pstate;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

#pragma clang attribute pop

#endif
