/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The Python functions that the current thread is in, read from the structures of CPython 3.9 and newer.
 *
 * A thread is found by its thread pointer, which is what pthread_self() gave the interpreter: it is the same in every
 * pid namespace. The agent tells where the structures have their fields (agent/cpython/layout.py). All of it lies in
 * memory that the process may write as it likes: reads are bounded, and what they say is only ever this thread's own
 * stack.
 *
 * One call of the interpreter's loop, one native frame, runs one Python function up to 3.10 and any number of them
 * since. Those that belong together are a group; where in the stack its native frame is, is told by the address of
 * something that the loop keeps in its own frame. */
#ifndef FLEETPROF_CPYTHON_H
#define FLEETPROF_CPYTHON_H

#include <stdbool.h>
#include <bpf/bpf_core_read.h>
#include "compat.h"
#include "capture.h"

#define FP_PYTHON_WORDS 1024	/* Python frames and groups of one stack */
#define FP_PYTHON_STEPS 640	/* frames that are looked at, those in between groups included */
#define FP_PYTHON_THREADS 512	/* threads that are looked through for the current one */
#define FP_PYTHON_FRAME_WORDS 10 /* what is read of a frame: the smallest one is as large */
#define FP_PYTHON_TEXT 256	/* bytes of a str object that are sent: some 200 characters */
#define FP_PYTHON_NEW 32	/* names that one sample sends */
#define FP_PYTHON_SHIM 3	/* from this owner on a frame stands for C code: FRAME_OWNED_BY_CSTACK of CPython */

/* How groups end, and by which address their native frame is found. */
enum fp_python_groups {
	FP_PY_BY_CODE = 1, /* 3.9: each frame is one; by the code of the loop */
	FP_PY_BY_CFRAME,   /* 3.10: each frame is one; by the cframe that belongs to it */
	FP_PY_BY_ENTRY,	   /* 3.11: a frame that says so is the last; by the cframe */
	FP_PY_BY_SHIM,	   /* since 3.12: a frame that stands for C code follows the last; by this frame */
};

/* A process that runs Python. */
struct fp_python {
	__u64 interpreters; /* where the pointer to the first interpreter is */
	__u64 loop_start;   /* BY_CODE: the loop's code */
	__u64 loop_end;
	__u32 groups; /* enum fp_python_groups */
	/* Offsets into the structures of CPython. */
	__u32 interpreter_next;
	__u32 interpreter_threads;
	__u32 thread_next;
	__u32 thread_id;
	__u32 thread_frame;  /* the frame, or with cframe_frame the cframe */
	__u32 thread_cframe; /* BY_CFRAME, BY_ENTRY */
	__u32 cframe_frame;  /* FP_PYTHON_NONE where the thread itself has the frame */
	__u32 cframe_previous;
	__u32 frame_code; /* these three: inside of FP_PYTHON_FRAME_WORDS; the first two multiples of 8 */
	__u32 frame_previous;
	__u32 frame_owner;
	__u32 code_names; /* co_filename, co_name and co_qualname; up to 3.10 the last is a table of lines */
	__u32 code_line;  /* co_firstlineno */
	__u32 code_name;  /* which of the three is the function's name */
	/* Of str objects: where compact ASCII has its characters, and others; the bits of state that say their width. */
	__u8 text_length, text_state, text_ascii, text_wide;
	__u32 text_kind;
	__u32 seed; /* another one whenever the agent has forgotten the names of the process, so that they are sent again */
};

#define FP_PYTHON_NONE 0xffffffff

/* By process id: about 150 bytes each, resized by the loader. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fp_python);
} python_processes SEC(".maps");

/* What a code object is called, sent with the first capture that refers to it. Cut after its texts. */
struct fp_python_name {
	__u64 word; /* as in the capture */
	__u32 pid;
	__u32 line;
	__u32 file_bytes, function_bytes;
	__u8 texts[2 * FP_PYTHON_TEXT]; /* two str objects with their headers, as far as they go */
};

/* The Python frames of one thread, in a map for what the verifier makes of it (see struct walk). */
struct fp_python_stack {
	/* For each group, leaf first: the address of its native frame's mark, then its frames. */
	__u64 words[FP_PYTHON_WORDS];
	__u64 frame[16]; /* the frame that was read last; of a power of two so that indexes are easily bounded */
	__u64 names[3];	 /* the pointers at fp_python.code_names */
	__u64 next;	 /* address of the next frame */
	__u64 cframe;
	__u64 loop_start; /* as in fp_python */
	__u64 loop_end;
	__u32 by_code;
	__u32 count; /* words that are there */
	__u32 group; /* where the mark of the group goes that is being read; the words of whole groups end here */
	__u32 at;    /* the next word to be copied */
	__u32 sent;  /* names sent with this sample */
	__u32 pid;
	struct fp_python_name name;
};

