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
#include "thread_state.h"
#include "wait_stacks.h"

enum { MODE_OFF, MODE_TEST, MODE_RUN };

__u32 mode = MODE_OFF;
__u32 tell_all = 0; /* the reader wants full records of all threads */

static __always_inline void switch_out(void *ctx, struct cpu *cpu, struct task_struct *task, bool preempted,
				       unsigned int bits, __u64 now)
{
	struct thread *thread = state_of(task);
	if (!thread)
		return;
	bool blocks = !preempted && bits;
	if (thread->state == FP_RUNNING && !has_left(task, thread)) {
		thread->cpu_ns += elapsed(thread, now);
	} else if (thread->state == FP_UNKNOWN) {
		begin(task, thread, now);
		count(FP_COUNT_UNKNOWN);
	} else {
		mend(task, thread, task->nvcsw - blocks, now);
	}
	thread->since_ns = now;
	thread->blocked_ns = 0;
	remember_counters(task, thread);
	thread->resumes = 1;
	if (!blocks) {
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
	if (thread->state == FP_RUNNABLE && !has_run(task, thread)) {
		thread->runq_ns += elapsed(thread, now);
		parts = parts_in_window(thread, now);
	} else if (thread->state == FP_UNKNOWN) {
		begin(task, thread, now);
		count(FP_COUNT_UNKNOWN);
	} else {
		mend(task, thread, task->nvcsw, now);
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
	if (thread->state == FP_BLOCKED && !has_run(task, thread)) {
		__u64 blocked_ns = elapsed(thread, now);
		add_wait(thread, blocked_ns);
		thread->blocked_ns = blocked_ns;
	} else if (thread->state == FP_BLOCKED || (thread->state == FP_RUNNING && !task->on_cpu)) {
		mend(task, thread, task->nvcsw, now);
		thread->blocked_ns = 0;
	} else if (thread->state == FP_UNKNOWN) {
		begin(task, thread, now);
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
	struct fp_capture *capture = capture_current(ctx, task, cpu->pending.time_ns);
	if (!capture)
		return 0;
	capture->value_ns = cpu->pending.blocked_weight;
	capture->runq_ns = cpu->pending.runq_weight;
	capture->wait = cpu->pending.wait;
	send_capture(capture);
	return 0;
}

/* ---- the end of a window ---- */

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

/* What the thread does right now, and its wait class if it is blocked. */
static __always_inline __u8 state_now(struct task_struct *task, __u8 *wait)
{
	struct sched_entity___delayed *entity = (void *)&task->se;
	*wait = 0;
	if (task->on_cpu)
		return FP_RUNNING;
	if (task->on_rq && !(bpf_core_field_exists(entity->sched_delayed) && BPF_CORE_READ(entity, sched_delayed)))
		return FP_RUNNABLE;
	*wait = wait_class(task, state_bits(task));
	return FP_BLOCKED;
}

static __always_inline void meet(struct task_struct *task, struct thread *thread)
{
	__u8 wait, state = state_now(task, &wait);
	if (thread->state != FP_UNKNOWN)
		return; /* an event came first */
	begin(task, thread, bpf_ktime_get_ns());
	thread->wait = wait;
	thread->resumes = 1;
	thread->state = state;
}

/* Mends a thread that was switched in or out unseen. The millisecond keeps switches out that happen just now on
 * another CPU: the event comes before on_cpu changes. */
static __always_inline void find_missed(struct task_struct *task, struct thread *thread)
{
	__u8 wait, state = state_now(task, &wait);
	__u8 told = *(volatile __u8 *)&thread->state;
	bool plausible = told == FP_RUNNING ? state == FP_RUNNING : state != FP_RUNNING;
	__u64 now = bpf_ktime_get_ns();
	if (plausible || told == FP_DEAD || elapsed(thread, now) < 1000000)
		return;
	mend(task, thread, task->nvcsw, now);
	thread->wait = wait;
	thread->blocked_ns = 0;
	thread->since_ns = now;
	thread->state = state;
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
