/* Steps the wall clock of one process: LD_PRELOAD this, and write seconds as a 64-bit integer to the file that
 * CLOCK_STEP_FILE names. Only CLOCK_REALTIME moves, as when an administrator sets the clock; the monotonic clock
 * and sleeping go on. (Linux has no time namespace for CLOCK_REALTIME.)
 *
 * Waits until a time of that clock are told to the kernel in its own time: else a wait of a millisecond that began
 * while the clock was ahead would last an hour, which no real step does.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *step;

#define WALL_S 1000000000 /* times below are of the monotonic clock, which begins with the machine */

__attribute__((constructor)) static void open_step(void) {
    const char *path = getenv("CLOCK_STEP_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *page = mmap(NULL, sizeof *step, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED)
        step = page;
}

static int is_wall(clockid_t clock) { return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE; }

static void *next(const char *name, const char *version) {
    void *found = version ? dlvsym(RTLD_NEXT, name, version) : NULL;
    return found ? found : dlsym(RTLD_NEXT, name);
}

static int kernels_time(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = next("clock_gettime", NULL);
    return real(clock, now);
}

/* chDB brings its own clock_gettime, which is not stepped: a time is taken for stepped if it is nearer to the
 * stepped clock than to the kernel's. */
static struct timespec of_kernel(const struct timespec *until) {
    struct timespec time = *until, now;
    int64_t by = step ? *step : 0;
    if (!by || time.tv_sec < WALL_S || kernels_time(CLOCK_REALTIME, &now))
        return time;
    int64_t away = time.tv_sec - now.tv_sec;
    if (llabs(away - by) < llabs(away))
        time.tv_sec -= by;
    return time;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = kernels_time(clock, now);
    if (!result && step && is_wall(clock))
        now->tv_sec += *step;
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec wall;
    int result = clock_gettime(CLOCK_REALTIME, &wall);
    now->tv_sec = wall.tv_sec;
    now->tv_usec = wall.tv_nsec / 1000;
    return result;
}

time_t time(time_t *out) {
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    if (out)
        *out = wall.tv_sec;
    return wall.tv_sec;
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!real)
        real = next("pthread_cond_timedwait", "GLIBC_2.3.2"); /* the older one has another layout */
    struct timespec time = of_kernel(until);
    return real(condition, mutex, &time);
}

int pthread_cond_clockwait(pthread_cond_t *condition, pthread_mutex_t *mutex, clockid_t clock,
                           const struct timespec *until) {
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);
    if (!real)
        real = next("pthread_cond_clockwait", NULL);
    struct timespec time = of_kernel(until);
    return real(condition, mutex, clock, &time);
}

int pthread_mutex_timedlock(pthread_mutex_t *mutex, const struct timespec *until) {
    static int (*real)(pthread_mutex_t *, const struct timespec *);
    if (!real)
        real = next("pthread_mutex_timedlock", NULL);
    struct timespec time = of_kernel(until);
    return real(mutex, &time);
}

int sem_timedwait(sem_t *semaphore, const struct timespec *until) {
    static int (*real)(sem_t *, const struct timespec *);
    if (!real)
        real = next("sem_timedwait", NULL);
    struct timespec time = of_kernel(until);
    return real(semaphore, &time);
}

/* Some libraries wait on a futex without the C library: FUTEX_WAIT_BITSET takes a time, FUTEX_WAIT a duration. */
long syscall(long number, ...) {
    static long (*real)(long, ...);
    if (!real)
        real = next("syscall", NULL);
    va_list rest;
    long argument[6];
    va_start(rest, number);
    for (int place = 0; place < 6; place++)
        argument[place] = va_arg(rest, long);
    va_end(rest);
    struct timespec time;
    if (number == SYS_futex && (argument[1] & FUTEX_CLOCK_REALTIME) && argument[3]) {
        time = of_kernel((const struct timespec *)argument[3]);
        argument[3] = (long)&time;
    }
    return real(number, argument[0], argument[1], argument[2], argument[3], argument[4], argument[5]);
}
