/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Where every thread's time goes: on a CPU, on the run queue, or blocked, exactly; and stacks of its waits, weighted
 * so that their sum is unbiased.
 *
 * Each thread's state lies in task storage: what it does, since when, and its totals so far. A switch or a wakeup
 * closes one state and opens the next. Whoever writes a thread's state holds its run-queue lock, so plain stores
 * do. At a window's end the `threads` iterator tells all totals; nothing is ever reset, the reader subtracts.
 *
 * The stack of a wait is taken after it, at sched_exit_tp, where the wait's length is known and only those worth it
 * cost anything (wait_budget.h). Kernels without that tracepoint (before 6.14) take it when the wait begins, with a
 * probability that follows the thread's recent waits: known beforehand, so the weights are unbiased as well.
 *
 * Some switches are seen by no tracer. A state that contradicts an event is mended: the kernel's own execution time
 * says how much of the gap was on a CPU. */
#include "kernel_types.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "sched.h"
#include "wait_budget.h"

#define PF_KTHREAD 0x00200000
#define TASK_UNINTERRUPTIBLE 0x2
#define TASK_DEAD 0x80
#define TASK_NOLOAD 0x400

#define SYSCALLS 512
#define X86_USER32_CS 0x23
#define ARM64_MODE32 0x10

/* Wait classes with a meaning here; the others come from the table (fleetprof.series.WAIT_CLASSES). */
enum { CLASS_OTHER = 0, CLASS_FAULT = 6, CLASS_KERNEL = 7, CLASS_UNINTERRUPTIBLE = 8 };

enum { MODE_OFF, MODE_TEST, MODE_RUN };
enum { STACKS_NONE, STACKS_AFTER, STACKS_BEFORE };

const volatile __u32 stacks = STACKS_AFTER;
const volatile __u32 stack_bytes = 8 * FP_MAX_DEPTH;
const volatile __u32 filter_pids = 0;
const volatile __u8 class_of_syscall[SYSCALLS] = {};

__u32 mode = MODE_OFF;
__u32 tell_all = 0; /* the reader wants full records of all threads */
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

/* Where captures are put together: 2,088 bytes for each possible CPU. */
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

/* Last records of threads that ended, 232 bytes each: sized by the loader. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1024 * 1024);
} exits SEC(".maps");

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

struct open_record {
	struct fp_thread_record record;
	__u64 addrs[FP_MAX_DEPTH];
};

/* Where the iterator puts a record together: 1,240 bytes for each possible CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct open_record);
} open_scratch SEC(".maps");

static __always_inline void count(enum fp_sched_count which)
{
	__sync_fetch_and_add(&counts[which], 1);
}

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

/* ---- a thread's state ---- */

static __always_inline struct thread *state_of(struct task_struct *task)
{
	struct thread *thread = bpf_task_storage_get(&thread_states, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!thread)
		count(FP_COUNT_NO_STORAGE);
	return thread;
}

