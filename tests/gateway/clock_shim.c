/* Shifts the clocks of one process, live: seconds to add are read from files at every look at a
 * clock. The file that CLOCK_SHIM names is for the wall clock, as when NTP sets a machine's time;
 * the one of CLOCK_SHIM_STEADY for the monotonic one, so that time passes that nobody waited for.
 * Preloaded by tests/gateway/clock.rs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static long long shift(const char *name)
{
	char text[32];
	const char *path = getenv(name);
	int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	ssize_t count;

	if (file < 0)
		return 0;
	count = read(file, text, sizeof(text) - 1);
	close(file);
	if (count <= 0)
		return 0;
	text[count] = 0;
	return atoll(text);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
	static int (*real)(clockid_t, struct timespec *);
	int result;

	if (!real)
		real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	result = real(clock, time);
	if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		time->tv_sec += shift("CLOCK_SHIM");
	if (!result && (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE))
		time->tv_sec += shift("CLOCK_SHIM_STEADY");
	return result;
}
