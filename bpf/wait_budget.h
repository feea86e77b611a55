/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Which waits have their stack kept, so that weights stay unbiased and no CPU keeps more than its budget.
 *
 * A wait of d ns is kept with probability min(1, d/T) and then counts max(d, T) ns: its expected weight is d,
 * whatever T is, as long as T is fixed before the wait's own random number is drawn. T belongs to a CPU. Each kept
 * stack raises it by 1/16, and each 1/budget of a second that passes lowers it by 1/17, never below the floor.
 * Since a stack raises T by as much as its share of time lowers it, a CPU keeps in any t seconds at most
 * budget * t + 17 * ln(T_max / floor) stacks: 80 above its budget when T has to rise hundredfold. (Steps of 1/32 kept
 * 30 a second in place of 25 over the first five seconds of a flood; T itself then varies by 13 % in place of 18.) */
#ifndef FLEETPROF_WAIT_BUDGET_H
#define FLEETPROF_WAIT_BUDGET_H

/* T is a multiple of 256 ns, which makes the fixed-point arithmetic below exact. */
#define FP_FLOOR_NS (1000000ULL & ~255ULL)
#define FP_CEILING_NS (1ULL << 40) /* 18 minutes */

const volatile __u64 slot_ns = 1000000000ULL / 25; /* one second / (stacks a second) */

struct fp_budget {
	__u64 threshold_ns; /* T; below the floor before the first kept stack */
	__u64 lowered_ns;   /* up to when the passing of time has been taken into account */
};

/* (16/17)^(2^i) * 2^16 */
static const __u32 lowering[] = { 61681, 58053, 51424, 40350, 24844, 9418, 1353, 28, 0 };

/* T in force at `now`. */
static __always_inline __u64 threshold_at(struct fp_budget *budget, __u64 now)
{
	__u64 threshold = budget->threshold_ns;
	if (threshold <= FP_FLOOR_NS)
		return FP_FLOOR_NS;
	__u64 passed = now - budget->lowered_ns;
	if (passed < slot_ns)
		return threshold;
	__u64 slots = passed / slot_ns;
	budget->lowered_ns += slots * slot_ns;
	if (slots >= 512)
		threshold = 0;
	for (int bit = 0; bit < 9; bit++)
		if (slots & (1U << bit))
			threshold = (threshold >> 8) * lowering[bit] >> 8;
	threshold &= ~255ULL;
	if (threshold < FP_FLOOR_NS)
		threshold = FP_FLOOR_NS;
	budget->threshold_ns = threshold;
	return threshold;
}

/* A stack was kept while T was `threshold`. */
static __always_inline void raise_threshold(struct fp_budget *budget, __u64 threshold, __u64 now)
{
	if (threshold <= FP_FLOOR_NS)
		budget->lowered_ns = now;
	threshold = (threshold + (threshold >> 4)) & ~255ULL;
	budget->threshold_ns = threshold < FP_CEILING_NS ? threshold : FP_CEILING_NS;
}

/* A random number below `threshold`, evenly distributed. */
static __always_inline __u64 random_below(__u64 threshold)
{
	return (threshold >> 8) * bpf_get_prandom_u32() >> 24;
}

/* The weight of one part of a wait, given the wait's random number below T. */
static __always_inline __u64 weight_of(__u64 part_ns, __u64 random, __u64 threshold)
{
	if (part_ns >= threshold)
		return part_ns;
	return part_ns > random ? threshold : 0;
}

#endif
