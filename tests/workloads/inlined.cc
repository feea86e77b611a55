// A loop in an inlined function of an inlined function, for debug information: spins for SECONDS (its argument).
#include <cstdio>
#include <cstdlib>
#include <ctime>

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
	shop::Cart cart = {};
	printf("ready\n");
	fflush(stdout);
	while (time(nullptr) < end)
		for (int i = 0; i < 1000; i++)
			shop::sink = cart.total();
}