/* Names on their way to the agent, about 240 bytes each. One that finds no room is sent with a later sample. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} python_names SEC(".maps");

#define FP_PYTHON_SET_BITS 14
#define FP_PYTHON_WAYS 4

/* Names that were sent: four places for each set, taken in turn. 512 KiB. Two CPUs may forget what the other one sent,
 * and send it again. */
struct fp_python_sent {
	__u64 keys[FP_PYTHON_WAYS];
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1 << FP_PYTHON_SET_BITS);
	__type(key, __u32);
	__type(value, struct fp_python_sent);
} python_sent SEC(".maps");

/* Whether Python frames are looked for. */
const volatile __u32 python_frames = 0;

#if defined(__TARGET_ARCH_x86)
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct thread_struct___python {
	unsigned long fsbase;
};
struct task_struct___python {
	struct thread_struct___python thread;
};
#pragma clang attribute pop

static __always_inline __u64 thread_pointer(void)
{
	struct task_struct___python *task = (void *)bpf_get_current_task_btf();
	return BPF_CORE_READ(task, thread.fsbase);
}
#else
/* pthread_self() is the thread pointer less the size of glibc's own structure, which is not known here. */
static __always_inline __u64 thread_pointer(void)
{
	return 0;
}
#endif

static __always_inline __u64 python_pointer(__u64 addr)
{
	__u64 value = 0;
	bpf_probe_read_user(&value, sizeof(value), (void *)addr);
	return value;
}

struct python_thread {
	struct fp_python *python;
	__u64 pointer; /* the thread's */
	__u64 interpreter;
	__u64 state; /* PyThreadState */
	__u32 found;
};

/* Looks at one thread, or goes to the first one of the next interpreter. */
static long look_at_thread(__u32 i, struct python_thread *thread)
{
	struct fp_python *python = thread->python;
	if (!thread->state) {
		if (!thread->interpreter)
			return 1;
		thread->state = python_pointer(thread->interpreter + python->interpreter_threads);
		thread->interpreter = python_pointer(thread->interpreter + python->interpreter_next);
		return 0;
	}
	if (python_pointer(thread->state + python->thread_id) == thread->pointer) {
		thread->found = 1;
		return 1;
	}
	thread->state = python_pointer(thread->state + python->thread_next);
	return 0;
}

struct python_walk {
	struct fp_python *python;
	struct fp_python_stack *stack;
};

/* One frame as a word: bit 63; 18 bits that change with the code object's names, since its memory may come to be
 * another's; its address, a multiple of 8 below 2^47. No address of a process looks like this. */
static __always_inline __u64 python_word(const __u64 *names, __u64 code)
{
	__u64 mixed = ((names[0] * 31 + names[1]) * 31 + names[2]) * 0x9e3779b97f4a7c15ULL;
	return 1ULL << 63 | mixed >> 46 << 44 | code >> 3;
}

/* Copies a str object and returns how many bytes of it, 0 where it cannot be read. */
static __always_inline __u32 copy_text(struct fp_python *python, __u8 *to, __u64 text)
{
	__u64 length = python_pointer(text + python->text_length);
	__u32 state = python_pointer(text + python->text_state) >> python->text_kind;
	__u32 width = state & 7;
	__u64 size = length < FP_PYTHON_TEXT ? length * width : FP_PYTHON_TEXT;
	size += state & 16 ? python->text_ascii : python->text_wide;
	if (size > FP_PYTHON_TEXT)
		size = FP_PYTHON_TEXT;
	FP_OPAQUE(size);
	if (size > FP_PYTHON_TEXT || bpf_probe_read_user(to, size, (void *)text))
		return 0;
	return size;
}

static __always_inline bool send_name(struct python_walk *walk, __u64 word, __u64 code)
{
	struct fp_python *python = walk->python;
	struct fp_python_stack *stack = walk->stack;
	struct fp_python_name *name = &stack->name;
	name->word = word;
	name->pid = stack->pid;
	name->line = python_pointer(code + python->code_line);
	__u64 file = copy_text(python, name->texts, stack->names[0]);
	if (!file || file > FP_PYTHON_TEXT)
		return false;
	__u64 function = copy_text(python, name->texts + file, stack->names[python->code_name == 1 ? 1 : 2]);
	if (!function || function > FP_PYTHON_TEXT)
		return false;
	name->file_bytes = file;
	name->function_bytes = function;
	__u64 size = __builtin_offsetof(struct fp_python_name, texts) + file + function;
	return !bpf_ringbuf_output(&python_names, name, size, BPF_RB_NO_WAKEUP);
}

