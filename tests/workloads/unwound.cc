// Stacks that are hard to walk, in code without frame pointers. Usage: unwound MODE SECONDS
// Prints "ready" when it is in full swing. MODE:
//   threads     4 threads: deep recursion, exceptions, callbacks from the C library, a timer's signal handler
//   crowd       the same in 64 threads, three times as deep
//   realign     functions that align their stack, called in turn
//   kernel      spends its time in read(2)
//   fork        a child that does what "threads" does; its process id is printed as "child PID" (hexadecimal)
//   sleep       nothing
//   dlopen LIB  loads LIB after "ready" and spins in its function library_spin
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <stdexcept>

#define OWN_FRAME __attribute__((noinline))

static volatile unsigned long sink;
static time_t end_time;
static int depth = 60;

static OWN_FRAME void spin(int rounds)
{
	for (int i = 0; i < rounds; i++)
		sink += i * i;
}

extern "C" OWN_FRAME void on_signal(int)
{
	spin(400000);
	sink++; /* no tail call */
}

extern "C" OWN_FRAME int recurse(int depth)
{
	char frame[40];
	memset(frame, depth, sizeof(frame));
	if (!depth) {
		spin(2000);
		return frame[3];
	}
	int result = recurse(depth - 1);
	sink += result;
	return result + frame[depth % 40];
}

struct Guard {
	~Guard() { spin(50); }
};

static OWN_FRAME void throw_from(int depth)
{
	Guard guard;
	if (!depth)
		throw std::runtime_error("far away");
	throw_from(depth - 1);
	sink++;
}

static int compare(const void *left, const void *right)
{
	spin(20);
	return *(const int *)left - *(const int *)right;
}

static OWN_FRAME void round_of_work()
{
	int values[64];
	for (int &value : values)
		value = rand();
	qsort(values, 64, sizeof(int), compare);
	recurse(depth);
	try {
		throw_from(8);
	} catch (const std::exception &error) {
		sink += error.what()[0];
	}
	char text[64];
	snprintf(text, sizeof(text), "%f", (double)sink);
}

static void *work(void *)
{
	while (time(NULL) < end_time)
		round_of_work();
	return NULL;
}

static void threads(int count)
{
	struct sigaction action = {};
	action.sa_handler = on_signal;
	action.sa_flags = SA_RESTART;
	sigaction(SIGPROF, &action, NULL);
	struct itimerval every = { { 0, 4000 }, { 0, 4000 } };
	setitimer(ITIMER_PROF, &every, NULL);
	for (int i = 1; i < count; i++) {
		pthread_t thread;
		pthread_create(&thread, NULL, work, NULL);
	}
	work(NULL);
}

static OWN_FRAME void aligned(int count)
{
	alignas(64) volatile char block[64 + 1];
	char *extra = (char *)alloca(count);
	memset(extra, count, count);
	block[0] = extra[count - 1];
	spin(500);
	sink += block[0];
}

static void realign()
{
	while (time(NULL) < end_time)
		for (int i = 1; i < 100; i++)
			aligned(i);
}

static void kernel()
{
	static char buffer[1 << 20];
	int zero = open("/dev/zero", O_RDONLY);
	while (time(NULL) < end_time)
		for (int i = 0; i < 100; i++)
			sink += read(zero, buffer, sizeof(buffer));
}

static void load(const char *library)
{
	void *handle = dlopen(library, RTLD_NOW);
	auto run = handle ? (void (*)(time_t))dlsym(handle, "library_spin") : NULL;
	if (!run)
		exit(3);
	run(end_time);
}

int main(int count, char **values)
{
	if (count < 3)
		return 2;
	end_time = time(NULL) + atoi(values[count - 1]);
	const char *mode = values[1];
	if (!strcmp(mode, "fork")) {
		pid_t child = fork();
		if (!child) {
			threads(4);
			return 0;
		}
		printf("child %x\n", child);
	}
	puts("ready");
	fflush(stdout);
	if (!strcmp(mode, "threads"))
		threads(4);
	else if (!strcmp(mode, "crowd")) {
		depth = 180;
		threads(64);
	} else if (!strcmp(mode, "realign"))
		realign();
	else if (!strcmp(mode, "kernel"))
		kernel();
	else if (!strcmp(mode, "dlopen"))
		load(values[2]);
	else
		sleep(atoi(values[count - 1]));
	return 0;
}
