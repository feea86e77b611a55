/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Empty programs, one for each kind of hook: `fleetprof-agent doctor` attaches them for a moment to find out what this
 * host allows, since only trying tells (a hook may be there and still be refused). No maps. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define HOOK(section, name)                                                                                  \
	SEC(section) int name(void *ctx)                                                                     \
	{                                                                                                    \
		return 0;                                                                                    \
	}

HOOK("tp_btf/sched_switch", try_sched_switch)
HOOK("tp_btf/sched_exit_tp", try_sched_exit_tp)
HOOK("raw_tp/sched_switch", try_raw_sched_switch)
HOOK("tp/sched/sched_switch", try_tracepoint)
HOOK("iter/task", try_iter_task)
/* The kernel's own test target, which nothing calls. */
HOOK("fentry/bpf_fentry_test1", try_fentry)
HOOK("kprobe/bpf_fentry_test1", try_kprobe)
HOOK("uprobe", try_uprobe)
HOOK("perf_event", try_perf_event)

char LICENSE[] SEC("license") = "GPL";
