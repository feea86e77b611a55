/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Thread times and waits as in sched.bpf.c, with the user stacks of waits unwound by the tables of cpu_unwind.bpf.c
 * (unwind.h). A program of its own, since bpf_loop needs a newer kernel (5.17) than thread times. */
#define FP_UNWIND
#include "sched.bpf.c"
