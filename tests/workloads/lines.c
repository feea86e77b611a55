/* One function that spends its CPU time in loops on lines of their own, marked below, and prints what each really got
 * (nanoseconds of thread CPU time). Begins when it can read a byte, and stays until it is killed.
 * Usage: lines SECONDS */
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

__attribute__((noinline)) void work(uint64_t spent[3], int rounds)
{
	uint64_t first = cpu_ns();
	for (int i = 0; i < rounds; i++) sink = sink * 3 + i; /* line 1 */
	uint64_t second = cpu_ns();
	for (int i = 0; i < 4 * rounds; i++) sink = sink * 5 + i; /* line 2 */
	uint64_t third = cpu_ns();
	for (int i = 0; i < 2 * rounds; i++) sink = sink * 7 + i; /* line 3 */
	uint64_t end = cpu_ns();
	spent[0] += second - first;
	spent[1] += third - second;
	spent[2] += end - third;
}

int main(int argc, char **argv)
{
	uint64_t spent[3] = {0, 0, 0}, wanted_ns = (argc > 1 ? atof(argv[1]) : 10) * 1e9;

	srand(7);
	getchar();
	while (spent[0] + spent[1] + spent[2] < wanted_ns)
		work(spent, 20000 + rand() % 80000); /* no sampling frequency can beat against it */
	printf("%llu %llu %llu\n", (unsigned long long)spent[0], (unsigned long long)spent[1],
	       (unsigned long long)spent[2]);
	fflush(stdout);
	pause();
}
