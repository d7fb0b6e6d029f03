/* A disk that stalls or takes nothing, for one process, switched while it runs. DISK_SHIM names a
 * folder with the file `mode`: `open`, `closed` (whatever is synced waits until it is open),
 * `full` (what is written finds no room) or `read-only`. Only files below DISK_SHIM_OF are
 * meant. In the same folder `seen` has a line for each call while there is a mode: `main` or
 * `other`, for the thread, then what was called and the file. Preloaded by tests/disk/mod.rs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define REAL(type, name, ...)                                              \
	static type (*real)(__VA_ARGS__);                                  \
	if (!real)                                                         \
		real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static char mode(void)
{
	char path[512], first = 0;
	const char *folder = getenv("DISK_SHIM");
	long file;

	if (!folder)
		return 0;
	snprintf(path, sizeof(path), "%s/mode", folder);
	file = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (file < 0)
		return 0;
	if (syscall(SYS_read, file, &first, 1) != 1)
		first = 0;
	syscall(SYS_close, file);
	return first;
}

static void see(const char *what, const char *of)
{
	char path[512], line[1024];
	const char *folder = getenv("DISK_SHIM");
	int is_main = syscall(SYS_gettid) == getpid();
	long file;
	int length;

	snprintf(path, sizeof(path), "%s/seen", folder);
	length = snprintf(line, sizeof(line), "%s %s %s\n", is_main ? "main" : "other", what, of);
	file = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (file >= 0) {
		syscall(SYS_write, file, line, length);
		syscall(SYS_close, file);
	}
}

/* Finds the file behind a path, through /proc/self/fd as well; false where it is another's. */
static int is_ours(const char *path, char *found, size_t size)
{
	const char *of = getenv("DISK_SHIM_OF");
	char link[512];
	const char *rest = "";
	ssize_t count;

	if (!of)
		return 0;
	snprintf(found, size, "%s", path);
	if (!strncmp(path, "/proc/self/fd/", 14)) {
		rest = strchr(path + 14, '/');
		snprintf(link, sizeof(link), "%.*s", (int)(rest ? rest - path : (ssize_t)strlen(path)),
			 path);
		count = readlink(link, found, size - 1);
		if (count < 0)
			return 0;
		found[count] = 0;
		if (rest)
			strncat(found, rest, size - strlen(found) - 1);
	}
	return !strncmp(found, of, strlen(of));
}

static int is_ours_open(int fd, char *found, size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return is_ours(path, found, size);
}

static int sync_with(int fd, int (*real)(int), const char *name)
{
	char found[512];
	struct timespec pause = { 0, 1000000 };
	int seen = 0;

	if (!mode() || !is_ours_open(fd, found, sizeof(found)))
		return real(fd);
	see(name, found);
	while (mode() == 'c') {
		if (!seen++)
			see("waits", found);
		nanosleep(&pause, NULL);
	}
	return real(fd);
}

int fsync(int fd)
{
	REAL(int, fsync, int);
	return sync_with(fd, real, "fsync");
}

int fdatasync(int fd)
{
	REAL(int, fdatasync, int);
	return sync_with(fd, real, "fdatasync");
}

ssize_t write(int fd, const void *bytes, size_t count)
{
	char found[512];
	REAL(ssize_t, write, int, const void *, size_t);

	if (mode() && is_ours_open(fd, found, sizeof(found))) {
		see("write", found);
		if (mode() == 'f') {
			errno = ENOSPC;
			return -1;
		}
	}
	return real(fd, bytes, count);
}

int rename(const char *from, const char *to)
{
	char found[512];
	REAL(int, rename, const char *, const char *);

	if (mode() && is_ours(to, found, sizeof(found)))
		see("rename", found);
	return real(from, to);
}

int unlink(const char *path)
{
	char found[512];
	REAL(int, unlink, const char *);

	if (mode() && is_ours(path, found, sizeof(found)))
		see("unlink", found);
	return real(path);
}

static int open_with(const char *path, int flags, int rights, int (*real)(const char *, int, ...))
{
	char found[512];

	if (mode() && is_ours(path, found, sizeof(found))) {
		see("open", found);
		if (mode() == 'r' && flags & (O_WRONLY | O_RDWR | O_CREAT)) {
			errno = EROFS;
			return -1;
		}
	}
	return real(path, flags, rights);
}

int open(const char *path, int flags, ...)
{
	va_list list;
	int rights;
	REAL(int, open, const char *, int, ...);

	va_start(list, flags);
	rights = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, int) : 0;
	va_end(list);
	return open_with(path, flags, rights, real);
}

int open64(const char *path, int flags, ...)
{
	va_list list;
	int rights;
	REAL(int, open64, const char *, int, ...);

	va_start(list, flags);
	rights = flags & (O_CREAT | O_TMPFILE) ? va_arg(list, int) : 0;
	va_end(list);
	return open_with(path, flags, rights, real);
}
