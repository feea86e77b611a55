/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* On-CPU sampling as in cpu.bpf.c, with user stacks unwound by tables (unwind.h) instead of the kernel's walk along
 * frame pointers. A program of its own, since it needs more of the kernel: BTF, bpf_loop and bpf_task_pt_regs. */
#define FP_UNWIND
#include "cpu.bpf.c"
