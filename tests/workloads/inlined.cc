// A loop in an inlined function of an inlined function, for debug information: spins for SECONDS (its argument), with
// pauses of PAUSE_MS (another, 0 if missing) every 10 ms or so.
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <unistd.h>

namespace shop {

volatile unsigned long sink;

struct Item {
	unsigned long price;
	__attribute__((always_inline)) inline unsigned long taxed() const
	{
		unsigned long sum = price;
		for (unsigned long i = 0; i < 1000; i++)
			sink = sum = sum * 31 + i;
		return sum;
	}
};

__attribute__((always_inline)) inline unsigned long add_up(const Item *items, int count)
{
	unsigned long sum = 0;
	for (int i = 0; i < count; i++)
		sum += items[i].taxed();
	return sum;
}

struct Cart {
	Item items[10];
	__attribute__((noinline)) unsigned long total() const
	{
		return add_up(items, 10) + 1;
	}
};

} // namespace shop

int main(int argc, char **argv)
{
	time_t end = time(nullptr) + (argc > 1 ? atoi(argv[1]) : 1);
	useconds_t pause_us = (argc > 2 ? atoi(argv[2]) : 0) * 1000;
	shop::Cart cart = {};
	printf("ready\n");
	fflush(stdout);
	while (time(nullptr) < end) {
		for (int i = 0; i < 1000; i++)
			shop::sink = cart.total();
		if (pause_us)
			usleep(pause_us);
	}
}
