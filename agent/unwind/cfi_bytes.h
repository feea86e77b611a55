/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers and pointers as DWARF writes them, out of bytes that nobody vouches for. */
#ifndef FLEETPROF_CFI_BYTES_H
#define FLEETPROF_CFI_BYTES_H

#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;

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

#endif
