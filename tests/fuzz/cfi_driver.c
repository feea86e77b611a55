/* SPDX-License-Identifier: Apache-2.0 */
/* Feeds damaged call frame information to the builder of unwind tables (agent/unwind/cfi.c), compiled with sanitizers:
 * a read or write of one byte outside of its memory ends it.
 *
 * cfi_driver SEEDS INPUTS SEED LAST: SEEDS holds sections as `struct seed` and their bytes; the input that is being
 * fed is in the file LAST, mapped. It prints what it did, in JSON. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../../agent/unwind/cfi.c"

#define MAX_SEEDS 64
#define MAX_INPUT 65536
#define ROWS 4096
#define WORK_PER_BYTE 4

struct seed {
	u64 vaddr, base, code_end, size;
};

static struct seed seeds[MAX_SEEDS];
static u8 *contents[MAX_SEEDS];
static int seed_count;
static u64 chance_state;

static u64 chance(u64 below)
{
	chance_state ^= chance_state << 13;
	chance_state ^= chance_state >> 7;
	chance_state ^= chance_state << 17;
	return (chance_state * 0x2545f4914f6cdd1dULL >> 16) % below;
}

static void fail(const char *why)
{
	fprintf(stderr, "cfi_driver: %s\n", why);
	abort();
}

static void read_seeds(const char *path)
{
	FILE *file = fopen(path, "rb");
	if (!file)
		fail("the seeds cannot be read");
	while (seed_count < MAX_SEEDS && fread(&seeds[seed_count], sizeof(struct seed), 1, file) == 1) {
		struct seed *seed = &seeds[seed_count];
		if (seed->size < 8 || seed->size > MAX_INPUT / 2)
			fail("a seed of an odd size");
		contents[seed_count] = malloc(seed->size);
		if (fread(contents[seed_count], 1, seed->size, file) != seed->size)
			fail("a seed is cut");
		seed_count++;
	}
	fclose(file);
	if (!seed_count)
		fail("there are no seeds");
}

static const u64 telling[] = { 0, 1, 2, 3, 4, 7, 8, 15, 16, 127, 128, 255, 256, 0x7fff, 0x8000, 0xffff, 0x7fffffff,
			       0x80000000, 0xffffffff, 1ULL << 47, 1ULL << 63, ~0ULL };
/* Instructions and encodings that are worth being tried. */
static const u8 codes[] = { 0x00, 0x01, 0x02, 0x04, 0x05, 0x07, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10, 0x11, 0x12, 0x13,
			    0x16, 0x1b, 0x2d, 0x2e, 0x2f, 0x40, 0x41, 0x7f, 0x80, 0x86, 0x90, 0xc3, 0xc6, 0xd0, 0xff };

/* Where a record of the section begins: one in some steps from the start. */
static u64 some_record(const u8 *data, u64 size)
{
	u64 at = 0;
	for (u64 steps = chance(12); steps; steps--) {
		u32 length;
		if (at + 8 > size)
			return 0;
		memcpy(&length, data + at, 4);
		if (at + 4 + (u64)length + 8 > size)
			return at;
		at += 4 + (u64)length;
	}
	return at;
}

static u64 mutate(u8 *data, u64 size)
{
	for (u64 edits = 1 + chance(5); edits && size > 8; edits--) {
		u64 at, value = telling[chance(sizeof(telling) / sizeof(*telling))];
		unsigned bytes = 1u << chance(4);
		switch (chance(8)) {
		case 0: case 1: /* length, CIE pointer, start or size of a record */
			at = some_record(data, size) + 4 * chance(4);
			if (at + bytes <= size)
				memcpy(data + at, &value, bytes);
			break;
		case 2: /* an augmentation, an alignment, an encoding */
			at = some_record(data, size) + 8 + chance(16);
			if (at < size)
				data[at] = codes[chance(sizeof(codes))];
			break;
		case 3: case 4:
			data[chance(size)] = codes[chance(sizeof(codes))];
			break;
		case 5:
			data[chance(size)] ^= 1u << chance(8);
			break;
		case 6: /* a part put over another one */
			at = chance(size - 4);
			bytes = 4 + chance(28);
			if (at + bytes > size)
				bytes = size - at;
			memmove(data + chance(size - bytes + 1), data + at, bytes);
			break;
		default:
			if (chance(4) == 0)
				size = chance(size) + 1;
			else
				data[chance(size)] = value;
		}
	}
	return size;
}

