/* SPDX-License-Identifier: Apache-2.0 */
/* Reads call frame information (.eh_frame) and writes unwind rows: which rule leads from a frame to its caller,
 * for each range of code. agent/unwind/cfi.py does the same in Python, about fifty times slower.
 *
 * Freestanding: no C library, no allocation, no global state; all memory is the caller's. Every byte of the section
 * is untrusted: each read is checked, and `work` bounds the number of steps whatever the section says.
 *
 * Formats: DWARF 5 section 6.4 (call frame information), Linux Standard Base 5.0 "Exception Frames" (.eh_frame),
 * psABI supplements for register numbers. Built by ../../bpf/Makefile into agent/objects/libcfi.so. */
#include "cfi_state.h"

/* Gaps shorter than this are padding between functions: no row tells of them. */
#define PADDING 16

struct cie {
	u64 at;
	struct cursor instructions;
	u64 code_align;
	s64 data_align;
	u8 encoding, augmented, signal;
};

/* The record (CIE or FDE) at `at`: its contents after the length, and where the next one begins. 0 at the end. */
static int record(const struct builder *b, u64 at, struct cursor *out, u64 *next)
{
	struct cursor c = { b->section + at, b->section + b->size, 0 };
	u64 length = fixed(&c, 4);
	if (length == 0xffffffff)
		length = fixed(&c, 8);
	if (c.bad || length > (u64)(c.end - c.at))
		return 0;
	out->at = c.at;
	out->end = c.at + length;
	out->bad = 0;
	*next = (c.at - b->section) + length;
	return 1;
}

static int parse_cie(const struct builder *b, u64 at, struct cie *cie)
{
	struct cursor c;
	u64 next;
	if (at + 4 > b->size || !record(b, at, &c, &next) || fixed(&c, 4) != 0)
		return 0;
	u8 version = fixed(&c, 1);
	const u8 *augmentation = c.at;
	while (c.at < augmentation + 16 && fixed(&c, 1) && !c.bad)
		;
	if (c.bad || c.at[-1] || (version != 1 && version != 3))
		return 0;
	cie->at = at;
	cie->code_align = uleb(&c);
	cie->data_align = sleb(&c);
	if (version == 1)
		fixed(&c, 1);
	else
		uleb(&c);
	cie->encoding = cie->augmented = cie->signal = 0;
	if (*augmentation == 'z') {
		u64 size = uleb(&c);
		const u8 *data = c.at;
		cie->augmented = 1;
		for (const u8 *letter = augmentation + 1; *letter; letter++) {
			if (*letter == 'R') {
				cie->encoding = fixed(&c, 1);
			} else if (*letter == 'P') {
				u8 encoding = fixed(&c, 1) & 0x0f;
				pointer(&c, encoding, 0);
			} else if (*letter == 'L') {
				fixed(&c, 1);
			} else if (*letter == 'S') {
				cie->signal = 1;
			} else if (*letter != 'B' && *letter != 'G') {
				break;
			}
		}
		c.at = data;
		skip(&c, size);
	} else if (*augmentation) {
		return 0;
	}
	cie->instructions = c;
	return !c.bad;
}

/* The head of the FDE at `at`; `c` is left at its instructions. */
static int parse_fde(const struct builder *b, u64 at, struct cie *cie, struct fde *fde, struct cursor *c, u64 *next)
{
	if (!record(b, at, c, next))
		return 0;
	u64 here = c->at - b->section, back = fixed(c, 4);
	if (c->bad || !back || back > here)
		return -1;
	if (cie->at != here - back && !parse_cie(b, here - back, cie)) {
		cie->at = ~0ULL;
		return -1;
	}
	fde->at = at;
	fde->start = pointer(c, cie->encoding, b->vaddr + (c->at - b->section));
	fde->end = fde->start + pointer(c, cie->encoding & 0x0f, 0);
	if (cie->augmented)
		skip(c, uleb(c));
	return c->bad ? -1 : 1;
}

/* Fills `out` with the FDEs of the section in its order, at most `capacity`; returns how many there are. */
long cfi_index(struct builder *b, struct fde *out, long capacity)
{
	struct cie cie = { .at = ~0ULL };
	long count = 0;
	for (u64 at = 0, next; at + 4 <= b->size; at = next) {
		struct fde fde;
		struct cursor c;
		/* A length of 0 ends the section, but the linker may have put more behind it. */
		if (!b->section[at] && !b->section[at + 1] && !b->section[at + 2] && !b->section[at + 3]) {
			next = at + 4;
			continue;
		}
		int found = parse_fde(b, at, &cie, &fde, &c, &next);
		if (!found)
			break;
		if (found < 0 || fde.end <= fde.start)
			continue;
		if (count < capacity)
			out[count] = fde;
		count++;
	}
	return count;
}

