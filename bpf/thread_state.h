/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* A followed thread: what it does, since when, and its totals so far; which class of wait it is in. */
#ifndef FLEETPROF_THREAD_STATE_H
#define FLEETPROF_THREAD_STATE_H

#include "kernel_types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "sched.h"

#define PF_KTHREAD 0x00200000
#define TASK_UNINTERRUPTIBLE 0x2
#define TASK_DEAD 0x80
#define TASK_NOLOAD 0x400

#define SYSCALLS 512
#define X86_USER32_CS 0x23
#define ARM64_MODE32 0x10

/* Wait classes with a meaning here; the others come from the table (fleetprof.series.WAIT_CLASSES). */
enum { CLASS_OTHER = 0, CLASS_FAULT = 6, CLASS_KERNEL = 7, CLASS_UNINTERRUPTIBLE = 8 };

const volatile __u8 class_of_syscall[SYSCALLS] = {};

__u64 last_id = 0;
__u64 counts[FP_COUNTS] = {};

struct thread {
	__u64 id;
	__u64 born_ns;
	__u64 since_ns;
	__u64 cpu_ns;
	__u64 runq_ns;
	__u64 wait_ns[FP_WAIT_CLASSES];
	__u64 blocked_ns; /* runnable: how long it was blocked before */
	__u64 window_ns;  /* when the iterator last came by: earlier time is told already */
	__u64 told_ns;	  /* since_ns of the wait that the iterator has told in full */
	__u64 exec_ns;	  /* the kernel's sum_exec_runtime at the last switch-out */
	__u64 blocks;	  /* the kernel's nvcsw then */
	__u64 switches;	  /* the kernel's nvcsw + nivcsw then */
	__u64 usual_ns;	  /* STACKS_BEFORE: moving average of its waits */
	__u64 factor;	  /* STACKS_BEFORE: 2^16 / probability of the stack that was kept, 0: none */
	__u8 state;
	__u8 wait;
	__u8 resumes; /* the next switch-in returns from a switch-out (not a thread's very first) */
};

/* About 0.6 KB a thread with the kernel's own overhead; freed with the thread. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct thread);
} thread_states SEC(".maps");

/* Last records of threads that ended, 232 bytes each: sized by the loader. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1024 * 1024);
} exits SEC(".maps");

static __always_inline void count(enum fp_sched_count which)
{
	__sync_fetch_and_add(&counts[which], 1);
}

static __always_inline struct thread *state_of(struct task_struct *task)
{
	struct thread *thread = bpf_task_storage_get(&thread_states, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!thread)
		count(FP_COUNT_NO_STORAGE);
	return thread;
}

/* Remembers the kernel's own counters, to tell later what happened unseen. */
static __always_inline void remember_counters(struct task_struct *task, struct thread *thread)
{
	thread->exec_ns = task->se.sum_exec_runtime;
	thread->blocks = task->nvcsw;
	thread->switches = task->nvcsw + task->nivcsw;
}

static __always_inline void begin(struct task_struct *task, struct thread *thread, __u64 now)
{
	remember_counters(task, thread);
	thread->id = __sync_fetch_and_add(&last_id, 1) + 1;
	thread->born_ns = thread->since_ns = thread->window_ns = now;
}

static __always_inline void add_wait(struct thread *thread, __u64 ns)
{
	thread->wait_ns[thread->wait & (FP_WAIT_CLASSES - 1)] += ns;
}

static __always_inline __u64 elapsed(struct thread *thread, __u64 now)
{
	return now > thread->since_ns ? now - thread->since_ns : 0;
}

/* Closes a state that contradicts the kernel's counters or the event at `now`: what the kernel says was executed is
 * on-CPU time, the rest a wait. A thread seen last on a CPU waited for one if it has not blocked since (`blocks`
 * counts that, without the event itself), else nobody knows for what. */
