/* Two threads on one CPU hand a byte to and fro through pipes, from 20 frames deep, for SECONDS; then prints the
 * number of context switches and the nanoseconds of CPU time that the process used.
 * Usage: sched_pingpong SECONDS CPU */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static int there[2], back[2];

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec * 1e-9;
}

__attribute__((noinline)) static void play(int depth, int in, int out)
{
	char byte;
	if (depth)
		play(depth - 1, in, out);
	else
		while (read(in, &byte, 1) == 1 && write(out, &byte, 1) == 1)
			;
	__asm__ volatile("");
}

static void *answer(void *unused)
{
	play(20, there[0], back[1]);
	return unused;
}

static void *end_after(void *seconds)
{
	struct rusage used;
	double end = now() + *(double *)seconds;
	while (now() < end)
		usleep(10000);
	getrusage(RUSAGE_SELF, &used);
	printf("switches %ld\n", used.ru_nvcsw + used.ru_nivcsw);
	printf("cpu_ns %ld\n", (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000000L +
				       (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000L);
	exit(0);
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 1;
	pthread_t other, watcher;
	cpu_set_t cpu;
	CPU_ZERO(&cpu);
	CPU_SET(argc > 2 ? atoi(argv[2]) : 0, &cpu);
	sched_setaffinity(0, sizeof(cpu), &cpu);
	if (pipe(there) || pipe(back))
		return 1;
	pthread_create(&other, NULL, answer, NULL);
	pthread_create(&watcher, NULL, end_after, &seconds);
	if (write(there[1], "x", 1) != 1)
		return 1;
	play(20, back[0], there[1]);
	return 1;
}
