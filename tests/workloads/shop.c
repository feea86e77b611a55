/* A service of paced requests: parse, rank, render. Built with -DRANK_PERCENT=120 its ranking is a fifth slower.
 * Usage: shop REQUESTS_PER_SECOND; runs until killed. */
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#ifndef RANK_PERCENT
#define RANK_PERCENT 100
#endif
#define KEEP __attribute__((noinline, noclone))

static volatile uint64_t sink;

static inline __attribute__((always_inline)) void work(uint64_t steps)
{
	for (uint64_t i = 0; i < steps; i++)
		sink = sink * 2862933555777941757ull + 3037000493ull;
}

KEEP void parse_request(void) { work(400000); }
KEEP void rank_offers(void) { work(6000ull * RANK_PERCENT); }
KEEP void render_page(void) { work(500000); }

KEEP void handle_request(void)
{
	parse_request();
	rank_offers();
	render_page();
	sink++;
}

int main(int argc, char **argv)
{
	long period_ns = 1000000000l / (argc > 1 ? atol(argv[1]) : 50);
	struct timespec next;

	clock_gettime(CLOCK_MONOTONIC, &next);
	for (;;) {
		handle_request();
		next.tv_nsec += period_ns;
		if (next.tv_nsec >= 1000000000l) {
			next.tv_nsec -= 1000000000l;
			next.tv_sec++;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
	}
}
