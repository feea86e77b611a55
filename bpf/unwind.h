/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Walks a user stack by unwind tables (unwind_tables.h), and by frame pointers through code that has none.
 *
 * The walk follows what a debugger does with .eh_frame, cut down to the registers that lead on: instruction pointer,
 * stack pointer, frame pointer and a third one (rbx; the link register on arm64). It needs bpf_loop (Linux 5.17). */
#ifndef FLEETPROF_UNWIND_H
#define FLEETPROF_UNWIND_H

#include "unwind_rules.h"

const volatile __u32 unwind_depth = FP_MAX_USER_DEPTH;

/* What one turn of the walk's loop is given. */
struct turn {
	struct walk *walk;
	struct fp_capture *capture;
};

static __always_inline bool read_word(__u64 *value, __u64 addr)
{
	return !bpf_probe_read_user(value, sizeof(*value), (void *)addr);
}

/* Forgets what was read of the stack before. */
static __always_inline void forget_window(struct walk *walk)
{
	walk->window_at = ~0ULL;
	walk->by_word = 0;
}

/* Reads a word of the stack. Not inlined: it is in many places, and code that is not there costs more than a call. */
static __attribute__((noinline)) bool read_stack_word(struct walk *walk, __u64 *value, __u64 addr)
{
	if (addr - walk->window_at > 8 * (FP_WINDOW_WORDS - 1) && !walk->by_word) {
		walk->window_at = addr - FP_WINDOW_BELOW;
		if (bpf_probe_read_user(walk->window, sizeof(walk->window), (void *)walk->window_at)) {
			walk->window_at = ~0ULL;
			walk->by_word = 1;
		}
	}
	__u64 at = addr - walk->window_at;
	if (at > 8 * (FP_WINDOW_WORDS - 1))
		return read_word(value, addr);
	*value = *(__u64 *)((char *)walk->window + at);
	return true;
}

#if defined(__TARGET_ARCH_x86)
/* Whether a return address is where signal handlers return to: "mov $15, %rax; syscall" is all there is, in C libraries
 * without tables (musl) and in Go. */
static __always_inline bool returns_from_signal(struct walk *walk)
{
	__u64 code;
	return !walk->exact && read_word(&code, walk->now.ip) && code == 0x0f0000000fc0c748ULL;
}

/* Whether all that is left of a function after its call is "add $8, %rsp; ret": CPython's trampolines (-X perf) have no
 * tables. */
static __always_inline bool only_returns(struct walk *walk)
{
	__u64 code;
	return !walk->exact && read_word(&code, walk->now.ip) && (code & 0xffffffffffULL) == 0xc308c48348ULL;
}
static const struct fp_rule returning_frame = { .cfa = FP_CFA_SP, .cfa_offset = 16 };

/* The signal frame at the stack pointer: struct ucontext, whose registers are where the psABI has them. */
static const struct fp_rule signal_frame = {
	.cfa = FP_CFA_SIGNAL, .fp = FP_AT_SP, .third = FP_AT_SP, .cfa_offset = 160, .fp_offset = 120, .third_offset = 128,
};
#else
static __always_inline bool returns_from_signal(struct walk *walk)
{
	return false; /* the vDSO does it, which has a table */
}
static __always_inline bool only_returns(struct walk *walk)
{
	return false;
}
static const struct fp_rule signal_frame, returning_frame;
#endif

/* Goes to the caller by a frame record, {caller's frame pointer, return address}, if the frame pointer leads to one
 * that returns into code of this process. Returns whether the walk is over. */
