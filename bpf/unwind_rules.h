/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The state of a walk, and how it finds the rule for an address: mapping, table, page, row (unwind_tables.h). */
#ifndef FLEETPROF_UNWIND_RULES_H
#define FLEETPROF_UNWIND_RULES_H

#include "capture.h"
#include "cpython.h"
#include "hotspot.h"
#include "unwind_registers.h"
#include "unwind_tables.h"

#define MAPPING_STEPS 14 /* 8,192 mappings and one more step */
#define FP_WINDOW_WORDS 32
#define FP_WINDOW_BELOW 48 /* bytes of it below the word that is wanted: registers are saved there */
#define LINE_STEPS 13	 /* a page's rows lie in at most 4,096 lines and one */

/* How far a walk has come. It lies in a map, whose values the verifier takes as unknown, and not on the stack, where it
 * would follow each of them from frame to frame. */
struct walk {
	struct registers now;
	/* The mapping that was found last. */
	__u64 start, end, base;
	__u64 time_ns;
	__u64 generation; /* of tables, when the walk began */
	__u32 table;
	__u32 first, count; /* the process's mappings */
	__u32 length;	    /* words in capture->addrs */
	__u8 exact;	    /* `now.ip` was interrupted; else it is a return address, one behind the call */
	__u8 caller;	    /* the frame called another one, it is not the leaf */
	__u8 copying;	    /* a group's Python frames are being copied */
	__u8 over;	    /* nothing is left but Python frames whose native ones were not reached */
	__u8 why;	    /* enum fp_end */
	__u8 by_word;	    /* what lies around the stack's words cannot be read: words are read one by one */
	__u32 pid;
	struct fp_code_heap heap;
	struct fp_rule made; /* for code without a table */
	/* A piece of the stack: to read one costs as much as to read one word, and it holds those of some frames. */
	__u64 window_at;
	__u64 window[FP_WINDOW_WORDS];
	struct fp_python_stack python;
};

/* 9,392 bytes for each possible CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct walk);
} unwind_walks SEC(".maps");

static __always_inline bool find_mapping(struct walk *walk, __u64 addr)
{
	if (addr - walk->start < walk->end - walk->start)
		return true;
	__u32 low = 0, high = walk->count;
	for (int i = 0; i < MAPPING_STEPS; i++) {
		if (low + 1 >= high)
			break;
		__u32 middle = (low + high) / 2, key = walk->first + middle;
		struct fp_mapping *mapping = bpf_map_lookup_elem(&unwind_mappings, &key);
		if (!mapping)
			return false;
		if (mapping->start <= addr)
			low = middle;
		else
			high = middle;
	}
	__u32 key = walk->first + low;
	struct fp_mapping *mapping = bpf_map_lookup_elem(&unwind_mappings, &key);
	if (!mapping || addr - mapping->start >= mapping->end - mapping->start)
		return false;
	walk->start = mapping->start;
	walk->end = mapping->end;
	walk->base = mapping->base;
	walk->table = mapping->table;
	__u64 *used = bpf_map_lookup_elem(&unwind_used, &walk->table);
	if (used && *used != walk->time_ns >> 30)
		*used = walk->time_ns >> 30; /* not each time: all CPUs share this line */
	return true;
}

static __always_inline __u32 directory_entry(void *lines, struct fp_table *table, __u32 page)
{
	__u32 key = table->directory_line + page / FP_ROWS_PER_LINE;
	struct fp_line *line = bpf_map_lookup_elem(lines, &key);
	return line ? line->rows[page & (FP_ROWS_PER_LINE - 1)] : 0;
}

/* The last row of a line that does not begin after `wanted`. Without branches, which the verifier would follow one by
 * one: a row is after it if the difference is negative. */
static __always_inline __u32 row_in(struct fp_line *line, __u32 wanted)
{
	__u64 after = 0;
#pragma unroll
	for (int i = 1; i < FP_ROWS_PER_LINE; i++) {
		__u64 difference = (__u64)wanted - line->rows[i];
		FP_OPAQUE(difference); /* or clang makes a branch of it */
		after += difference >> 63;
	}
	__u64 last = FP_ROWS_PER_LINE - 1 - after;
	FP_OPAQUE(last); /* or clang leaves the bound out, which the verifier wants to see */
	return line->rows[last & (FP_ROWS_PER_LINE - 1)];
}

/* Copies the rule for a code offset of a table to `rule`; leaves it as it is where there is none. */
static __always_inline void search_rule(void *lines, __u64 offset, struct fp_rule *rule)
{
	__u32 zero = 0;
	struct fp_line *line = bpf_map_lookup_elem(lines, &zero);
	if (!line)
		return;
	struct fp_table *table = &line->table;
	__u32 page = offset >> FP_PAGE_BITS;
	if (offset >> FP_PAGE_BITS >= table->pages)
		return;
	__u32 low = directory_entry(lines, table, page), high = directory_entry(lines, table, page + 1);
	__u32 wanted = offset << 16 | 0xffff, rules_line = table->rules_line;
	for (int i = 0; i < LINE_STEPS; i++) {
		if (low + 1 >= high)
			break;
		__u32 middle = (low + high) / 2;
		line = bpf_map_lookup_elem(lines, &middle);
		if (!line)
			return;
		if (line->rows[0] <= wanted)
			low = middle;
		else
			high = middle;
	}
	line = bpf_map_lookup_elem(lines, &low);
	if (!line)
		return;
	__u32 number = row_in(line, wanted) & 0xffff, key = rules_line + number / FP_RULES_PER_LINE;
	line = bpf_map_lookup_elem(lines, &key);
	if (line)
		*rule = line->rules[number & (FP_RULES_PER_LINE - 1)];
}

/* The rule for an address in the mapping that was found last; NULL where there is no table, with walk->why set if
 * that is not for lack of one. */
static __always_inline struct fp_rule *find_rule(struct walk *walk, __u64 addr)
{
	__u32 table = walk->table;
	if (table >= FP_MAX_TABLES) {
		walk->why = table == FP_OVER_BUDGET ? FP_END_BUDGET : table == FP_PENDING ? FP_END_NEW : 0;
		return NULL;
	}
	__u64 offset = addr - walk->base;
	__u64 key = walk->generation << 45 | (__u64)table << 32 | (__u32)offset;
	__u32 place = (key * 0x9e3779b97f4a7c15ULL) >> 54;
	struct fp_known_rule *known = bpf_map_lookup_elem(&unwind_known, &place);
	if (!known)
		return NULL;
	if (known->key == key)
		return &known->rule;
	void *lines = bpf_map_lookup_elem(&unwind_tables, &table);
	if (!lines)
		return NULL;
	known->key = key;
	known->rule.cfa = FP_CFA_NONE;
	search_rule(lines, offset, &known->rule);
	return &known->rule;
}

#endif