static __always_inline void begin(struct thread *thread, __u64 now)
{
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

/* Closes a state that contradicts the event at `now`: what the kernel says was executed is on-CPU time, the rest a
 * wait, on the run queue if that is what the thread was last seen doing. */
static __always_inline void mend(struct task_struct *task, struct thread *thread, __u64 now)
{
	__u64 gap = elapsed(thread, now), executed = task->se.sum_exec_runtime - thread->exec_ns;
	if (executed > gap)
		executed = gap;
	thread->cpu_ns += executed;
	if (thread->state == FP_RUNNABLE) {
		thread->runq_ns += gap - executed;
	} else {
		if (thread->state == FP_RUNNING)
			thread->wait = task->flags & PF_KTHREAD ? CLASS_KERNEL : CLASS_OTHER;
		add_wait(thread, gap - executed);
	}
	count(FP_COUNT_MISSED);
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

/* ---- stacks of waits ---- */

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

/* Puts the current thread and both its stacks together. */
static __always_inline struct fp_capture *capture_current(void *ctx, struct task_struct *task)
{
	__u32 zero = 0;
	struct fp_capture *capture = bpf_map_lookup_elem(&scratch, &zero);
	if (!capture)
		return NULL;
	capture->pid = task->tgid;
	capture->tid = task->pid;
	capture->type = FP_OFFCPU;
	capture->truncated = 0;
	capture->unreadable = 0;
	bpf_get_current_comm(capture->comm, sizeof(capture->comm));
	__u64 user = 0;
	if (!(task->flags & PF_KTHREAD))
		user = read_stack(ctx, capture, capture->addrs, BPF_F_USER_STACK, 1);
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
	struct fp_capture *capture = capture_current(ctx, task);
	if (!capture || bpf_map_update_elem(&held, &tid, capture, BPF_ANY))
		return;
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

/* ---- events ---- */

static __always_inline void switch_out(void *ctx, struct cpu *cpu, struct task_struct *task, bool preempted,
				       unsigned int bits, __u64 now)
{
	struct thread *thread = state_of(task);
	if (!thread)
		return;
	if (thread->state == FP_RUNNING) {
		thread->cpu_ns += elapsed(thread, now);
	} else if (thread->state == FP_UNKNOWN) {
		begin(thread, now);
		count(FP_COUNT_UNKNOWN);
	} else {
		mend(task, thread, now);
	}
	thread->since_ns = now;
	thread->blocked_ns = 0;
	thread->exec_ns = task->se.sum_exec_runtime;
	thread->resumes = 1;
	if (preempted || !bits) {
		thread->state = FP_RUNNABLE;
		thread->wait = 0;
	} else if (bits & TASK_DEAD) {
		thread->state = FP_DEAD;
		tell_exit(task, thread, now);
		return;
	} else {
		thread->state = FP_BLOCKED;
		thread->wait = wait_class(task, bits);
	}
	if (stacks == STACKS_BEFORE)
		hold_stack(ctx, cpu, task, thread, now);
}

static __always_inline void switch_in(struct cpu *cpu, struct task_struct *task, __u64 now)
{
	struct thread *thread = state_of(task);
	struct wait_parts parts = {};
	if (!thread)
		return;
	if (thread->state == FP_RUNNABLE) {
		thread->runq_ns += elapsed(thread, now);
		parts = parts_in_window(thread, now);
	} else if (thread->state == FP_UNKNOWN) {
		begin(thread, now);
		count(FP_COUNT_UNKNOWN);
	} else {
		mend(task, thread, now);
	}
	if (stacks == STACKS_AFTER && thread->resumes)
		plan_capture(cpu, task, parts, thread->wait, now);
	if (stacks == STACKS_BEFORE)
		send_held(task, thread, parts, now);
	thread->state = FP_RUNNING;
	thread->since_ns = now;
	thread->blocked_ns = 0;
}

/* Whether the layout that CO-RE found is right: the thread that is switched out is the current one. */
static __always_inline void test_layout(struct task_struct *prev)
{
	__u32 tid = bpf_get_current_pid_tgid();
	if (!tid && !prev->pid)
		return;
	count(FP_COUNT_TESTED);
	if (prev->pid != tid)
		count(FP_COUNT_TEST_FAILED);
}

static __always_inline int switched(void *ctx, bool preempted, struct task_struct *prev, struct task_struct *next,
				    unsigned int bits)
{
	if (mode == MODE_TEST)
		test_layout(prev);
	if (mode != MODE_RUN)
		return 0;
	struct cpu *cpu = this_cpu();
	if (!cpu)
		return 0;
	__u64 now = bpf_ktime_get_ns();
	cpu->pending.tid = 0;
	if (prev->pid)
		switch_out(ctx, cpu, prev, preempted, bits, now);
	if (next->pid)
		switch_in(cpu, next, now);
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(sched_switch, bool preempted, struct task_struct *prev, struct task_struct *next, unsigned int bits)
{
	return switched(ctx, preempted, prev, next, bits);
}

/* Before 5.18 the state is not an argument, and a racing wakeup may already have changed it. */
SEC("tp_btf/sched_switch")
int BPF_PROG(sched_switch_3, bool preempted, struct task_struct *prev, struct task_struct *next)
{
	return switched(ctx, preempted, prev, next, state_bits(prev));
}

static __always_inline int woken(struct task_struct *task, bool is_new)
{
	if (mode != MODE_RUN)
		return 0;
	struct thread *thread = state_of(task);
	if (!thread)
		return 0;
	__u64 now = bpf_ktime_get_ns();
	if (thread->state == FP_BLOCKED) {
		__u64 blocked_ns = elapsed(thread, now);
		add_wait(thread, blocked_ns);
		thread->blocked_ns = blocked_ns;
	} else if (thread->state == FP_RUNNING && !task->on_cpu) {
		mend(task, thread, now);
		thread->exec_ns = task->se.sum_exec_runtime;
		thread->blocked_ns = 0;
	} else if (thread->state == FP_UNKNOWN) {
		begin(thread, now);
		if (!is_new)
			count(FP_COUNT_UNKNOWN);
	} else {
		return 0;
	}
	thread->since_ns = now;
	thread->state = FP_RUNNABLE;
	return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(sched_wakeup, struct task_struct *task)
{
	return woken(task, false);
}

SEC("tp_btf/sched_wakeup_new")
int BPF_PROG(sched_wakeup_new, struct task_struct *task)
{
	return woken(task, true);
}

/* The switch is over, the resumed thread is the current one, and interrupts are on again. */
SEC("tp_btf/sched_exit_tp")
int BPF_PROG(sched_exit)
{
	struct cpu *cpu = this_cpu();
	if (!cpu || !cpu->pending.tid)
		return 0;
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 tid = cpu->pending.tid;
	cpu->pending.tid = 0;
	if (task->pid != tid) {
		count(FP_COUNT_NOT_RESUMED);
		return 0;
	}
	struct fp_capture *capture = capture_current(ctx, task);
	if (!capture)
		return 0;
	capture->time_ns = cpu->pending.time_ns;
	capture->value_ns = cpu->pending.blocked_weight;
	capture->runq_ns = cpu->pending.runq_weight;
	capture->wait = cpu->pending.wait;
	send_capture(capture);
	return 0;
}

/* ---- the end of a window ---- */

static __always_inline void meet(struct task_struct *task, struct thread *thread)
{
	struct sched_entity___delayed *entity = (void *)&task->se;
	__u64 now = bpf_ktime_get_ns();
	__u8 state = FP_BLOCKED, wait = 0;
	if (task->on_cpu)
		state = FP_RUNNING;
	else if (task->on_rq &&
		 !(bpf_core_field_exists(entity->sched_delayed) && BPF_CORE_READ(entity, sched_delayed)))
		state = FP_RUNNABLE;
	else
		wait = wait_class(task, state_bits(task));
	if (thread->state != FP_UNKNOWN)
		return; /* an event came first */
	begin(thread, now);
	thread->exec_ns = task->se.sum_exec_runtime;
	thread->wait = wait;
	thread->resumes = 1;
	thread->state = state;
}

/* A thread that is neither on a CPU nor queued was switched out unseen. The millisecond keeps a switch that happens
 * just now on another CPU out of this. */
static __always_inline void find_missed(struct task_struct *task, struct thread *thread)
{
	__u64 now = bpf_ktime_get_ns();
	if (thread->state != FP_RUNNING || task->on_cpu || task->on_rq || elapsed(thread, now) < 1000000)
		return;
	mend(task, thread, now);
	thread->exec_ns = task->se.sum_exec_runtime;
	thread->wait = wait_class(task, state_bits(task));
	thread->since_ns = now;
	thread->state = FP_BLOCKED;
}

/* Whether a record is of one piece although its thread may run meanwhile: its parts add up to its time. */
static __always_inline bool is_whole(struct fp_thread_record *record)
{
	__u64 sum = record->cpu_ns + record->runq_ns;
	for (int class = 0; class < FP_WAIT_CLASSES; class ++)
		sum += record->wait_ns[class];
	return sum == record->since_ns - record->born_ns;
}

static __always_inline bool read_whole(struct task_struct *task, struct thread *thread,
				       struct fp_thread_record *record)
{
	for (int attempt = 0; attempt < 4; attempt++) {
		__u64 now = bpf_ktime_get_ns();
		*(volatile __u64 *)&thread->window_ns = now;
		fill_record(task, thread, now, record);
		if (record->since_ns > now)
			record->head.now_ns = record->since_ns;
		if (is_whole(record))
			return true;
	}
	return false;
}

static __always_inline void tell_head(struct seq_file *seq, struct thread *thread, enum fp_record_kind kind)
{
	__u64 now = bpf_ktime_get_ns();
	struct fp_record_head head = {
		.size = sizeof(head),
		.kind = kind,
		.id = thread->id,
		.now_ns = now,
	};
	*(volatile __u64 *)&thread->window_ns = now;
	bpf_seq_write(seq, &head, sizeof(head));
}

SEC("iter/task")
int threads(struct bpf_iter__task *ctx)
{
	struct seq_file *seq = ctx->meta->seq;
	struct task_struct *task = ctx->task;
	__u32 zero = 0;
	if (!task)
		return 0;
	struct thread *thread = state_of(task);
	struct open_record *open = bpf_map_lookup_elem(&open_scratch, &zero);
	if (!thread || !open)
		return 0;
	if (thread->state == FP_UNKNOWN)
		meet(task, thread);
	find_missed(task, thread);
	__u64 since_ns = *(volatile __u64 *)&thread->since_ns;
	if (!tell_all && thread->state == FP_BLOCKED && thread->told_ns == since_ns) {
		tell_head(seq, thread, FP_THREAD_SAME);
		return 0;
	}
	struct fp_thread_record *record = &open->record;
	if (!read_whole(task, thread, record)) {
		tell_head(seq, thread, FP_THREAD_UNSTEADY);
		return 0;
	}
	record->head.kind = FP_THREAD_FULL;
	__u64 bytes = 0;
	if (record->head.state == FP_BLOCKED || record->head.state == FP_RUNNABLE) {
		bytes = bpf_get_task_stack(task, open->addrs, stack_bytes, 0);
		asm volatile("" : "+r"(bytes));
		if (bytes > 8 * FP_MAX_DEPTH)
			bytes = 0;
	}
	if (record->head.state == FP_BLOCKED)
		thread->told_ns = record->since_ns;
	record->depth = bytes / 8;
	record->head.size = sizeof(*record) + bytes;
	bpf_seq_write(seq, open, sizeof(*record) + bytes);
	return 0;
}

char LICENSE[] SEC("license") = "GPL"; /* the half of the dual licence that the kernel asks for */
