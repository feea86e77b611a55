/* Spends 50 %, 30 % and 20 % of its CPU time in three functions, in random slices so that no sampling frequency
 * can beat against it, and prints what each really got (nanoseconds of thread CPU time).
 * Usage: shares SECONDS [PAUSE_MS]: with a pause after each slice, 16 ms leave four fifths of the CPU to others. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static volatile uint64_t sink;

static uint64_t cpu_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static inline __attribute__((always_inline)) void burn_until(uint64_t end_ns)
{
	while (cpu_ns() < end_ns)
		for (int i = 0; i < 20000; i++)
			sink = sink * 2862933555777941757ull + 3037000493ull;
}

__attribute__((noinline)) void share_of_50(uint64_t end_ns) { burn_until(end_ns); }
__attribute__((noinline)) void share_of_30(uint64_t end_ns) { burn_until(end_ns); }
__attribute__((noinline)) void share_of_20(uint64_t end_ns) { burn_until(end_ns); }

int main(int argc, char **argv)
{
	static void (*const functions[])(uint64_t) = {share_of_50, share_of_30, share_of_20};
	static const uint64_t shares[] = {50, 30, 20};
	uint64_t spent[3] = {0, 0, 0}, total_ns = 0;
	uint64_t wanted_ns = (argc > 1 ? atof(argv[1]) : 10) * 1e9;
	useconds_t pause_us = (argc > 2 ? atoi(argv[2]) : 0) * 1000;

	srand(7);
	while (total_ns < wanted_ns) {
		/* The function that is furthest behind its share gets a slice of 0.5 to 8 ms. */
		int next = 0;
		for (int i = 1; i < 3; i++)
			if ((double)spent[i] / shares[i] < (double)spent[next] / shares[next])
				next = i;
		uint64_t begin = cpu_ns();
		functions[next](begin + 500000 + rand() % 7500000);
		uint64_t used = cpu_ns() - begin;
		spent[next] += used;
		total_ns += used;
		if (pause_us)
			usleep(pause_us);
	}
	printf("%llu %llu %llu\n", (unsigned long long)spent[0], (unsigned long long)spent[1],
	       (unsigned long long)spent[2]);
	return 0;
}
