/* Shifts the clocks of one process, live: two numbers of seconds to add, to the wall clock and to
 * the clocks that only go on, are read from the file that CLOCK_SHIM names, at every look at a
 * clock. Preloaded by tests/clock/mod.rs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static long long shift(int is_wall)
{
	char text[64], *rest;
	const char *path = getenv("CLOCK_SHIM");
	int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	long long wall;
	ssize_t count;

	if (file < 0)
		return 0;
	count = read(file, text, sizeof(text) - 1);
	close(file);
	if (count <= 0)
		return 0;
	text[count] = 0;
	wall = strtoll(text, &rest, 10);
	return is_wall ? wall : strtoll(rest, NULL, 10);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
	static int (*real)(clockid_t, struct timespec *);
	int result;

	if (!real)
		real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	result = real(clock, time);
	if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		time->tv_sec += shift(1);
	else if (!result && (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE ||
			     clock == CLOCK_BOOTTIME))
		time->tv_sec += shift(0);
	return result;
}
