/* Threads that wait in known ways, for the scheduler program's tests.
 * Usage: sched_waits busy|kinds|known|stuck | sched_waits flood THREADS SLEEP_NS
 *
 * Prints "THREAD_NAME TID" for each thread and then "ready". What happens next depends on the mode:
 *   busy   four threads spin
 *   kinds  threads sleep, fight for a mutex, read a pipe, write and sync a file (in the current folder)
 *   known  on a line of input: three threads wait in read, futex and nanosleep for two seconds, each in its own
 *          function, then "FUNCTION NANOSECONDS" is printed for each (measured around the calls) and "done"
 *   stuck  a thread waits in futex until a line of input comes; then "done"
 *   flood  THREADS threads sleep SLEEP_NS over and over
 * It ends when its input ends. System calls are made in place, not through libc, so that the function that waits is
 * the leaf of the user stack. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
#define MILLISECONDS 1000000L

static inline __attribute__((always_inline)) long call(long number, long a, long b, long c, long d)
{
#if defined(__x86_64__)
	register long r10 __asm__("r10") = d;
	long result;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return result;
#else
	register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b,
			  x2 __asm__("x2") = c, x3 __asm__("x3") = d;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
#endif
}

static int pipe_fds[2];
static int futex_word;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static volatile int go, stop;
static volatile uint64_t sink;

static uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ull + now.tv_nsec;
}

NOINLINE void wait_in_read(void)
{
	char byte;
	call(SYS_read, pipe_fds[0], (long)&byte, 1, 0);
}

NOINLINE void wait_in_futex(void)
{
	struct timespec limit = {0, 15 * MILLISECONDS};
	call(SYS_futex, (long)&futex_word, FUTEX_WAIT_PRIVATE, 0, (long)&limit);
}

NOINLINE void wait_in_sleep(void)
{
	struct timespec time = {0, 10 * MILLISECONDS};
	call(SYS_nanosleep, (long)&time, 0, 0, 0);
}

NOINLINE void sleep_ns(long ns)
{
	struct timespec time = {ns / 1000000000L, ns % 1000000000L};
	call(SYS_nanosleep, (long)&time, 0, 0, 0);
}

static NOINLINE void spin(int rounds)
{
	for (int i = 0; i < rounds; i++)
		sink = sink * 2862933555777941757ull + 3037000493ull;
}

static void *busy(void *unused)
{
	for (;;)
		spin(1000);
	return unused;
}

static void *sleeper(void *unused)
{
	for (;;) {
		sleep_ns(3 * MILLISECONDS);
		spin(200000);
	}
	return unused;
}

static void *locker(void *unused)
{
	for (;;) {
		pthread_mutex_lock(&mutex);
		sleep_ns(1 * MILLISECONDS);
		pthread_mutex_unlock(&mutex);
		spin(1000);
	}
	return unused;
}

static void *reader(void *unused)
{
	for (;;)
		wait_in_read();
	return unused;
}

static void *writer(void *unused)
{
	for (;;) {
		sleep_ns(2 * MILLISECONDS);
		call(SYS_write, pipe_fds[1], (long)"x", 1, 0);
	}
	return unused;
}

static void *filer(void *unused)
{
	static char block[65536];
	int fd = open("sched_waits.data", O_RDWR | O_CREAT, 0600);
	for (;;) {
		call(SYS_pwrite64, fd, (long)block, sizeof(block), 0);
		call(SYS_fdatasync, fd, 0, 0, 0);
		call(SYS_pread64, fd, (long)block, sizeof(block), 0);
	}
	return unused;
}

static void *flooder(void *ns)
{
	for (;;)
		sleep_ns((long)ns);
	return ns;
}

static void *stuck(void *unused)
{
	while (!stop)
		call(SYS_futex, (long)&futex_word, FUTEX_WAIT_PRIVATE, 0, 0);
	return unused;
}

struct known {
	void (*wait)(void);
	uint64_t waited_ns;
};

static void *wait_known(void *argument)
{
	struct known *known = argument;
	while (!go)
		sleep_ns(1 * MILLISECONDS);
	uint64_t end = now_ns() + 2000 * MILLISECONDS;
	while (now_ns() < end) {
		uint64_t begin = now_ns();
		known->wait();
		known->waited_ns += now_ns() - begin;
	}
	return NULL;
}

static void *write_slowly(void *unused)
{
	while (!stop) {
		sleep_ns(20 * MILLISECONDS);
		call(SYS_write, pipe_fds[1], (long)"x", 1, 0);
	}
	return unused;
}

struct start {
	const char *name;
	void *(*body)(void *);
	void *argument;
};

static pthread_mutex_t print_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t all_started;

static void *run(void *argument)
{
	struct start *start = argument;
	pthread_setname_np(pthread_self(), start->name);
	pthread_mutex_lock(&print_mutex);
	printf("%s %ld\n", start->name, syscall(SYS_gettid));
	pthread_mutex_unlock(&print_mutex);
	pthread_barrier_wait(&all_started);
	return start->body(start->argument);
}

static struct start starts[1024];
static pthread_t threads[1024];
static int count;

static void add(const char *name, void *(*body)(void *), void *argument)
{
	starts[count++] = (struct start){name, body, argument};
}

static void start_all(void)
{
	pthread_attr_t small;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 * 1024);
	pthread_barrier_init(&all_started, NULL, count + 1);
	for (int i = 0; i < count; i++)
		pthread_create(&threads[i], &small, run, &starts[i]);
	pthread_barrier_wait(&all_started);
	printf("ready\n");
	fflush(stdout);
}

static void read_line(void)
{
	char line[64];
	if (!fgets(line, sizeof(line), stdin))
		exit(0);
}

static void run_known(void)
{
	static struct known known[] = {{wait_in_read, 0}, {wait_in_futex, 0}, {wait_in_sleep, 0}};
	static const char *const names[] = {"wait_in_read", "wait_in_futex", "wait_in_sleep"};
	for (int i = 0; i < 3; i++)
		add(names[i], wait_known, &known[i]);
	add("writer", write_slowly, NULL);
	start_all();
	read_line();
	go = 1;
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	stop = 1;
	for (int i = 0; i < 3; i++)
		printf("%s %llu\n", names[i], (unsigned long long)known[i].waited_ns);
}

static void run_stuck(void)
{
	add("stuck", stuck, NULL);
	start_all();
	read_line();
	stop = 1;
	call(SYS_futex, (long)&futex_word, FUTEX_WAKE_PRIVATE, 1, 0);
	pthread_join(threads[0], NULL);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	if (pipe(pipe_fds))
		return 1;
	if (!strcmp(mode, "busy")) {
		for (int i = 0; i < 4; i++)
			add("busy", busy, NULL);
		start_all();
	} else if (!strcmp(mode, "kinds")) {
		add("sleeper", sleeper, NULL);
		add("locker", locker, NULL);
		add("locker2", locker, NULL);
		add("reader", reader, NULL);
		add("writer", writer, NULL);
		add("filer", filer, NULL);
		start_all();
	} else if (!strcmp(mode, "flood") && argc == 4) {
		for (int i = 0; i < atoi(argv[2]) && i < 1024; i++)
			add("flood", flooder, (void *)atol(argv[3]));
		start_all();
	} else if (!strcmp(mode, "known")) {
		run_known();
	} else if (!strcmp(mode, "stuck")) {
		run_stuck();
	} else {
		return 2;
	}
	printf("done\n");
	fflush(stdout);
	for (;;)
		read_line();
}
