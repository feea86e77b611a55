/* A library that is loaded late: see unwound.cc. */
#include <time.h>

static volatile unsigned long sink;

__attribute__((noinline)) static void library_leaf(int rounds)
{
	for (int i = 0; i < rounds; i++)
		sink += i * i;
}

void library_spin(time_t end)
{
	while (time(NULL) < end) {
		library_leaf(10000);
		sink++;
	}
}
