/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Unwind tables as agent/unwind/layout.py describes them and the agent fills them in, and the maps they lie in. */
#ifndef FLEETPROF_UNWIND_TABLES_H
#define FLEETPROF_UNWIND_TABLES_H

#define FP_ROWS_PER_LINE 16
#define FP_RULES_PER_LINE 4
#define FP_PAGE_BITS 16

/* How the canonical frame address, the stack pointer before the call, is found. */
enum fp_cfa {
	FP_CFA_NONE,	/* no table covers the code */
	FP_CFA_SP,	/* stack pointer + offset */
	FP_CFA_FP,	/* frame pointer + offset */
	FP_CFA_THIRD,	/* the third register that is followed + offset */
	FP_CFA_PLT,	/* stack pointer + 8, or + 16 from byte `offset` of a PLT entry on */
	FP_CFA_AT_FP,	/* memory at frame pointer + offset, plus 8 * extra */
	FP_CFA_AT_SP,	/* memory at stack pointer + offset, plus 8 * extra */
	FP_CFA_SIGNAL,	/* as AT_SP, and the program counter behind it: a signal interrupted the caller */
	FP_CFA_END,	/* the return address is undefined: the outermost frame */
	FP_CFA_REG,	/* register number `extra` + offset, known in a leaf only */
	FP_CFA_UNKNOWN, /* by means that are not followed */
	FP_CFA_INTERPRETED, /* Java's interpreter: memory at frame pointer + offset; the return address is above it */
};

/* Where a register of the caller is. */
enum fp_at { FP_AT_SAME, FP_AT_CFA, FP_AT_FP, FP_AT_SP, FP_AT_UNKNOWN };

struct fp_rule {
	__u8 cfa; /* enum fp_cfa */
	__u8 extra;
	__u8 fp; /* enum fp_at */
	__u8 third;
	__s32 cfa_offset;
	__s32 fp_offset;
	__s32 third_offset;
};

struct fp_table {
	__u32 magic;
	__u32 machine;
	__u32 pages;
	__u32 directory_line;
	__u32 rules_line;
	__u32 rules;
	__u32 lines;
	__u32 checksum;
	__u64 base;
	__u32 skipped;
	__u32 reserved[5];
};

struct fp_line {
	union {
		struct fp_table table; /* line 0 */
		__u32 rows[FP_ROWS_PER_LINE];
		struct fp_rule rules[FP_RULES_PER_LINE];
	};
};

#define FP_NO_TABLE 0xffffffff /* fp_mapping.table: a JIT's memory, or code without call frame information */
#define FP_OVER_BUDGET 0xfffffffe /* fp_mapping.table: there is a table, and no memory for it */
#define FP_PENDING 0xfffffffd /* fp_mapping.table: the table is not loaded yet */

/* An executable mapping of a process. */
struct fp_mapping {
	__u64 start;
	__u64 end;
	__u64 base; /* the address at which the table's base lies in the process */
	__u32 table;
	__u32 reserved;
};

/* Which mappings a process has: unwind_mappings[first .. first + count), sorted by start. */
struct fp_process {
	__u32 first;
	__u32 count;
};

/* A rule that was found before: most walks of a program come through the same return addresses. */
struct fp_known_rule {
	__u64 key; /* generation, table, offset of the code */
	struct fp_rule rule;
	__u64 reserved; /* half a cache line each */
};

/* The maps below are shared by all objects that unwind (agent/unwind/kernel_tables.py), save unwind_known: a sample
 * may interrupt the walk of a wait on the same CPU. */
#define FP_KNOWN_RULES 1024
#define FP_MAX_TABLES 8192

/* 64 KiB; a table's own map is as large as the table, with the rest of its last page. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, FP_MAX_TABLES);
	__type(key, __u32);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_ARRAY);
		__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);
		__uint(max_entries, 1);
		__uint(key_size, 4);
		__uint(value_size, sizeof(struct fp_line));
	});
} unwind_tables SEC(".maps");

/* 32 KiB for each possible CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FP_KNOWN_RULES);
	__type(key, __u32);
	__type(value, struct fp_known_rule);
} unwind_known SEC(".maps");

/* Raised by the agent whenever it unloads a table, so that no rule of it is known any more. A page. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} unwind_generation SEC(".maps");

/* When each table was last used, in units of 2^30 ns: 32 KiB (64 on 64-bit kernels, which round values to 8 bytes). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, FP_MAX_TABLES);
	__type(key, __u32);
	__type(value, __u64);
} unwind_used SEC(".maps");

/* 32 bytes each, resized by the loader (1 MiB). Processes with the same mappings, forks, share them. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fp_mapping);
} unwind_mappings SEC(".maps");

/* By process id: about 64 bytes each, resized by the loader (0.5 MiB). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct fp_process);
} unwind_processes SEC(".maps");

#endif
