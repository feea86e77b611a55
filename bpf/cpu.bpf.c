/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* On-CPU sampling: runs at every tick of a perf event (software cpu-clock, one for each CPU) and sends the
 * interrupted thread with its user and kernel stack through a ring buffer.
 *
 * It calls helpers only and reads no kernel structure, so it needs neither BTF nor kernel headers, and BCC can
 * compile the very same body. The idle task is left out: it is a share of time that no code used. */
#include "compat.h"
#include "capture.h"
#ifdef FP_UNWIND
#include "unwind.h"
#endif

/* Nanoseconds that one sample stands for. */
FP_CONSTANT(__u64, period_ns, 10101010)
/* Bytes of one stack: 8 x the depth limit, at most 8 x FP_MAX_DEPTH. */
FP_CONSTANT(__u32, stack_bytes, 8 * FP_MAX_DEPTH)
/* Whether only processes listed in only_pids are kept. */
FP_CONSTANT(__u32, filter_pids, 0)

enum cpu_loss { CPU_LOST_RING_FULL, CPU_LOSSES };

/* Samples on their way to the agent. Sized by the loader: 256 KiB for each CPU at 99 Hz, which holds over a second
 * of the deepest stacks without unwinding (2,096 bytes with the header) or 8 s of usual ones (300 bytes). */
FP_RING(captures)
/* Where a record is put together: 5,168 bytes for each possible CPU; the BPF stack holds 512. */
FP_SCRATCH(scratch, struct fp_capture)
/* Counts by enum cpu_loss, only ever added to: 8 bytes. */
FP_COUNTERS(losses, CPU_LOSSES)
/* Process ids to keep when filter_pids is set: resized by the loader to their number, about 64 bytes each. */
FP_PID_SET(only_pids, 1)

static __always_inline void count_loss(__u32 which)
{
	__u64 *counter = FP_LOOKUP(losses, &which);
	if (counter)
		__sync_fetch_and_add(counter, 1);
}

/* Copies one stack to `addrs` and returns its bytes, 0 for one that is absent (a kernel thread's user side, user
 * mode's kernel side). A failure, a negative number, sets `failed` in capture->unreadable. */
static __always_inline __u64 read_stack(void *ctx, struct fp_capture *capture, void *addrs, __u64 flags,
					__u8 failed)
{
	__u64 bytes = bpf_get_stack(ctx, addrs, stack_bytes, flags);
	FP_OPAQUE(bytes);
	if (bytes > 8 * FP_MAX_DEPTH) {
		capture->unreadable |= failed;
		return 0;
	}
	if (bytes >= stack_bytes)
		capture->truncated = 1;
	return bytes;
}

/* Copies the user stack to capture->addrs and returns its bytes. */
static __always_inline __u64 read_user_stack(void *ctx, struct fp_capture *capture)
{
#ifdef FP_UNWIND
	__u64 depth = unwind_interrupted(ctx, capture);
	FP_OPAQUE(depth);
	if (depth && depth <= FP_MAX_USER_DEPTH)
		return 8 * depth;
#endif
	return read_stack(ctx, capture, capture->addrs, BPF_F_USER_STACK, 1);
}

/* Copies the kernel stack to `addrs` and returns its bytes. */
static __always_inline __u64 read_kernel_stack(void *ctx, struct fp_capture *capture, void *addrs)
{
#ifdef FP_UNWIND
	/* There is none. To ask all the same takes 3 us: the kernel clears what is left of the memory for it. */
	if (hit_user_mode(ctx))
		return 0;
#endif
	return read_stack(ctx, capture, addrs, 0, 2);
}

FP_PROGRAM("perf_event", sample_cpu, struct bpf_perf_event_data)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	__u32 tid = (__u32)pid_tgid, pid = pid_tgid >> 32, zero = 0;
	if (!tid)
		return 0;
	if (filter_pids && !FP_LOOKUP(only_pids, &pid))
		return 0;
	struct fp_capture *capture = FP_LOOKUP(scratch, &zero);
	if (!capture)
		return 0;

	capture->time_ns = bpf_ktime_get_ns();
	capture->value_ns = period_ns;
	capture->runq_ns = 0;
	capture->pid = pid;
	capture->tid = tid;
	capture->type = FP_CPU;
	capture->wait = 0;
	capture->truncated = 0;
	capture->unreadable = 0;
	capture->user_end = 0;
	bpf_get_current_comm(capture->comm, sizeof(capture->comm));

	__u64 user = read_user_stack(ctx, capture);
	__u64 kernel = read_kernel_stack(ctx, capture, (char *)capture->addrs + user);
	capture->user_depth = user / 8;
	capture->kernel_depth = kernel / 8;
	__u64 size = __builtin_offsetof(struct fp_capture, addrs) + user + kernel;
	if (FP_RING_OUTPUT(captures, capture, size))
		count_loss(CPU_LOST_RING_FULL);
	return 0;
}

#ifndef FP_BCC
char LICENSE[] SEC("license") = "GPL"; /* the half of the dual licence that the kernel asks for */
#endif
