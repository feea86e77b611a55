/* SPDX-License-Identifier: Apache-2.0 */
/* Reads call frame information (.eh_frame) and writes unwind rows: which rule leads from a frame to its caller,
 * for each range of code. agent/unwind/cfi.py does the same in Python, about fifty times slower.
 *
 * Freestanding: no C library, no allocation, no global state; all memory is the caller's. Every byte of the section
 * is untrusted: each read is checked, and `work` bounds the number of steps whatever the section says.
 *
 * Formats: DWARF 5 section 6.4 (call frame information), Linux Standard Base 5.0 "Exception Frames" (.eh_frame),
 * psABI supplements for register numbers. Built by ../../bpf/Makefile into agent/objects/libcfi.so. */
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;

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

/* Gaps shorter than this are padding between functions: no row tells of them. */
#define PADDING 16

struct cursor {
	const u8 *at, *end;
	int bad;
};

static u64 fixed(struct cursor *c, unsigned bytes)
{
	u64 value = 0;
	if ((u64)(c->end - c->at) < bytes) {
		c->bad = 1;
		c->at = c->end;
		return 0;
	}
	for (unsigned i = 0; i < bytes; i++)
		value |= (u64)c->at[i] << 8 * i;
	c->at += bytes;
	return value;
}

/* No number needs more than ten bytes; longer ones would cost time that nobody has counted. */
static u64 uleb(struct cursor *c)
{
	u64 value = 0;
	for (unsigned shift = 0; shift < 70; shift += 7) {
		u64 byte = fixed(c, 1);
		if (shift < 64)
			value |= (byte & 0x7f) << shift;
		if (c->bad || !(byte & 0x80))
			return value;
	}
	c->bad = 1;
	return 0;
}

static s64 sleb(struct cursor *c)
{
	u64 value = 0;
	for (unsigned shift = 0; shift < 70;) {
		u64 byte = fixed(c, 1);
		if (shift < 64)
			value |= (byte & 0x7f) << shift;
		shift += 7;
		if (c->bad)
			return 0;
		if (!(byte & 0x80)) {
			if (shift < 64 && (byte & 0x40))
				value |= ~0ULL << shift;
			return (s64)value;
		}
	}
	c->bad = 1;
	return 0;
}

static void skip(struct cursor *c, u64 bytes)
{
	if ((u64)(c->end - c->at) < bytes) {
		c->bad = 1;
		bytes = c->end - c->at;
	}
	c->at += bytes;
}

/* A pointer in one of the encodings DW_EH_PE_*; `vaddr` is the address of the pointer itself. */
static u64 pointer(struct cursor *c, u8 encoding, u64 vaddr)
{
	u64 value;
	switch (encoding & 0x0f) {
	case 0x00: case 0x04: case 0x0c: value = fixed(c, 8); break;
	case 0x01: value = uleb(c); break;
	case 0x02: value = fixed(c, 2); break;
	case 0x03: value = fixed(c, 4); break;
	case 0x09: value = sleb(c); break;
	case 0x0a: value = (u64)(s64)(int16_t)fixed(c, 2); break;
	case 0x0b: value = (u64)(s64)(int32_t)fixed(c, 4); break;
	default: c->bad = 1; return 0;
	}
	if ((encoding & 0x70) == 0x10)
		value += vaddr;
	else if (encoding & 0xf0)
		c->bad = 1; /* relative to a base we do not know, or indirect */
	return value;
}

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
		if (number < run->pc)
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