/* Sees to it that the agent knows the name of a code object. */
static __always_inline void tell_name(struct python_walk *walk, __u64 word, __u64 code)
{
	struct fp_python_stack *stack = walk->stack;
	__u64 key = (word ^ (__u64)walk->python->seed << 32) * 0x9e3779b97f4a7c15ULL;
	__u32 place = key >> (64 - FP_PYTHON_SET_BITS);
	struct fp_python_sent *sent = bpf_map_lookup_elem(&python_sent, &place);
	if (!sent)
		return;
	for (int i = 0; i < FP_PYTHON_WAYS; i++)
		if (sent->keys[i] == key)
			return;
	if (stack->sent++ >= FP_PYTHON_NEW || !send_name(walk, word, code))
		return;
	for (int i = FP_PYTHON_WAYS - 1; i > 0; i--)
		sent->keys[i] = sent->keys[i - 1];
	sent->keys[0] = key;
}

static __always_inline void end_group(struct fp_python_stack *stack, __u64 mark)
{
	if (stack->count == stack->group + 1)
		return; /* empty: the loop has begun, and its function's frame is not linked yet */
	stack->words[stack->group & (FP_PYTHON_WORDS - 1)] = mark & ~(1ULL << 63);
	stack->group = stack->count++;
}

/* Takes one frame in and goes to its caller. Returns whether that was the last. */
static long take_python_frame(__u32 i, struct python_walk *walk)
{
	struct fp_python *python = walk->python;
	struct fp_python_stack *stack = walk->stack;
	__u64 frame = stack->next;
	if (!frame || stack->count >= FP_PYTHON_WORDS - 2)
		return 1;
	if (bpf_probe_read_user(stack->frame, 8 * FP_PYTHON_FRAME_WORDS, (void *)frame))
		return 1;
	__u32 groups = python->groups;
	__u8 owner = ((__u8 *)stack->frame)[python->frame_owner & 127];
	__u64 previous = stack->frame[python->frame_previous >> 3 & 15];
	if (groups == FP_PY_BY_SHIM && owner >= FP_PYTHON_SHIM) {
		end_group(stack, frame);
		stack->next = previous;
		return 0;
	}
	/* From 3.14 on the lowest bits say how the reference is counted. */
	__u64 code = stack->frame[python->frame_code >> 3 & 15] & ~7ULL;
	if (code >> 47 || bpf_probe_read_user(stack->names, sizeof(stack->names), (void *)(code + python->code_names)))
		return 1;
	__u64 word = python_word(stack->names, code);
	tell_name(walk, word, code);
	stack->words[stack->count++ & (FP_PYTHON_WORDS - 1)] = word;
	if (groups == FP_PY_BY_CODE) {
		end_group(stack, 0);
	} else if (groups == FP_PY_BY_CFRAME || (groups == FP_PY_BY_ENTRY && owner)) {
		end_group(stack, stack->cframe);
		stack->cframe = python_pointer(stack->cframe + python->cframe_previous);
	}
	stack->next = previous;
	return 0;
}

/* The current thread's PyThreadState, 0 where it has none. */
static __always_inline __u64 find_thread(struct fp_python *python)
{
	struct python_thread thread = { .python = python, .pointer = thread_pointer() };
	if (!thread.pointer)
		return 0;
	thread.interpreter = python_pointer(python->interpreters);
	bpf_loop(FP_PYTHON_THREADS, look_at_thread, &thread, 0);
	return thread.found ? thread.state : 0;
}

/* Reads the Python frames of the current thread, none where its process runs no Python. A group that does not come to
 * its end is left out. */
static __always_inline void read_python(struct fp_python_stack *stack, __u32 pid)
{
	struct fp_python *python = bpf_map_lookup_elem(&python_processes, &pid);
	stack->at = 0;
	stack->group = 0;
	stack->count = 1;
	stack->sent = 0;
	stack->pid = pid;
	__u64 thread = python ? find_thread(python) : 0;
	if (!thread || !python)
		return;
	stack->by_code = python->groups == FP_PY_BY_CODE;
	stack->loop_start = python->loop_start;
	stack->loop_end = python->loop_end;
	if (python->thread_cframe != FP_PYTHON_NONE)
		stack->cframe = python_pointer(thread + python->thread_cframe);
	stack->next = python->cframe_frame != FP_PYTHON_NONE ? python_pointer(stack->cframe + python->cframe_frame) :
							       python_pointer(thread + python->thread_frame);
	struct python_walk walk = { .python = python, .stack = stack };
	bpf_loop(FP_PYTHON_STEPS, take_python_frame, &walk, 0);
}

#endif
