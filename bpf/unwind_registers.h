/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The registers of the interrupted user code, from which a walk begins: those of the sample where it hit user mode,
 * else those that the kernel saved on the thread's kernel stack when it entered. */
#ifndef FLEETPROF_UNWIND_REGISTERS_H
#define FLEETPROF_UNWIND_REGISTERS_H

#include <stdbool.h>
#include <bpf/bpf_core_read.h>
#include "kernel_types.h"

#define PF_KTHREAD 0x00200000

struct registers {
	__u64 ip;
	__u64 sp;
	__u64 fp;
	__u64 third; /* rbx; the link register on arm64 */
	/* Some that no caller may rely on, so that rules name them in leaves only: a function that aligns its stack
	 * begins with r10, cryptography in assembly uses rax and r11. */
	__u64 scratch[3];
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
/* struct pt_regs, whose x86 fields user space calls by other names. */
struct pt_regs___x86_user {
	unsigned long bp, bx, ip, sp;
	unsigned short cs;
};
struct user_pt_regs___arm64 {
	__u64 regs[31], sp, pc, pstate;
};
struct pt_regs___arm64_user {
	struct user_pt_regs___arm64 user_regs;
};
#pragma clang attribute pop

#if defined(__TARGET_ARCH_x86)

#define USER64_CS 0x33
/* DWARF numbers of the registers in registers.scratch. */
#define SCRATCH_NUMBERS { 0, 10, 11 }

/* Whether the sample hit 64-bit user code. The opaque copy keeps clang from reading two bytes of the context, which
 * the verifier refuses. */
static __always_inline bool hit_user_mode(struct bpf_perf_event_data *ctx)
{
	return *(volatile __u64 *)&ctx->regs.cs == USER64_CS;
}

static __always_inline void registers_hit(struct bpf_perf_event_data *ctx, struct registers *registers)
{
	registers->ip = ctx->regs.rip;
	registers->sp = ctx->regs.rsp;
	registers->fp = ctx->regs.rbp;
	registers->third = ctx->regs.rbx;
	registers->scratch[0] = ctx->regs.rax;
	registers->scratch[1] = ctx->regs.r10;
	registers->scratch[2] = ctx->regs.r11;
}

static __always_inline bool saved_registers(struct task_struct *task, struct registers *registers)
{
	struct pt_regs___x86_user *saved = (void *)bpf_task_pt_regs(task);
	if (BPF_CORE_READ(saved, cs) != USER64_CS)
		return false;
	registers->ip = BPF_CORE_READ(saved, ip);
	registers->sp = BPF_CORE_READ(saved, sp);
	registers->fp = BPF_CORE_READ(saved, bp);
	registers->third = BPF_CORE_READ(saved, bx);
	return true;
}

#elif defined(__TARGET_ARCH_arm64)

#define SCRATCH_NUMBERS { 9, 16, 17 }
#define PSTATE_MODE 0x1f /* 0: 64-bit user code */

static __always_inline bool hit_user_mode(struct bpf_perf_event_data *ctx)
{
	return !(*(volatile __u64 *)&ctx->regs.pstate & PSTATE_MODE);
}

static __always_inline void registers_hit(struct bpf_perf_event_data *ctx, struct registers *registers)
{
	registers->ip = ctx->regs.pc;
	registers->sp = ctx->regs.sp;
	registers->fp = ctx->regs.regs[29];
	registers->third = ctx->regs.regs[30];
	registers->scratch[0] = ctx->regs.regs[9];
	registers->scratch[1] = ctx->regs.regs[16];
	registers->scratch[2] = ctx->regs.regs[17];
}

static __always_inline bool saved_registers(struct task_struct *task, struct registers *registers)
{
	struct pt_regs___arm64_user *saved = (void *)bpf_task_pt_regs(task);
	if (BPF_CORE_READ(saved, user_regs.pstate) & PSTATE_MODE)
		return false;
	registers->ip = BPF_CORE_READ(saved, user_regs.pc);
	registers->sp = BPF_CORE_READ(saved, user_regs.sp);
	registers->fp = BPF_CORE_READ(saved, user_regs.regs[29]);
	registers->third = BPF_CORE_READ(saved, user_regs.regs[30]);
	return true;
}

#endif

/* False for kernel threads and 32-bit code. */
static __always_inline bool interrupted_registers(struct bpf_perf_event_data *ctx, struct registers *registers)
{
	if (hit_user_mode(ctx)) {
		registers_hit(ctx, registers);
		return true;
	}
	struct task_struct *task = bpf_get_current_task_btf();
	return !(task->flags & PF_KTHREAD) && saved_registers(task, registers);
}

#endif
