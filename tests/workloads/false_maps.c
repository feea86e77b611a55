/* Runs code of its own making, and says what it is called as JIT compilers do: /tmp/perf-PID.map, and a jitdump.
 *
 * false_maps honest: writes the map once. false_maps FOLDER PID: rewrites map, dump and code all the time, as no
 * runtime does: other processes' addresses, lines without end, half lines, sparse and cut files, links to the map of
 * process PID, FIFOs. Either prints "ready" and spins until it is killed. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096
#define CODE ((unsigned char *)0x5000000000)
#define PAGES 16

static char map_path[64], other_path[64], dump_path[512];
static unsigned char *mark;

static uint64_t random_word(void)
{
	static uint64_t state = 88172645463325252ULL;
	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

/* mov ecx, 100000; dec ecx; jnz; ret */
static void write_code(unsigned char *at)
{
	static const unsigned char loop[] = { 0xb9, 0xa0, 0x86, 0x01, 0x00, 0xff, 0xc9, 0x75, 0xfc, 0xc3 };
	memcpy(at, loop, sizeof(loop));
}

static int some_line(char *line, size_t room)
{
	uint64_t at = (uint64_t)CODE + random_word() % (PAGES * PAGE), size = random_word() >> random_word() % 64;
	switch (random_word() % 8) {
	case 0: return snprintf(line, room, "%lx %lx \x01\x1b[31m\xff\xfe%lx\n", at, size, at);
	case 1: return snprintf(line, room, "%lx %lx", at, size);
	case 2: return snprintf(line, room, "-%lx %lx minus\n", at, size);
	case 3: return snprintf(line, room, "%lx 100 %0*d\n", at, (int)(random_word() % 9000), 7);
	case 4: return snprintf(line, room, "\n\n  \n%lx\n", at);
	default: return snprintf(line, room, "%lx %lx false_%lx\n", at, size & 0xffff, size & 63);
	}
}

static void write_lines(int fd, unsigned count)
{
	char line[10000];
	for (unsigned i = 0; i < count; i++) {
		int length = some_line(line, sizeof(line));
		if (write(fd, line, length) != length)
			return;
	}
}

static void rewrite_map(void)
{
	int flags = O_WRONLY | O_CREAT | (random_word() % 2 ? O_TRUNC : O_APPEND), fd;
	switch (random_word() % 10) {
	case 0: unlink(map_path); break;
	case 1: unlink(map_path); if (symlink(other_path, map_path)) {} break;
	case 2: unlink(map_path); if (mkfifo(map_path, 0600)) {} break;
	case 3: unlink(map_path); break;
	}
	if ((fd = open(map_path, flags | O_NOFOLLOW | O_NONBLOCK, 0644)) < 0)
		return;
	if (random_word() % 16 == 0 && ftruncate(fd, 1ULL << 33)) {}
	write_lines(fd, random_word() % 300);
	if (random_word() % 4 == 0 && ftruncate(fd, random_word() % 3000)) {}
	close(fd);
}

static void rewrite_dump(void)
{
	uint64_t words[64] = { 0x4a695444ULL | 1ULL << 32, 40 | 62ULL << 32, (uint64_t)getpid() << 32, 1, 0 };
	int fd = open(dump_path, O_RDWR);
	if (fd < 0)
		return;
	for (int i = 5; i < 64; i++) {
		words[i] = random_word() % 3 ? random_word() >> random_word() % 64 : (uint64_t)CODE + random_word() % 65536;
		if (i % 14 == 5) /* a load record of 112 bytes */
			words[i] = random_word() % 3 | (random_word() % 4 ? 112ULL << 32 : random_word());
	}
	if (pwrite(fd, words, sizeof(words), random_word() % 2 ? 0 : random_word() % 4096) < 0) {}
	if (random_word() % 8 == 0 && ftruncate(fd, PAGE + random_word() % 8192)) {}
	close(fd);
}

static void *rewrite(void *unused)
{
	for (;;) {
		rewrite_map();
		rewrite_dump();
		/* Its own memory: code of other pages comes and goes. */
		unsigned char *page = CODE + (1 + random_word() % (PAGES - 1)) * PAGE;
		if (random_word() % 2)
			madvise(page, PAGE, MADV_DONTNEED);
		else
			mprotect(page, PAGE, random_word() % 2 ? PROT_NONE : PROT_READ | PROT_EXEC);
	}
	return unused;
}

static void start_rewriting(const char *folder, const char *other)
{
	pthread_t thread;
	snprintf(other_path, sizeof(other_path), "/tmp/perf-%s.map", other);
	snprintf(dump_path, sizeof(dump_path), "%s/jit-%d.dump", folder, getpid());
	int fd = open(dump_path, O_RDWR | O_CREAT, 0644);
	if (fd < 0 || ftruncate(fd, PAGE))
		exit(1);
	mark = mmap(0, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	close(fd);
	rewrite_dump();
	rewrite_map();
	pthread_create(&thread, 0, rewrite, 0);
}

int main(int argc, char **argv)
{
	snprintf(map_path, sizeof(map_path), "/tmp/perf-%d.map", getpid());
	void *code = mmap(CODE, PAGES * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (code == MAP_FAILED || argc < 2)
		return 1;
	write_code(CODE);
	if (!strcmp(argv[1], "honest")) {
		FILE *map = fopen(map_path, "w");
		fprintf(map, "%lx 40 honest_code\n", (unsigned long)CODE);
		fclose(map);
	} else {
		start_rewriting(argv[1], argv[2]);
	}
	puts("ready");
	fflush(stdout);
	for (;;)
		((void (*)(void))CODE)();
}
