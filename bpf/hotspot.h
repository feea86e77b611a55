/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Frames of Java code: HotSpot's compiled methods have no unwind tables, but each has a frame of one size, which stands
 * with its code; interpreted ones keep a frame pointer and, in their frame, what the stack pointer was.
 *
 * Code lies in up to a few heaps, cut into segments; a byte for each segment leads to the first one of its block
 * (src/hotspot/share/memory/heap.cpp, CodeHeap::find_block_for; share/code/codeBlob.hpp; cpu/x86/frame_x86.hpp).
 * Where the structures have their fields, a VM tells in a table for debuggers (runtime/vmStructs.hpp), which it fills
 * in when it starts: the agent knows from the file where the table's entries are, and they are read here. */
#ifndef FLEETPROF_HOTSPOT_H
#define FLEETPROF_HOTSPOT_H

#include <stdbool.h>
#include "compat.h"
#include "unwind_tables.h"

#define FP_CODE_HEAPS 4
#define FP_SEGMENT_STEPS 64 /* each leads back over up to 254 segments of 64 or 128 bytes */
#define FP_BLOCK_HEADER 16  /* sizeof(HeapBlock) */
#define FP_MAX_JAVA_FRAME (1 << 20)

/* In the order of FIELDS in agent/jvm/code_heaps.py. */
enum fp_hotspot_field {
	FP_HS_ARRAY_LENGTH,
	FP_HS_ARRAY_DATA,
	FP_HS_HEAP_MEMORY,
	FP_HS_HEAP_SEGMENTS,
	FP_HS_HEAP_SHIFT,
	FP_HS_SPACE_LOW,
	FP_HS_SPACE_HIGH,
	FP_HS_QUEUE_BUFFER,
	FP_HS_QUEUE_LIMIT,
	FP_HS_BLOB_FRAME_SIZE,
	/* Not of every version; then their entries are 0. */
	FP_HS_BLOB_NAME,
	FP_HS_METHOD_ENTRY,
	FP_HS_FIELDS
};

/* A process that runs a Java VM. */
struct fp_hotspot {
	__u64 heaps;			/* where the pointer to the array of code heaps is */
	__u64 interpreter;		/* where the pointer to the interpreter's queue of stubs is */
	__u64 entries[FP_HS_FIELDS];	/* where the table says at which offset a field is */
	__u64 offsets[FP_HS_FIELDS];	/* as the table says, once it was read */
	__u64 known;			/* whether it was */
};

/* By process id: about 250 bytes each, resized by the loader. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fp_hotspot);
} hotspot_processes SEC(".maps");

/* The code heap that was found last. */
struct fp_code_heap {
	__u64 low, high;
	__u64 segments;
	__u64 shift;
	__u64 interpreter_low, interpreter_high;
};

static __always_inline __u64 java_word(__u64 addr)
{
	__u64 value = 0;
	bpf_probe_read_user(&value, sizeof(value), (void *)addr);
	return value;
}

/* Reads the table; one that is not filled in yet has zeros only. */
static __always_inline bool learn_fields(struct fp_hotspot *vm)
{
	if (vm->known)
		return true;
	for (int i = 0; i < FP_HS_FIELDS; i++)
		vm->offsets[i] = java_word(vm->entries[i]) & 0xffff;
	vm->known = vm->offsets[FP_HS_BLOB_FRAME_SIZE];
	return vm->known;
}

static __always_inline bool in_code_heap(const struct fp_code_heap *heap, __u64 ip)
{
	return ip - heap->low < heap->high - heap->low;
}

static __always_inline bool find_code_heap(struct fp_hotspot *vm, __u64 ip, struct fp_code_heap *heap)
{
	if (in_code_heap(heap, ip))
		return true;
	if (!learn_fields(vm))
		return false;
	__u64 array = java_word(vm->heaps);
	__u32 count = java_word(array + vm->offsets[FP_HS_ARRAY_LENGTH]);
	__u64 data = java_word(array + vm->offsets[FP_HS_ARRAY_DATA]);
	for (__u32 i = 0; i < FP_CODE_HEAPS; i++) {
		__u64 one = java_word(data + 8 * i), memory = one + vm->offsets[FP_HS_HEAP_MEMORY];
		__u64 low = java_word(memory + vm->offsets[FP_HS_SPACE_LOW]);
		__u64 high = java_word(memory + vm->offsets[FP_HS_SPACE_HIGH]);
		if (i >= count || ip - low >= high - low)
			continue;
		__u64 queue = java_word(vm->interpreter);
		heap->low = low;
		heap->high = high;
		heap->segments = java_word(one + vm->offsets[FP_HS_HEAP_SEGMENTS] + vm->offsets[FP_HS_SPACE_LOW]);
		heap->shift = java_word(one + vm->offsets[FP_HS_HEAP_SHIFT]) & 31;
		heap->interpreter_low = java_word(queue + vm->offsets[FP_HS_QUEUE_BUFFER]);
		heap->interpreter_high =
			heap->interpreter_low + (__u32)java_word(queue + vm->offsets[FP_HS_QUEUE_LIMIT]);
		return true;
	}
	return false;
}