static u32 hash_of(const struct rule *rule)
{
	const u32 *words = (const u32 *)rule;
	u32 hash = 2166136261u;
	for (unsigned i = 0; i < sizeof(*rule) / 4; i++)
		hash = (hash ^ words[i]) * 2654435761u ^ hash >> 15;
	return hash;
}

static int same(const struct rule *left, const struct rule *right)
{
	const u32 *a = (const u32 *)left, *b = (const u32 *)right;
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}

/* The number of a rule, a new one where it is the first of its kind; that of CFA_UNKNOWN when there are too many. */
static u32 number_of(struct builder *b, struct rule rule)
{
	if (rule.cfa == CFA_UNKNOWN)
		return UNKNOWN_RULE;
	for (u32 slot = hash_of(&rule);; slot++) {
		u32 *known = &b->slots[slot & (HASH_SLOTS - 1)];
		if (!*known) {
			if (b->rule_count >= MAX_RULES)
				return UNKNOWN_RULE;
			b->rules[b->rule_count] = rule;
			*known = ++b->rule_count;
			return *known - 1;
		}
		if (same(&b->rules[*known - 1], &rule))
			return *known - 1;
	}
}

static void emit(struct builder *b, u64 pc, u32 rule)
{
	if (rule == b->last_rule)
		return;
	b->last_rule = rule;
	if (b->row_count && b->rows[b->row_count - 1].pc == (u32)(pc - b->base)) {
		b->rows[b->row_count - 1].rule = rule;
		return;
	}
	if (b->row_count < b->row_capacity)
		b->rows[b->row_count++] = (struct row){ (u32)(pc - b->base), rule };
	else
		b->work = 0; /* no compiler writes that many rows for one function */
}

#define STATES 16

struct run {
	struct cie *cie;
	const struct state *initial;
	struct state now, stack[STATES];
	unsigned saved;
	u64 pc, limit;
	int writes;
};

static void advance(struct builder *b, struct run *run, u64 delta)
{
	u64 to = run->pc + delta * run->cie->code_align;
	if (run->writes && to != run->pc)
		emit(b, run->pc, number_of(b, rule_of(b, &run->now, run->cie->signal)));
	run->pc = to < run->pc ? run->limit : to;
}

static void set_cfa(struct state *s, u64 number, s64 offset)
{
	s->how = number < 256 ? REGISTER : OTHER;
	s->cfa_register = number;
	s->offset = offset;
}

/* The instructions whose two high bits are 0. Returns 0 for one that is not known. */
static int extended(struct builder *b, struct run *run, struct cursor *c, u8 op)
{
	struct state *s = &run->now;
	s64 align = run->cie->data_align;
	u64 number;
	switch (op) {
	case 0x00: /* nop */
	case 0x2d: /* AARCH64_negate_ra_state: addresses are stripped when they are read */
		return 1;
	case 0x01: /* set_loc */
		number = pointer(c, run->cie->encoding, b->vaddr + (c->at - b->section));
		if (c->bad || number < run->pc)
			return 0;
		if (run->writes && number != run->pc)
			emit(b, run->pc, number_of(b, rule_of(b, s, run->cie->signal)));
		run->pc = number;
		return 1;
	case 0x02: advance(b, run, fixed(c, 1)); return 1;
	case 0x03: advance(b, run, fixed(c, 2)); return 1;
	case 0x04: advance(b, run, fixed(c, 4)); return 1;
	case 0x05: /* offset_extended */
		number = uleb(c);
		put(b, s, number, AT_CFA, (s64)(uleb(c) * (u64)align));
		return 1;
	case 0x06: /* restore_extended */
		restore(b, s, run->initial, uleb(c));
		return 1;
	case 0x07: /* undefined */
		number = uleb(c);
		put(b, s, number, AT_UNKNOWN, 0);
		if (number == registers[b->machine].ra)
			s->ra_undefined = 1;
		return 1;
	case 0x08: /* same_value */
		put(b, s, uleb(c), AT_SAME, 0);
		return 1;
	case 0x09: /* register */
		number = uleb(c);
		uleb(c);
		put(b, s, number, AT_UNKNOWN, 0);
		return 1;
	case 0x0a: /* remember_state */
		if (run->saved == STATES)
			return 0;
		run->stack[run->saved++] = *s;
		return 1;
	case 0x0b: /* restore_state */
		if (!run->saved)
			return 0;
		*s = run->stack[--run->saved];
		return 1;
	case 0x0c: /* def_cfa */
		number = uleb(c);
		set_cfa(s, number, uleb(c));
		return 1;
	case 0x0d: /* def_cfa_register */
		set_cfa(s, uleb(c), s->offset);
		return 1;
	case 0x0e: /* def_cfa_offset */
		s->offset = uleb(c);
		return 1;
	case 0x0f: /* def_cfa_expression */
		cfa_expression(s, expression(c));
		return 1;
	case 0x10: /* expression */
		number = uleb(c);
		place_expression(b, s, number, expression(c));
		return 1;
	case 0x11: /* offset_extended_sf */
		number = uleb(c);
		put(b, s, number, AT_CFA, (s64)((u64)sleb(c) * (u64)align));
		return 1;
	case 0x12: /* def_cfa_sf */
		number = uleb(c);
		set_cfa(s, number, (s64)((u64)sleb(c) * (u64)align));
		return 1;
	case 0x13: /* def_cfa_offset_sf */
		s->offset = (s64)((u64)sleb(c) * (u64)align);
		return 1;
	case 0x14: /* val_offset */
	case 0x15: /* val_offset_sf */
		number = uleb(c);
		uleb(c);
		put(b, s, number, AT_UNKNOWN, 0);
		return 1;
	case 0x16: /* val_expression */
		number = uleb(c);
		expression(c);
		put(b, s, number, AT_UNKNOWN, 0);
		return 1;
	case 0x2e: /* GNU_args_size */
		uleb(c);
		return 1;
	case 0x2f: /* GNU_negative_offset_extended */
		number = uleb(c);
		put(b, s, number, AT_CFA, (s64)(0 - uleb(c) * (u64)align));
		return 1;
	}
	return 0;
}