static __always_inline long by_frame_pointer(struct walk *walk)
{
	__u64 record[2], fp = walk->now.fp;
	if (!fp && walk->caller) {
		walk->why = FP_END_ROOT; /* the ABI's mark of the outermost frame */
		return 1;
	}
	if (!walk->why)
		walk->why = FP_END_NO_TABLE;
	if ((fp & 7) || !read_stack_word(walk, &record[0], fp) || !read_stack_word(walk, &record[1], fp + 8))
		return 1;
	if (!record[1] && walk->caller) {
		walk->why = FP_END_ROOT;
		return 1;
	}
	if (!find_mapping(walk, record[1] - 1) && !in_code_heap(&walk->heap, record[1] - 1))
		return 1;
	walk->now.ip = record[1];
	walk->now.sp = fp + sizeof(record);
	walk->now.fp = record[0];
	walk->exact = 0;
	walk->why = FP_END_UNKNOWN;
	return 0;
}

static __always_inline bool scratch_register(struct registers *now, __u8 number, __u64 *value)
{
	static const __u8 numbers[] = SCRATCH_NUMBERS;
	for (int i = 0; i < 3; i++)
		if (number == numbers[i])
			*value = now->scratch[i];
	return *value;
}

static __always_inline bool frame_address(struct walk *walk, const struct fp_rule *rule, __u64 *cfa)
{
	struct registers *now = &walk->now;
	__s64 offset = rule->cfa_offset;
	switch (rule->cfa) {
	case FP_CFA_SP: *cfa = now->sp + offset; return true;
	case FP_CFA_FP: *cfa = now->fp + offset; return true;
	case FP_CFA_THIRD: *cfa = now->third + offset; return true;
	case FP_CFA_PLT: *cfa = now->sp + 8 + ((now->ip & 15) >= (__u64)offset ? 8 : 0); return true;
	case FP_CFA_SIGNAL: return read_stack_word(walk, cfa, now->sp + offset);
	case FP_CFA_INTERPRETED: return read_stack_word(walk, cfa, now->fp + offset);
	case FP_CFA_REG: return !walk->caller && scratch_register(now, rule->extra, cfa) && (*cfa += offset);
	case FP_CFA_AT_FP:
	case FP_CFA_AT_SP:
		if (!read_stack_word(walk, cfa, (rule->cfa == FP_CFA_AT_FP ? now->fp : now->sp) + offset))
			return false;
		*cfa += 8ULL * rule->extra;
		return true;
	}
	return false;
}

/* The caller's value of a register that is `value` in the callee. One that is lost becomes 0. */
static __always_inline bool restore(struct walk *walk, __u64 cfa, __u8 at, __s64 offset, __u64 *value)
{
	switch (at) {
	case FP_AT_SAME: return true;
	case FP_AT_CFA: return read_stack_word(walk, value, cfa + offset);
	case FP_AT_FP: return read_stack_word(walk, value, walk->now.fp + offset);
	case FP_AT_SP: return read_stack_word(walk, value, walk->now.sp + offset);
	}
	*value = 0;
	return true;
}

#if defined(__TARGET_ARCH_arm64)
/* Pointer authentication keeps its signature in the bits above the address. */
#define ADDRESS_BITS ((1ULL << 48) - 1)
static __always_inline bool return_address(struct walk *walk, const struct fp_rule *rule, __u64 cfa, __u64 third, __u64 *ra)
{
	if (rule->third == FP_AT_SAME && !walk->exact)
		return false; /* the link register is the leaf's */
	*ra = third & ADDRESS_BITS;
	return true;
}
#else
static __always_inline bool return_address(struct walk *walk, const struct fp_rule *rule, __u64 cfa, __u64 third, __u64 *ra)
{
	if (rule->cfa == FP_CFA_SIGNAL)
		return read_stack_word(walk, ra, walk->now.sp + rule->cfa_offset + 8);
	return read_stack_word(walk, ra, rule->cfa == FP_CFA_INTERPRETED ? walk->now.fp + 8 : cfa - 8);
}
#endif

