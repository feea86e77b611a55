/* SPDX-License-Identifier: Apache-2.0 */
/* One row of the table that an FDE describes, and the unwind rule that it amounts to. */
#ifndef FLEETPROF_CFI_STATE_H
#define FLEETPROF_CFI_STATE_H

#include "cfi_bytes.h"

/* The rules of bpf/unwind_tables.h. */
enum { CFA_NONE, CFA_SP, CFA_FP, CFA_THIRD, CFA_PLT, CFA_AT_FP, CFA_AT_SP, CFA_SIGNAL, CFA_END, CFA_REG, CFA_UNKNOWN };
enum { AT_SAME, AT_CFA, AT_FP, AT_SP, AT_UNKNOWN };

struct rule {
	u8 cfa, extra, fp, third;
	int32_t cfa_offset, fp_offset, third_offset;
};

/* Code [start, end), addresses as in the file, and where its FDE lies in the section. */
struct fde {
	u64 start, end;
	u64 at;
};

struct row {
	u32 pc; /* from `base` */
	u32 rule;
};

/* The first two of `rules`, put there by the caller. */
enum { NO_RULE, UNKNOWN_RULE };
#define MAX_RULES 65535
#define HASH_SLOTS (1 << 17)

struct builder {
	const u8 *section;
	u64 size, vaddr, base;
	u64 work;	    /* steps left */
	struct rule *rules; /* MAX_RULES */
	u32 *slots;	    /* HASH_SLOTS, zeroed by the caller: number of a rule plus one */
	u32 rule_count;
	u32 last_rule; /* of the row written last */
	u32 row_count, row_capacity;
	struct row *rows;
	u64 end;     /* of the code covered so far */
	u32 machine; /* 0: x86-64, 1: arm64 */
	u32 skipped; /* FDEs that could not be understood to their end */
};

static const struct { u8 sp, fp, third, ra; } registers[] = { { 7, 6, 3, 16 }, { 31, 29, 30, 30 } };

/* Where a register of the caller is. */
struct place {
	u8 kind;
	s64 offset;
};

enum { REGISTER, LOADED, PLT, OTHER };

/* One row of the table that an FDE describes, as far as it matters here. */
struct state {
	u8 how, cfa_register; /* CFA = register + offset; LOADED: memory at that, + added */
	s64 offset, added;
	struct place fp, third, ra;
	u8 ra_undefined;
};

static struct place *place_of(const struct builder *b, struct state *s, u64 number)
{
	if (number == registers[b->machine].ra)
		return &s->ra;
	if (number == registers[b->machine].fp)
		return &s->fp;
	if (number == registers[b->machine].third)
		return &s->third;
	return 0;
}

static void put(const struct builder *b, struct state *s, u64 number, u8 kind, s64 offset)
{
	struct place *place = place_of(b, s, number);
	if (!place)
		return;
	place->kind = kind;
	place->offset = offset;
	if (place == &s->ra)
		s->ra_undefined = 0;
}

static void restore(const struct builder *b, struct state *s, const struct state *initial, u64 number)
{
	struct place *place = place_of(b, s, number);
	if (!place)
		return;
	*place = *place_of(b, (struct state *)initial, number);
	if (place == &s->ra)
		s->ra_undefined = initial->ra_undefined;
}

/* DW_OP_breg<n> with its offset at the start of an expression; the rest stays in `c`. */
static int base_register(struct cursor *c, u8 *number, s64 *offset)
{
	u8 op = fixed(c, 1);
	if (c->bad || op < 0x70 || op > 0x8f)
		return 0;
	*number = op - 0x70;
	*offset = sleb(c);
	return !c->bad;
}

/* DW_OP_breg7 8, breg16 0, lit15, and, lit<n>, ge, lit3, shl, plus: x86-64's lazy PLT, in which the second of two
 * pushes is done from byte n of the 16 of an entry on. */
