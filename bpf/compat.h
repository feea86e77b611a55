/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* One program body for two loaders. Built as is, it is a libbpf (CO-RE) object. With FP_BCC it is only run
 * through the preprocessor (bpf/Makefile) and the result is compiled on the host by BCC, which has its own
 * map declarations and finds maps by looking for `map.method(...)`, so these macros must be expanded first. */
#ifndef FLEETPROF_COMPAT_H
#define FLEETPROF_COMPAT_H

#ifdef FP_BCC

/* Constants come from the loader as -D flags of the same names. */
#define FP_CONSTANT(type, name, initial)
#define FP_PROGRAM(section, name, context_type) int name(context_type *ctx)
#define FP_RING(name) BPF_RINGBUF_OUTPUT(name, ring_pages);
#define FP_SCRATCH(name, type) BPF_PERCPU_ARRAY(name, type, 1);
#define FP_COUNTERS(name, count) BPF_ARRAY(name, __u64, count);
#define FP_PID_SET(name, count) BPF_HASH(name, __u32, __u8, pid_count);
#define FP_LOOKUP(map, key) map.lookup(key)
#define FP_RING_OUTPUT(map, data, size) map.ringbuf_output(data, size, BPF_RB_NO_WAKEUP)

#else

#include <linux/bpf.h>
#include <linux/bpf_perf_event.h>
#include <bpf/bpf_helpers.h>

#define FP_CONSTANT(type, name, initial) const volatile type name = initial;
#define FP_PROGRAM(section, name, context_type) SEC(section) int name(context_type *ctx)
#define FP_RING(name)                                                                                        \
	struct {                                                                                             \
		__uint(type, BPF_MAP_TYPE_RINGBUF);                                                          \
		__uint(max_entries, 512 * 1024);                                                             \
	} name SEC(".maps");
#define FP_SCRATCH(name, value_type)                                                                         \
	struct {                                                                                             \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);                                                     \
		__uint(max_entries, 1);                                                                      \
		__type(key, __u32);                                                                          \
		__type(value, value_type);                                                                   \
	} name SEC(".maps");
#define FP_COUNTERS(name, count)                                                                             \
	struct {                                                                                             \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                            \
		__uint(max_entries, count);                                                                  \
		__type(key, __u32);                                                                          \
		__type(value, __u64);                                                                        \
	} name SEC(".maps");
#define FP_PID_SET(name, count)                                                                              \
	struct {                                                                                             \
		__uint(type, BPF_MAP_TYPE_HASH);                                                             \
		__uint(max_entries, count);                                                                  \
		__type(key, __u32);                                                                          \
		__type(value, __u8);                                                                         \
	} name SEC(".maps");
#define FP_LOOKUP(map, key) bpf_map_lookup_elem(&map, key)
#define FP_RING_OUTPUT(map, data, size) bpf_ringbuf_output(&map, data, size, BPF_RB_NO_WAKEUP)

#endif

/* Keeps clang from proving a bound on one register and using another, which the verifier cannot follow. */
#define FP_OPAQUE(variable) asm volatile("" : "+r"(variable))

#endif
