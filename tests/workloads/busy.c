/* Keeps one CPU busy below a known number of frames. Usage: busy user|kernel DEPTH SECONDS
 * All functions of the call chain lie in one section, whose bounds are printed first as "start ADDR" and "stop ADDR"
 * before "ready". Mode "kernel" spends its time in read(2). Compile with -fno-omit-frame-pointer. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHAIN __attribute__((noinline, section("chain")))

extern char __start_chain[], __stop_chain[];
static char buffer[1 << 20];
static volatile unsigned long sink;

CHAIN static void spin(int zero, time_t end)
{
	while (time(NULL) < end)
		for (int i = 0; i < 1000; i++)
			if (zero < 0)
				for (int j = 0; j < 1000; j++)
					sink += j;
			else
				sink += read(zero, buffer, sizeof(buffer));
}

CHAIN static void descend(int depth, int zero, time_t end)
{
	if (depth > 1)
		descend(depth - 1, zero, end);
	else
		spin(zero, end);
	sink++; /* no tail call */
}

int main(int count, char **values)
{
	if (count != 4)
		return 2;
	int zero = strcmp(values[1], "kernel") ? -1 : open("/dev/zero", O_RDONLY);
	printf("start %lx\nstop %lx\nready\n", (unsigned long)__start_chain, (unsigned long)__stop_chain);
	fflush(stdout);
	descend(atoi(values[2]), zero, time(NULL) + atoi(values[3]));
	return 0;
}