static int by_start(const void *left, const void *right)
{
	const struct fde *a = left, *b = right;
	return a->start < b->start ? -1 : a->start > b->start;
}

static u64 total_rows, total_fdes, spent_most;
/* Allocated once, each to its size, so that the sanitizer sees where it ends. */
static struct rule *rules;
static struct row *rows;
static u32 *slots;

static void allocate(void)
{
	rules = calloc(MAX_RULES, sizeof(*rules));
	rows = calloc(ROWS, sizeof(*rows));
	slots = calloc(HASH_SLOTS, sizeof(*slots));
	rules[UNKNOWN_RULE].cfa = CFA_UNKNOWN;
}

static void forget_rules(u32 count)
{
	for (u32 i = 2; i < count; i++)
		for (u32 slot = hash_of(&rules[i]); slots[slot & (HASH_SLOTS - 1)]; slot++)
			slots[slot & (HASH_SLOTS - 1)] = 0;
}

static void feed(const struct seed *seed, const u8 *input, u64 size, u32 machine)
{
	u8 *section = malloc(size);
	memcpy(section, input, size);
	struct builder b = { .section = section, .size = size, .vaddr = seed->vaddr, .base = seed->base,
			     .work = WORK_PER_BYTE * size, .rules = rules, .slots = slots, .rule_count = 2,
			     .row_capacity = ROWS, .rows = rows, .end = seed->base, .machine = machine };
	long count = cfi_index(&b, 0, 0);
	if (count < 0 || (u64)count > size / 4)
		fail("more FDEs than there is room for");
	struct fde *fdes = malloc(count * sizeof(*fdes) + 1);
	if (cfi_index(&b, fdes, count) != count)
		fail("another number of FDEs");
	qsort(fdes, count, sizeof(*fdes), by_start);
	total_fdes += count;
	u32 last = 0;
	for (long done = 0; done < count;) {
		b.row_count = 0;
		long taken = cfi_rows(&b, fdes + done, count - done, seed->code_end);
		if (taken < 0)
			break;
		if (!taken)
			fail("no progress");
		for (u32 i = 0; i < b.row_count; i++) {
			if (rows[i].rule >= b.rule_count || rows[i].pc < last)
				fail("a row without a rule, or out of order");
			last = rows[i].pc;
		}
		total_rows += b.row_count;
		done += taken;
	}
	if (b.rule_count > MAX_RULES || b.work > WORK_PER_BYTE * size)
		fail("more rules or work than allowed");
	if (WORK_PER_BYTE * size - b.work > spent_most)
		spent_most = WORK_PER_BYTE * size - b.work;
	free(fdes);
	free(section);
	forget_rules(b.rule_count);
}

static double cpu_s(void)
{
	struct timespec now;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	if (argc != 5)
		fail("usage: cfi_driver SEEDS INPUTS SEED LAST");
	read_seeds(argv[1]);
	allocate();
	u64 inputs = strtoull(argv[2], 0, 10);
	chance_state = strtoull(argv[3], 0, 10) * 0x9e3779b97f4a7c15ULL | 1;
	int fd = open(argv[4], O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || ftruncate(fd, 16 + MAX_INPUT))
		fail("the last input cannot be kept");
	u8 *last = mmap(0, 16 + MAX_INPUT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (last == MAP_FAILED)
		fail("the last input cannot be mapped");
	double worst = 0;
	for (u64 number = 0; number < inputs; number++) {
		u64 which = chance(seed_count);
		u8 *input = last + 16;
		memcpy(input, contents[which], seeds[which].size);
		u64 size = number < (u64)seed_count ? seeds[which].size : mutate(input, seeds[which].size);
		memcpy(last, &size, 8);
		memcpy(last + 8, &which, 8);
		double began = cpu_s();
		feed(&seeds[which], input, size, number & 1);
		if (cpu_s() - began > worst)
			worst = cpu_s() - began;
	}
	printf("{\"inputs\": %llu, \"fdes\": %llu, \"rows\": %llu, \"most_steps\": %llu, \"worst_s\": %.6f, \"cpu_s\": %.3f}\n",
	       (unsigned long long)inputs, (unsigned long long)total_fdes, (unsigned long long)total_rows,
	       (unsigned long long)spent_most, worst, cpu_s());
	return 0;
}