/* Runs instructions until they end, or leave the code that the FDE speaks of. Returns 0 for damaged ones. */
static int execute(struct builder *b, struct run *run, struct cursor c)
{
	while (c.at < c.end && run->pc < run->limit) {
		if (!b->work)
			return 0;
		b->work--;
		u8 byte = fixed(&c, 1), low = byte & 0x3f;
		if (byte >> 6 == 1)
			advance(b, run, low);
		else if (byte >> 6 == 2)
			put(b, &run->now, low, AT_CFA, (s64)(uleb(&c) * (u64)run->cie->data_align));
		else if (byte >> 6 == 3)
			restore(b, &run->now, run->initial, low);
		else if (!extended(b, run, &c, low))
			return 0;
		if (c.bad)
			return 0;
	}
	return 1;
}

static void clear(void *at, u64 bytes)
{
	for (u8 *p = at, *end = p + bytes; p < end; p++)
		*(volatile u8 *)p = 0;
}

/* What holds before an FDE's own instructions. */
static int start_state(struct builder *b, struct cie *cie, struct state *initial)
{
	struct run run;
	clear(&run.now, sizeof(run.now));
	run.now.how = OTHER;
	run.initial = &run.now;
	run.cie = cie;
	run.saved = 0;
	run.pc = 0;
	run.limit = ~0ULL;
	run.writes = 0;
	int done = execute(b, &run, cie->instructions);
	*initial = run.now;
	return done;
}

/* Appends the rows of `count` FDEs, sorted by start, to b->rows. Of overlapping ones the later begins where it begins.
 * Ends early when fewer than `row_capacity` / 2 rows are free; returns the number of FDEs taken, -1 out of work. */
long cfi_rows(struct builder *b, const struct fde *fdes, long count, u64 code_end)
{
	struct cie cie = { .at = ~0ULL };
	struct state initial;
	struct run run;
	u64 known = ~0ULL - 1;
	int sound = 0;
	for (long i = 0; i < count; i++) {
		struct fde fde;
		struct cursor c;
		u64 next;
		if (b->row_count > b->row_capacity / 2)
			return i;
		u64 limit = i + 1 < count && fdes[i + 1].start < fdes[i].end ? fdes[i + 1].start : fdes[i].end;
		if (fdes[i].start < b->base || fdes[i].end > code_end || limit <= fdes[i].start)
			continue;
		if (!b->work)
			return -1;
		b->work--;
		if (fdes[i].at + 4 > b->size || parse_fde(b, fdes[i].at, &cie, &fde, &c, &next) <= 0)
			continue;
		if (known != cie.at) {
			sound = start_state(b, &cie, &initial);
			known = cie.at;
		}
		if (fdes[i].start >= b->end + PADDING)
			emit(b, b->end, NO_RULE);
		run.cie = &cie;
		run.initial = &initial;
		run.now = initial;
		run.saved = 0;
		run.pc = fdes[i].start;
		run.limit = limit;
		run.writes = 1;
		if (sound && execute(b, &run, c)) {
			if (run.pc < limit)
				emit(b, run.pc, number_of(b, rule_of(b, &run.now, cie.signal)));
		} else {
			if (!b->work)
				return -1;
			b->skipped++;
			if (run.pc < limit)
				emit(b, run.pc, UNKNOWN_RULE);
		}
		b->end = limit;
	}
	return count;
}
