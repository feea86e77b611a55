/* Processes that begin, change and end in many ways.
 *
 * processes spin MS              spin_here for MS milliseconds of CPU time
 * processes exec MS PROGRAM ...  spin, then exec PROGRAM in the same pid
 * processes fork COUNT MS        fork COUNT children, one after the other, each of which spins; prints their pids
 * processes load LIBRARY MS      dlopen LIBRARY, then spin
 * processes headless MS          end the main thread; another thread spins
 * processes jit COUNT            make COUNT separate executable pages, then wait for the end of input
 * processes late COUNT           print a line; as jit after a line of input
 * processes storm COUNT PROGRAM  vfork and exec PROGRAM COUNT times, 1 ms apart
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile uint64_t sink;

static uint64_t now_ns(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

__attribute__((noinline)) void spin_here(void)
{
	/* Makes gcc keep a frame in this leaf function; else a walk by frame pointers skips its caller. */
	void *volatile frame = __builtin_frame_address(0);
	(void)frame;
	for (int i = 0; i < 100000; i++)
		sink = sink * 31 + i;
}

__attribute__((noinline, noclone)) static void spin(const char *ms)
{
	uint64_t end = now_ns(CLOCK_THREAD_CPUTIME_ID) + strtoull(ms, NULL, 10) * 1000000;
	while (now_ns(CLOCK_THREAD_CPUTIME_ID) < end)
		spin_here();
}

static void *spin_thread(void *ms)
{
	spin(ms);
	exit(0);
}

static void fork_children(int count, const char *ms)
{
	for (int i = 0; i < count; i++) {
		pid_t pid = fork();
		if (!pid) {
			spin(ms);
			_exit(0);
		}
		waitpid(pid, NULL, 0);
		printf("%d\n", pid);
	}
}

static void map_pages(int count)
{
	char *area = mmap(NULL, 2L * count * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (long i = 0; i < count; i++)
		mmap(area + 2 * i * 4096, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	printf("%p\n", (void *)area);
	fflush(stdout);
	while (getchar() != EOF)
		;
}

static void storm(int count, char *program)
{
	char *arguments[] = {program, NULL};
	uint64_t begin = now_ns(CLOCK_MONOTONIC);
	for (int i = 0; i < count; i++) {
		uint64_t next = begin + i * 1000000ull, now = now_ns(CLOCK_MONOTONIC);
		if (now < next)
			usleep((next - now) / 1000);
		if (!vfork()) {
			execv(program, arguments);
			_exit(1);
		}
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
	while (waitpid(-1, NULL, 0) > 0)
		;
	printf("%llu\n", (unsigned long long)(now_ns(CLOCK_MONOTONIC) - begin));
}

int main(int argc, char **argv)
{
	const char *mode = argc > 2 ? argv[1] : "";
	pthread_t thread;

	if (!strcmp(mode, "spin")) {
		spin(argv[2]);
	} else if (!strcmp(mode, "exec") && argc > 3) {
		spin(argv[2]);
		execv(argv[3], argv + 3);
		return 1;
	} else if (!strcmp(mode, "fork") && argc > 3) {
		fork_children(atoi(argv[2]), argv[3]);
	} else if (!strcmp(mode, "load") && argc > 3) {
		if (!dlopen(argv[2], RTLD_NOW))
			return 1;
		spin(argv[3]);
	} else if (!strcmp(mode, "headless")) {
		pthread_create(&thread, NULL, spin_thread, argv[2]);
		pthread_exit(NULL);
	} else if (!strcmp(mode, "jit")) {
		map_pages(atoi(argv[2]));
	} else if (!strcmp(mode, "late")) {
		puts("ready");
		fflush(stdout);
		if (getchar() != EOF)
			map_pages(atoi(argv[2]));
	} else if (!strcmp(mode, "storm") && argc > 3) {
		storm(atoi(argv[2]), argv[3]);
	} else {
		return 2;
	}
	return 0;
}
