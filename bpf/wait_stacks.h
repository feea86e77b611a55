/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Taking stacks of waits: after the wait at sched_exit_tp, or before it where that is missing. */
#ifndef FLEETPROF_WAIT_STACKS_H
#define FLEETPROF_WAIT_STACKS_H

#include "thread_state.h"
#include "wait_budget.h"
#ifdef FP_UNWIND
#include "unwind.h"
#endif

enum { STACKS_NONE, STACKS_AFTER, STACKS_BEFORE };
const volatile __u32 stacks = STACKS_AFTER;
const volatile __u32 stack_bytes = 8 * FP_MAX_DEPTH;
const volatile __u32 filter_pids = 0;

/* A wait that ended on this CPU and whose stack is to be taken as soon as the switch is over. */
struct pending {
	__u64 time_ns;
	__u64 blocked_weight;
	__u64 runq_weight;
	__u32 tid; /* 0: none */
	__u8 wait;
};

struct cpu {
	struct pending pending;
	struct fp_budget budget;
};

/* 56 bytes for each possible CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cpu);
} cpus SEC(".maps");

/* Where captures are put together: 5,168 bytes for each possible CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fp_capture);
} scratch SEC(".maps");

/* Captured waits on their way to the agent: sized by the loader (agent/sched.py). */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 512 * 1024);
} captures SEC(".maps");

/* STACKS_BEFORE: stacks of waits in progress by thread, the longest untouched thrown out when full. The loader
 * gives it 2,048 entries (4.4 MB) where it is used and one where not. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fp_capture);
} held SEC(".maps");

/* Process ids whose stacks are kept when filter_pids is set: resized by the loader to their number. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u8);
} only_pids SEC(".maps");

static __always_inline struct cpu *this_cpu(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&cpus, &zero);
}

static __always_inline bool wants_stacks(struct task_struct *task)
{
	__u32 pid = task->tgid;
	return !filter_pids || bpf_map_lookup_elem(&only_pids, &pid);
}

/* Copies one stack to `addrs` and returns its bytes, 0 for one that is absent. A failure, a negative number, sets
 * `failed` in capture->unreadable. */
static __always_inline __u64 read_stack(void *ctx, struct fp_capture *capture, void *addrs, __u64 flags,
					__u8 failed)
{
	__u64 bytes = bpf_get_stack(ctx, addrs, stack_bytes, flags);
	/* Keeps clang from proving a bound on one register and using another. */
	asm volatile("" : "+r"(bytes));
	if (bytes > 8 * FP_MAX_DEPTH) {
		capture->unreadable |= failed;
		return 0;
	}
	if (bytes >= stack_bytes)
		capture->truncated = 1;
	return bytes;
}

/* Copies the user stack to capture->addrs and returns its bytes, 0 for a kernel thread. */
static __always_inline __u64 read_user_stack(void *ctx, struct task_struct *task, struct fp_capture *capture)
{
	if (task->flags & PF_KTHREAD)
		return 0;
#ifdef FP_UNWIND
	__u64 depth = unwind_waiting(task, capture);
	asm volatile("" : "+r"(depth));
	if (depth && depth <= FP_MAX_USER_DEPTH)
		return 8 * depth;
#endif
	return read_stack(ctx, capture, capture->addrs, BPF_F_USER_STACK, 1);
}

/* Puts the current thread and both its stacks together. */
static __always_inline struct fp_capture *capture_current(void *ctx, struct task_struct *task, __u64 now)
{
	__u32 zero = 0;
	struct fp_capture *capture = bpf_map_lookup_elem(&scratch, &zero);
	if (!capture)
		return NULL;
	capture->time_ns = now;
	capture->pid = task->tgid;
	capture->tid = task->pid;
	capture->type = FP_OFFCPU;
	capture->truncated = 0;
	capture->unreadable = 0;
	capture->user_end = 0;
	bpf_get_current_comm(capture->comm, sizeof(capture->comm));
	__u64 user = read_user_stack(ctx, task, capture);
	__u64 kernel = read_stack(ctx, capture, (char *)capture->addrs + user, 0, 2);
	capture->user_depth = user / 8;
	capture->kernel_depth = kernel / 8;
	return capture;
}