static int plt_threshold(struct cursor e)
{
	static const u8 before[] = { 0x77, 0x08, 0x80, 0x00, 0x3f, 0x1a }, after[] = { 0x2a, 0x33, 0x24, 0x22 };
	if (e.end - e.at != 11 || e.at[6] < 0x30 || e.at[6] > 0x3f)
		return -1;
	for (unsigned i = 0; i < 6; i++)
		if (e.at[i] != before[i])
			return -1;
	for (unsigned i = 0; i < 4; i++)
		if (e.at[7 + i] != after[i])
			return -1;
	return e.at[6] - 0x30;
}

static struct cursor expression(struct cursor *c)
{
	u64 size = uleb(c);
	struct cursor inner = { c->at, c->at, 0 };
	skip(c, size);
	inner.end = c->at;
	return inner;
}

static void cfa_expression(struct state *s, struct cursor e)
{
	int threshold = plt_threshold(e);
	s->how = OTHER;
	if (threshold >= 0) {
		s->how = PLT;
		s->offset = threshold;
		return;
	}
	if (!base_register(&e, &s->cfa_register, &s->offset))
		return;
	s->added = 0;
	if (e.at == e.end) {
		s->how = REGISTER;
		return;
	}
	if (fixed(&e, 1) != 0x06) /* DW_OP_deref */
		return;
	if (e.at < e.end && *e.at == 0x23) { /* DW_OP_plus_uconst */
		fixed(&e, 1);
		s->added = uleb(&e);
	}
	if (e.at == e.end && !e.bad)
		s->how = LOADED;
}

static void place_expression(const struct builder *b, struct state *s, u64 number, struct cursor e)
{
	u8 base, kind = AT_UNKNOWN;
	s64 offset = 0;
	if (base_register(&e, &base, &offset) && e.at == e.end) {
		if (base == registers[b->machine].fp)
			kind = AT_FP;
		else if (base == registers[b->machine].sp)
			kind = AT_SP;
	}
	put(b, s, number, kind, offset);
}

static int fits(s64 value)
{
	return value == (int32_t)value;
}

static struct rule unknown(void)
{
	return (struct rule){ .cfa = CFA_UNKNOWN };
}

static void set_place(struct place place, u8 *kind, int32_t *offset)
{
	*kind = fits(place.offset) ? place.kind : AT_UNKNOWN;
	*offset = *kind == AT_SAME || *kind == AT_UNKNOWN ? 0 : (int32_t)place.offset;
}

static struct rule rule_of(const struct builder *b, const struct state *s, u8 signal)
{
	const u8 sp = registers[b->machine].sp, fp = registers[b->machine].fp, third = registers[b->machine].third;
	struct rule rule = { .cfa_offset = (int32_t)s->offset };
	if (s->ra_undefined)
		return (struct rule){ .cfa = CFA_END };
	if (!fits(s->offset))
		return unknown();
	set_place(s->fp, &rule.fp, &rule.fp_offset);
	set_place(s->third, &rule.third, &rule.third_offset);
	if (b->machine == 1) /* the return address has a register of its own, which may still hold it */
		set_place(s->ra, &rule.third, &rule.third_offset);
	if (s->how == PLT) {
		rule.cfa = CFA_PLT;
	} else if (s->how == LOADED) {
		if (signal && s->cfa_register == sp && s->ra.kind == AT_SP && s->ra.offset == s->offset + 8) {
			rule.cfa = CFA_SIGNAL;
			return rule;
		}
		if (s->added < 0 || s->added > 255 * 8 || s->added % 8)
			return unknown();
		rule.extra = s->added / 8;
		rule.cfa = s->cfa_register == fp ? CFA_AT_FP : s->cfa_register == sp ? CFA_AT_SP : CFA_UNKNOWN;
	} else if (s->how == REGISTER) {
		rule.cfa = s->cfa_register == sp ? CFA_SP : s->cfa_register == fp ? CFA_FP : CFA_REG;
		if (b->machine == 0 && s->cfa_register == third)
			rule.cfa = CFA_THIRD;
		if (rule.cfa == CFA_REG)
			rule.extra = s->cfa_register;
	} else {
		return unknown();
	}
	if (rule.cfa == CFA_UNKNOWN || (b->machine == 0 && (s->ra.kind != AT_CFA || s->ra.offset != -8)))
		return unknown();
	return rule;
}

#endif
