/*
 * A wall clock that may be set, for a program that is told to preload this: what the system says, and so many seconds more
 * as are in a file (a 64-bit number). How much time has passed is true all the same.
 *
 * libfaketime cannot be used for PostgreSQL: while a program waits, what it does upon a signal is told the true time, and
 * PostgreSQL looks in its handler for SIGALRM whether a time-out has passed. So nothing is done here but to read memory.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *ahead;

__attribute__((constructor)) static void begin(void)
{
	const char *name = getenv("AETHERIUM_TEST_CLOCK");
	int file = name == NULL ? -1 : open(name, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		abort();
	void *memory = mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
	close(file);
	if (memory == MAP_FAILED)
		abort();
	ahead = memory;
}

int clock_gettime(clockid_t id, struct timespec *time)
{
	int outcome = (int) syscall(SYS_clock_gettime, id, time);
	/* Others may be loaded, and ask, before this is. */
	if (outcome == 0 && ahead != NULL && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
		time->tv_sec += *ahead;
	return outcome;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone)
{
	struct timespec now;
	(void) zone;
	clock_gettime(CLOCK_REALTIME, &now);
	time->tv_sec = now.tv_sec;
	time->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *copy)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	if (copy != NULL)
		*copy = now.tv_sec;
	return now.tv_sec;
}