static __always_inline void send_capture(struct fp_capture *capture)
{
	__u64 size = __builtin_offsetof(struct fp_capture, addrs) +
		     8 * ((__u64)capture->user_depth + capture->kernel_depth);
	asm volatile("" : "+r"(size));
	if (size > sizeof(*capture))
		return;
	if (bpf_ringbuf_output(&captures, capture, size, BPF_RB_NO_WAKEUP))
		count(FP_COUNT_RING_FULL);
	else
		count(FP_COUNT_KEPT);
}

/* The parts, inside the current window, of the wait that ends with a switch-in at `now`. */
struct wait_parts {
	__u64 blocked_ns;
	__u64 runq_ns;
};

static __always_inline struct wait_parts parts_in_window(struct thread *thread, __u64 now)
{
	struct wait_parts parts = { .runq_ns = elapsed(thread, now) };
	if (thread->window_ns <= thread->since_ns) {
		__u64 inside = thread->since_ns - thread->window_ns;
		parts.blocked_ns = thread->blocked_ns < inside ? thread->blocked_ns : inside;
	} else if (parts.runq_ns) {
		parts.runq_ns = now > thread->window_ns ? now - thread->window_ns : 0;
	}
	return parts;
}

/* STACKS_AFTER: decides whether the stack of this wait is taken when the switch is over. One random number decides
 * on both parts, so that one stack often serves both. */
static __always_inline void plan_capture(struct cpu *cpu, struct task_struct *task, struct wait_parts parts,
					 __u8 wait, __u64 now)
{
	__u64 longer = parts.blocked_ns > parts.runq_ns ? parts.blocked_ns : parts.runq_ns;
	__u64 threshold = threshold_at(&cpu->budget, now), random = random_below(threshold);
	if (longer <= random || !wants_stacks(task))
		return;
	raise_threshold(&cpu->budget, threshold, now);
	cpu->pending.blocked_weight = weight_of(parts.blocked_ns, random, threshold);
	cpu->pending.runq_weight = weight_of(parts.runq_ns, random, threshold);
	cpu->pending.wait = wait;
	cpu->pending.time_ns = now;
	cpu->pending.tid = task->pid;
}

/* STACKS_BEFORE: perhaps takes the stack of the wait that begins. The probability is as for a wait of the thread's
 * usual length, but never less than for 1/64 of the floor: a thread may wait longer than it ever did. */
static __always_inline void hold_stack(void *ctx, struct cpu *cpu, struct task_struct *task,
				       struct thread *thread, __u64 now)
{
	__u64 expected = thread->usual_ns > FP_FLOOR_NS / 64 ? thread->usual_ns : FP_FLOOR_NS / 64;
	__u64 threshold = threshold_at(&cpu->budget, now);
	__u32 tid = task->pid;
	thread->factor = 0;
	if (random_below(threshold) >= expected || !wants_stacks(task))
		return;
	raise_threshold(&cpu->budget, threshold, now);
	struct fp_capture *capture = capture_current(ctx, task, now);
	if (!capture || bpf_map_update_elem(&held, &tid, capture, BPF_ANY)) {
		count(FP_COUNT_EVICTED);
		return;
	}
	thread->factor = expected >= threshold ? 1 << 16 : (threshold << 16) / expected;
}

/* STACKS_BEFORE: the wait is over and its weight known. */
static __always_inline void send_held(struct task_struct *task, struct thread *thread, struct wait_parts parts,
				      __u64 now)
{
	__u32 tid = task->pid;
	__u64 whole_ns = elapsed(thread, now) + thread->blocked_ns;
	thread->usual_ns = (thread->usual_ns * 7 + whole_ns) / 8;
	if (!thread->factor)
		return;
	struct fp_capture *capture = bpf_map_lookup_elem(&held, &tid);
	if (!capture || capture->pid != task->tgid) {
		count(FP_COUNT_EVICTED);
	} else {
		capture->time_ns = now;
		capture->wait = thread->wait;
		capture->value_ns = parts.blocked_ns * thread->factor >> 16;
		capture->runq_ns = parts.runq_ns * thread->factor >> 16;
		send_capture(capture);
		bpf_map_delete_elem(&held, &tid);
	}
	thread->factor = 0;
}

#endif
