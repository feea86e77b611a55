/* Claims to be CPython 3.11 and keeps rewriting what a profiler would read: lists that lead into themselves, frames
 * without end, names of any length. Its memory lies on its own stack, where marks of the interpreter's loop are looked
 * for. It prints "ready" and spins until it is killed. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define WORDS 2048

const unsigned long Py_Version = 0x030b07f0;
uint64_t _PyRuntime[64];

__attribute__((noinline)) int _PyEval_EvalFrameDefault(int x)
{
	return x + 1;
}

static uint64_t random_word(void)
{
	static uint64_t state = 88172645463325252ULL;
	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

/* A pointer to the arena, a small number, a pair of flags, text, or anything. */
static uint64_t next_word(uint64_t *arena)
{
	uint64_t word = random_word();
	switch (word >> 60) {
	case 0: return word & 0xff;
	case 1: return 0x0000000100000001ULL;
	case 2: return 0x4141414141414141ULL;
	case 3: return word;
	case 4: return 0xe4; /* the state of a compact ASCII str */
	default: return (uint64_t)(arena + word % (WORDS - 64));
	}
}

__attribute__((noinline)) static void spin(void)
{
	volatile uint64_t arena[WORDS];
	uint64_t *start = (uint64_t *)arena;
	for (int i = 0; i < WORDS; i++)
		arena[i] = next_word(start);
	for (uint64_t turn = 0;; turn++) {
		arena[64 + random_word() % (WORDS - 64)] = next_word(start);
		_PyRuntime[5] = (uint64_t)start;	     /* interpreters.head */
		arena[0] = (uint64_t)start;		     /* interpreter->next: itself */
		arena[2] = (uint64_t)(start + 8);	     /* threads.head */
		arena[8 + 1] = (uint64_t)(start + 8);	     /* thread->next: itself */
		arena[8 + 19] = turn >> 12 & 7 ? pthread_self() : 0; /* thread->thread_id */
		arena[8 + 7] = (uint64_t)(start + 40);	     /* cframe */
		arena[40 + 1] = (uint64_t)(start + 64);	     /* cframe->current_frame */
		arena[40 + 2] = (uint64_t)(start + 40);	     /* cframe->previous: itself */
		arena[64 + 4] = (uint64_t)(start + 64 + random_word() % 1024);
		arena[64 + 6] = (uint64_t)(start + (turn & 64 ? 64 : 64 + random_word() % 1024));
		arena[64 + 8] = random_word(); /* is_entry among it */
	}
}

int main(void)
{
	puts("ready");
	fflush(stdout);
	spin();
	return _PyEval_EvalFrameDefault(0);
}
