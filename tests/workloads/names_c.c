/* Spins for SECONDS in spin_outer → spin_middle → spin_inner; prints their addresses first, one `name 0xaddr` a
 * line, then "ready". */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define KEEP __attribute__((noinline, noclone))

volatile unsigned long sink;

KEEP void spin_inner(unsigned long n)
{
	for (unsigned long i = 0; i < n; i++)
		sink += i * 31;
}

KEEP static void spin_middle(unsigned long n)
{
	spin_inner(n);
	sink++;
}

KEEP void spin_outer(unsigned long n)
{
	spin_middle(n);
	sink++;
}

int main(int argc, char **argv)
{
	time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 1);

	printf("spin_inner %p\nspin_middle %p\nspin_outer %p\nready\n", (void *)spin_inner, (void *)spin_middle,
	       (void *)spin_outer);
	fflush(stdout);
	while (time(NULL) < end)
		spin_outer(100000);
	return 0;
}