/* Goes to the caller by a rule. Returns whether the walk is over. */
static __always_inline long by_rule(struct walk *walk, const struct fp_rule *rule)
{
	__u64 cfa = 0, ra = 0, fp = walk->now.fp, third = walk->now.third;
	walk->why = FP_END_NO_RULE;
	if (rule->cfa == FP_CFA_END) {
		walk->why = FP_END_ROOT;
		return 1;
	}
	if (!frame_address(walk, rule, &cfa))
		return 1;
	walk->why = FP_END_UNREADABLE;
	/* A stack grows downwards, so each caller lies above; a signal may have changed the stack. */
	if (cfa <= walk->now.sp && rule->cfa != FP_CFA_SIGNAL)
		if (walk->caller || cfa != walk->now.sp)
			return 1;
	if (!restore(walk, cfa, rule->fp, rule->fp_offset, &fp) ||
	    !restore(walk, cfa, rule->third, rule->third_offset, &third) ||
	    !return_address(walk, rule, cfa, third, &ra))
		return 1;
	if (!ra) {
		walk->why = FP_END_ROOT;
		return 1;
	}
	if (ra >> 63)
		return 1; /* no address of a process; it could pass for a Python frame */
	walk->why = FP_END_UNKNOWN;
	walk->exact = rule->cfa == FP_CFA_SIGNAL;
	walk->now.ip = ra;
	walk->now.sp = cfa;
	walk->now.fp = fp;
	walk->now.third = third;
	return 0;
}

/* Goes to the caller. Returns whether the walk is over. */
static __always_inline long step(struct walk *walk)
{
	__u64 addr = walk->now.ip - !walk->exact;
	walk->why = FP_END_UNKNOWN;
	struct fp_rule *rule = NULL;
	if (find_mapping(walk, addr))
		rule = find_rule(walk, addr);
	else
		walk->why = FP_END_NEW;
	if (!rule && java_rule(walk->pid, addr, walk->now.sp, walk->exact, &walk->heap, &walk->made))
		return by_rule(walk, &walk->made);
	if (!rule && in_code_heap(&walk->heap, addr))
		walk->why = FP_END_UNKNOWN;
	/* A leaf outside of all mappings: they are those of the program before an exec, or a library or a JIT's memory
	 * is new. The kernel's own walk believes every frame pointer. */
	if (walk->why == FP_END_NEW && !walk->caller && !rule)
		return 1;
	if (rule && rule->cfa != FP_CFA_NONE)
		return by_rule(walk, rule);
	if (returns_from_signal(walk))
		return by_rule(walk, &signal_frame);
	if (python_frames && only_returns(walk))
		return by_rule(walk, &returning_frame);
	return by_frame_pointer(walk);
}

/* Whether the frame at `ip`, whose part of the stack is [sp, walk->now.sp), is the loop that runs the next group of
 * Python frames. */
static __always_inline bool runs_python(struct walk *walk, __u64 ip, __u64 sp)
{
	struct fp_python_stack *python = &walk->python;
	if (python->at >= python->group)
		return false;
	if (python->by_code)
		return ip - python->loop_start < python->loop_end - python->loop_start;
	__u64 mark = python->words[python->at & (FP_PYTHON_WORDS - 1)];
	return walk->now.sp > sp && mark - sp < walk->now.sp - sp;
}

/* Copies the next Python frame to `to`. Returns how many that were: none at the end of the group. */
static __always_inline __u32 copy_python(struct walk *walk, __u64 *to)
{
	struct fp_python_stack *python = &walk->python;
	__u64 word = python->words[python->at & (FP_PYTHON_WORDS - 1)];
	if (python->at >= python->group || !(word >> 63)) {
		walk->copying = 0;
		return 0;
	}
	*to = word;
	python->at++;
	return 1;
}

/* Whether the walk has ended before the part of the stack where the next group belongs. */
static __always_inline bool python_is_left(struct walk *walk)
{
	struct fp_python_stack *python = &walk->python;
	if (!python_frames || python->at >= python->group || walk->why == FP_END_NEW)
		return false;
	if (python->by_code)
		return walk->why != FP_END_ROOT;
	return python->words[python->at & (FP_PYTHON_WORDS - 1)] >= walk->now.sp;
}

/* Begins to copy the groups that are left, without what was native between them. Returns whether there are none. */
static __always_inline long next_group(struct walk *walk)
{
	if (walk->python.at >= walk->python.group)
		return 1;
	walk->python.at++;
	walk->copying = 1;
	return 0;
}

