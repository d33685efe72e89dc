/* Moves the wall clock of the process it is preloaded into, by an offset that may change at any time: a file of 8 bytes,
 * nanoseconds in native byte order, mapped into memory. Its path is in REDISTEST_CLOCK.
 *
 * REDISTEST_CLOCK_HOLD makes gettimeofday behave as a server does that saves itself system calls: for so many nanoseconds
 * it adds what has passed to its last reading, whatever happened to the clock since.
 *
 * The kernel is asked by system call, not through the next library's function: looking that up allocates memory, and the
 * allocator of Redis asks for the time while it starts, which would go in circles. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const int64_t *offset_ns; /* NULL until the library is loaded */
static int64_t hold_ns;

__attribute__((constructor)) static void map_offset(void) {
    const char *path = getenv("REDISTEST_CLOCK");
    int fd = path ? open(path, O_RDONLY) : -1;
    void *page = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *offset_ns, PROT_READ, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) {
        static const char complaint[] = "clock.c: cannot map REDISTEST_CLOCK\n";
        ssize_t ignored = write(2, complaint, sizeof complaint - 1);
        (void)ignored;
        _exit(1);
    }
    close(fd);
    if (getenv("REDISTEST_CLOCK_HOLD"))
        hold_ns = atoll(getenv("REDISTEST_CLOCK_HOLD"));
    offset_ns = page;
}

int clock_gettime(clockid_t clock, struct timespec *t) {
    int failed = (int)syscall(SYS_clock_gettime, clock, t);
    if (!failed && offset_ns && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t ns = (int64_t)t->tv_sec * 1000000000 + t->tv_nsec + __atomic_load_n(offset_ns, __ATOMIC_RELAXED);
        t->tv_sec = ns / 1000000000;
        t->tv_nsec = ns % 1000000000;
    }
    return failed;
}

static int64_t nanoseconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone) {
    static __thread int64_t read_at, reading; /* of CLOCK_MONOTONIC; of the wall clock */
    int64_t now = nanoseconds(CLOCK_MONOTONIC);
    (void)zone;
    if (!reading || now - read_at >= hold_ns) {
        /* Both clocks at one instant: who is put to sleep between them looks again. */
        for (int again = 0; again < 1000; again++) {
            read_at = now;
            reading = nanoseconds(CLOCK_REALTIME);
            now = nanoseconds(CLOCK_MONOTONIC);
            if (now - read_at < 20000)
                break;
        }
        now = read_at;
    }
    tv->tv_sec = (reading + now - read_at) / 1000000000;
    tv->tv_usec = (reading + now - read_at) % 1000000000 / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (out)
        *out = t.tv_sec;
    return t.tv_sec;
}