/* Where the code at `ip` is described, 0 where there is none. */
static __always_inline __u64 find_code_blob(struct fp_code_heap *heap, __u64 ip)
{
	__u64 segment = (ip - heap->low) >> heap->shift;
	__u8 back = 0;
	for (int i = 0; i < FP_SEGMENT_STEPS; i++) {
		if (bpf_probe_read_user(&back, 1, (void *)(heap->segments + segment)) || back == 0xff)
			return 0;
		if (!back)
			break;
		segment -= back;
	}
	return back ? 0 : heap->low + (segment << heap->shift) + FP_BLOCK_HEADER;
}

/* Bytes of the frames of a piece of code, 0 where they are not of one size. */
static __always_inline __u32 java_frame_size(struct fp_hotspot *vm, __u64 blob)
{
	__u32 words = blob ? java_word(blob + vm->offsets[FP_HS_BLOB_FRAME_SIZE]) : 0;
	return words < FP_MAX_JAVA_FRAME / 8 ? 8 * words : 0;
}

/* Whether `ip` is where a compiled method looks whether it is the right one for the object, before it begins. */
static __always_inline bool before_java_method(struct fp_hotspot *vm, __u64 blob, __u64 ip)
{
	if (!vm->entries[FP_HS_METHOD_ENTRY] || !vm->entries[FP_HS_BLOB_NAME])
		return false;
	__u64 name = java_word(java_word(blob + vm->offsets[FP_HS_BLOB_NAME]));
	if (name != 0x00646f6874656d6eULL && name != 0x6e2065766974616eULL) /* "nmethod", "native nmethod" */
		return false;
	return ip < java_word(blob + vm->offsets[FP_HS_METHOD_ENTRY]);
}

/* How much of the frame of a leaf is there, as its next instruction tells: compilers write prologues and epilogues in
 * one way only. 0 for all of it, 8 for the return address only, 16 with the frame pointer below. */
static __always_inline __u32 java_partial_frame(__u64 ip)
{
	__u8 code[16] = {}; /* from 8 bytes before ip */
	if (bpf_probe_read_user(code, sizeof(code), (void *)(ip - 8)))
		return 0;
	__u64 before = *(__u64 *)code, next = *(__u64 *)(code + 8);
	__u32 next_3 = next & 0xffffff;
	bool pushed = before >> 56 == 0x55 || before >> 32 == 0xec8b4855; /* push %rbp; and mov %rsp, %rbp */
	if (next_3 == 0x248489 && next >> 55 & 1) /* mov %eax, -N(%rsp): touches the stack to come */
		return 8;
	if ((next & 0xff) == 0x55 || (next & 0xff) == 0xc3) /* push %rbp; ret */
		return 8;
	if ((next & 0xff) == 0x5d) /* pop %rbp */
		return 16;
	if (next_3 == 0xec8348 || next_3 == 0xec8148 || next_3 == 0xec8b48) /* sub $N, %rsp; mov %rsp, %rbp */
		return pushed ? 16 : 8;
	if (next_3 == 0xa73b49 || next_3 == 0x673b49) /* cmp N(%r15), %rsp: the poll before a return */
		return 8;
	if ((next & 0xffff) == 0x870f) /* ja, right behind it */
		return (before >> 8 & 0xffffff) == 0xa73b49 || (before >> 32 & 0xffffff) == 0x673b49 ? 8 : 0;
	return 0;
}

/* Makes the rule for the code of a Java VM at `ip`, which was interrupted if `exact`. Returns whether there is one: what
 * is not its own, or goes by frame pointers, has none. */
static __always_inline bool java_rule(__u32 pid, __u64 ip, __u64 sp, bool exact, struct fp_code_heap *heap,
				      struct fp_rule *rule)
{
	struct fp_hotspot *vm = bpf_map_lookup_elem(&hotspot_processes, &pid);
	if (!vm || !find_code_heap(vm, ip, heap))
		return false;
	rule->extra = 0;
	rule->third = FP_AT_UNKNOWN;
	if (ip - heap->interpreter_low < heap->interpreter_high - heap->interpreter_low) {
		rule->cfa = FP_CFA_INTERPRETED;
		rule->fp = FP_AT_FP;
		rule->cfa_offset = -8;
		rule->fp_offset = 0;
		return true;
	}
	__u64 blob = find_code_blob(heap, ip);
	__u32 size = java_frame_size(vm, blob);
	if (size && exact) {
		__u32 partial = before_java_method(vm, blob, ip) ? 8 : java_partial_frame(ip);
		size = partial ? partial : size;
	} else if (!size) {
		/* Small pieces have no frame, as those that find the method to call; others keep a frame pointer. */
		if (!exact || !find_code_heap(vm, java_word(sp) - 1, heap))
			return false;
		size = 8;
	}
	rule->cfa = FP_CFA_SP;
	rule->cfa_offset = size;
	rule->fp = size == 8 ? FP_AT_SAME : FP_AT_CFA;
	rule->fp_offset = -16;
	return true;
}

#endif