/* Records a frame and goes to its caller. Python frames take the place of the loop that runs them. */
static long walk_frame(__u32 i, struct turn *turn)
{
	struct walk *walk = turn->walk;
	__u32 at = walk->length;
	if (at >= unwind_depth || at >= FP_MAX_USER_DEPTH)
		return 1;
	if (walk->copying) {
		walk->length = at + copy_python(walk, &turn->capture->addrs[at]);
		return 0;
	}
	if (walk->over)
		return next_group(walk);
	__u64 ip = walk->now.ip, sp = walk->now.sp;
	/* Who reads a stack takes one from all addresses but the first: an interrupted one gets it beforehand. */
	turn->capture->addrs[at] = ip + (at && walk->exact);
	walk->length = at + 1;
	if (step(walk)) {
		if (!python_is_left(walk))
			return 1;
		walk->over = 1;
		if (walk->why == FP_END_ROOT)
			walk->why = FP_END_NO_TABLE; /* it only looked like the root */
		return 0;
	}
	walk->caller = 1;
	if (python_frames && runs_python(walk, ip, sp)) {
		walk->length = at;
		walk->python.at++;
		walk->copying = 1;
	}
	return 0;
}

/* Walks the user stack of the current thread, from the registers in `walk`, into capture->addrs and returns its depth;
 * 0 where there are no tables for it. `capture->user_end` says why the walk ended. */
static __always_inline __u32 unwind_from(struct walk *walk, struct fp_capture *capture)
{
	__u32 pid = capture->pid, zero = 0;
	struct fp_process *process = bpf_map_lookup_elem(&unwind_processes, &pid);
	__u64 *generation = bpf_map_lookup_elem(&unwind_generation, &zero);
	if (!process || !generation) {
		capture->user_end = FP_END_NEW;
		return 0;
	}
	forget_window(walk);
	walk->start = walk->end = 0;
	walk->heap.low = walk->heap.high = 0;
	walk->pid = pid;
	walk->time_ns = capture->time_ns;
	walk->generation = *generation;
	walk->first = process->first;
	walk->count = process->count;
	walk->length = 0;
	walk->exact = 1;
	walk->caller = walk->copying = walk->over = 0;
	walk->why = FP_END_UNKNOWN;
	if (python_frames)
		read_python(&walk->python, pid);
	struct turn turn = { .walk = walk, .capture = capture };
	bpf_loop(4 * FP_MAX_USER_DEPTH, walk_frame, &turn, 0);
	__u8 why = walk->why;
	if (why == FP_END_NEW) {
		/* Part of the code is not known yet. The kernel's walk gets further, since it believes anything. */
		capture->user_end = FP_END_NEW;
		return 0;
	}
	if (why == FP_END_UNKNOWN) {
		why = FP_END_DEPTH;
		capture->truncated = 1;
	}
	capture->user_end = why;
	return walk->length;
}

static __always_inline struct walk *new_walk(void)
{
	__u32 zero = 0;
	struct walk *walk = bpf_map_lookup_elem(&unwind_walks, &zero);
	/* The registers that are known only where user code was interrupted. */
	if (walk)
		walk->now.scratch[0] = walk->now.scratch[1] = walk->now.scratch[2] = 0;
	return walk;
}

/* Walks as `unwind_from` where a perf event hit the current thread. */
static __always_inline __u32 unwind_interrupted(struct bpf_perf_event_data *ctx, struct fp_capture *capture)
{
	struct walk *walk = new_walk();
	return walk && interrupted_registers(ctx, &walk->now) ? unwind_from(walk, capture) : 0;
}

/* Walks as `unwind_from` where the current thread, `task`, entered the kernel. */
static __always_inline __u32 unwind_waiting(struct task_struct *task, struct fp_capture *capture)
{
	struct walk *walk = new_walk();
	return walk && saved_registers(task, &walk->now) ? unwind_from(walk, capture) : 0;
}

#endif