static __always_inline void mend(struct task_struct *task, struct thread *thread, __u64 blocks, __u64 now)
{
	__u64 gap = elapsed(thread, now), executed = task->se.sum_exec_runtime - thread->exec_ns;
	if (executed > gap)
		executed = gap;
	thread->cpu_ns += executed;
	if (thread->state == FP_RUNNABLE || (thread->state == FP_RUNNING && blocks == thread->blocks)) {
		thread->runq_ns += gap - executed;
	} else {
		if (thread->state == FP_RUNNING)
			thread->wait = task->flags & PF_KTHREAD ? CLASS_KERNEL : CLASS_OTHER;
		add_wait(thread, gap - executed);
	}
	remember_counters(task, thread);
	count(FP_COUNT_MISSED);
}

/* Whether a waiting thread has been on a CPU unseen. */
static __always_inline bool has_run(struct task_struct *task, struct thread *thread)
{
	return task->se.sum_exec_runtime != thread->exec_ns;
}

/* Whether a running thread that is just leaving has left and come back unseen. */
static __always_inline bool has_left(struct task_struct *task, struct thread *thread)
{
	return task->nvcsw + task->nivcsw != thread->switches + 1;
}

static __always_inline unsigned int state_bits(struct task_struct *task)
{
	if (bpf_core_field_exists(task->__state))
		return task->__state;
	return BPF_CORE_READ((struct task_struct___state *)task, state);
}

static __always_inline __u8 syscall_class(struct task_struct *task)
{
	if (!bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return CLASS_OTHER; /* before 5.15 */
	long number = -1;
	bool is_32bit = false;
	void *regs = (void *)bpf_task_pt_regs(task);
	struct pt_regs___x86 *x86 = regs;
	struct pt_regs___arm64 *arm64 = regs;
	if (bpf_core_field_exists(x86->orig_ax)) {
		number = BPF_CORE_READ(x86, orig_ax);
		is_32bit = BPF_CORE_READ(x86, cs) == X86_USER32_CS;
	} else if (bpf_core_field_exists(arm64->syscallno)) {
		number = BPF_CORE_READ(arm64, syscallno);
		is_32bit = BPF_CORE_READ(arm64, pstate) & ARM64_MODE32;
	}
	if (number < 0)
		return CLASS_FAULT;
	if (number >= SYSCALLS || is_32bit) /* 32-bit programs number their calls differently */
		return CLASS_OTHER;
	return class_of_syscall[number & (SYSCALLS - 1)] & 7;
}

static __always_inline __u8 wait_class(struct task_struct *task, unsigned int bits)
{
	__u8 class = task->flags & PF_KTHREAD ? CLASS_KERNEL : syscall_class(task);
	if ((bits & TASK_UNINTERRUPTIBLE) && !(bits & TASK_NOLOAD))
		class |= CLASS_UNINTERRUPTIBLE;
	return class;
}

static __always_inline void fill_record(struct task_struct *task, struct thread *thread, __u64 now,
					struct fp_thread_record *record)
{
	record->head.size = sizeof(*record);
	record->head.state = thread->state;
	record->head.wait = thread->wait;
	record->head.pad = 0;
	record->head.id = thread->id;
	record->head.now_ns = now;
	record->born_ns = thread->born_ns;
	record->since_ns = thread->since_ns;
	record->cpu_ns = thread->cpu_ns;
	record->runq_ns = thread->runq_ns;
	__builtin_memcpy(record->wait_ns, thread->wait_ns, sizeof(record->wait_ns));
	record->start_ns = task->start_boottime;
	record->pid = task->tgid;
	record->tid = task->pid;
	__builtin_memset(record->comm, 0, sizeof(record->comm));
	bpf_probe_read_kernel_str(record->comm, sizeof(record->comm), task->comm);
	record->depth = 0;
}

static __always_inline void tell_exit(struct task_struct *task, struct thread *thread, __u64 now)
{
	struct fp_thread_record *record = bpf_ringbuf_reserve(&exits, sizeof(*record), 0);
	if (!record) {
		count(FP_COUNT_EXIT_LOST);
		return;
	}
	fill_record(task, thread, now, record);
	record->head.kind = FP_THREAD_EXIT;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

#endif
