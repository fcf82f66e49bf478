/* A file system that fails, for one process: preloaded, it stands before the C library's calls.

   FAULT_CALLS   of read, write, lock: those that fail, e.g. "read,lock"
   FAULT_ERRNO   the number that they fail with; 0 hangs
   FAULT_MATCH   a part of the path of the files concerned
   FAULT_AFTER   bytes that go well before (of read or write, in one process)
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static long long passed;

static int wanted(const char *call) {
    const char *calls = getenv("FAULT_CALLS");
    return calls != NULL && strstr(calls, call) != NULL;
}

static int concerned(int handle) {
    const char *match = getenv("FAULT_MATCH");
    char link[64], path[4096];
    ssize_t length;
    if (match == NULL) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return strstr(path, match) != NULL;
}

/* Return whether the call fails, errno set; one that hangs never returns. */
static int fails(const char *call, int handle, size_t bytes) {
    int before = errno;
    const char *number = getenv("FAULT_ERRNO"), *after = getenv("FAULT_AFTER");
    if (!wanted(call) || !concerned(handle)) {
        errno = before;
        return 0;
    }
    if (after != NULL && __sync_add_and_fetch(&passed, (long long)bytes) <= atoll(after)) {
        errno = before;
        return 0;
    }
    if (number == NULL || atoi(number) == 0)
        for (;;) pause();
    errno = atoi(number);
    return 1;
}

#define NEXT(type, name) \
    static type next; \
    if (next == NULL) next = (type)dlsym(RTLD_NEXT, name)

typedef ssize_t (*read_type)(int, void *, size_t);
typedef ssize_t (*write_type)(int, const void *, size_t);
typedef ssize_t (*pread_type)(int, void *, size_t, off_t);
typedef ssize_t (*pwrite_type)(int, const void *, size_t, off_t);
typedef ssize_t (*writev_type)(int, const struct iovec *, int);
typedef int (*flock_type)(int, int);
typedef int (*fcntl_type)(int, int, ...);

ssize_t read(int handle, void *place, size_t count) {
    NEXT(read_type, "read");
    return fails("read", handle, count) ? -1 : next(handle, place, count);
}

ssize_t pread(int handle, void *place, size_t count, off_t from) {
    NEXT(pread_type, "pread");
    return fails("read", handle, count) ? -1 : next(handle, place, count, from);
}

ssize_t pread64(int handle, void *place, size_t count, off_t from) {
    NEXT(pread_type, "pread64");
    return fails("read", handle, count) ? -1 : next(handle, place, count, from);
}

ssize_t write(int handle, const void *place, size_t count) {
    NEXT(write_type, "write");
    return fails("write", handle, count) ? -1 : next(handle, place, count);
}

ssize_t pwrite(int handle, const void *place, size_t count, off_t to) {
    NEXT(pwrite_type, "pwrite");
    return fails("write", handle, count) ? -1 : next(handle, place, count, to);
}

ssize_t pwrite64(int handle, const void *place, size_t count, off_t to) {
    NEXT(pwrite_type, "pwrite64");
    return fails("write", handle, count) ? -1 : next(handle, place, count, to);
}

ssize_t writev(int handle, const struct iovec *parts, int count) {
    NEXT(writev_type, "writev");
    size_t bytes = 0;
    for (int part = 0; part < count; part++) bytes += parts[part].iov_len;
    return fails("write", handle, bytes) ? -1 : next(handle, parts, count);
}

int flock(int handle, int what) {
    NEXT(flock_type, "flock");
    return fails("lock", handle, 0) ? -1 : next(handle, what);
}

static int locks(int command) {
    return command == F_SETLK || command == F_SETLKW;
}

int fcntl(int handle, int command, ...) {
    NEXT(fcntl_type, "fcntl");
    va_list more;
    va_start(more, command);
    void *given = va_arg(more, void *);
    va_end(more);
    if (locks(command) && fails("lock", handle, 0)) return -1;
    return next(handle, command, given);
}

int fcntl64(int handle, int command, ...) {
    NEXT(fcntl_type, "fcntl64");
    va_list more;
    va_start(more, command);
    void *given = va_arg(more, void *);
    va_end(more);
    if (locks(command) && fails("lock", handle, 0)) return -1;
    return next(handle, command, given);
}
