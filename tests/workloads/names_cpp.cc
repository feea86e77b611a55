// As names_c.c, in a namespace, a template and a class.
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>
#include <string>

#define KEEP __attribute__((noinline))

namespace shop {

volatile unsigned long sink;

template <typename Number> KEEP void spin_inner(Number n)
{
	for (Number i = 0; i < n; i++)
		sink = sink + i * 31;
}

class Basket {
      public:
	KEEP void add(const std::map<std::string, int> &items)
	{
		spin_inner<unsigned long>(100000 + items.size());
		sink = sink + 1;
	}
};

} // namespace shop

KEEP void spin_outer(shop::Basket &basket)
{
	basket.add({});
	shop::sink = shop::sink + 1;
}

int main(int argc, char **argv)
{
	time_t end = time(nullptr) + (argc > 1 ? atoi(argv[1]) : 1);
	auto add = &shop::Basket::add;
	void *add_address;
	__builtin_memcpy(&add_address, &add, sizeof add_address);
	printf("spin_inner %p\nadd %p\nspin_outer %p\nready\n", (void *)shop::spin_inner<unsigned long>,
	       add_address, (void *)spin_outer);
	fflush(stdout);
	shop::Basket basket;
	while (time(nullptr) < end)
		spin_outer(basket);
}
