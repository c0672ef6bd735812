// Loaded in front of the C library (LD_PRELOAD): counts the calls that change the disk while a session is saved, and lets
// call number LUTRA_FAIL_AT fail with errno LUTRA_FAIL_ERRNO, or kills the process before it (LUTRA_FAIL_ERRNO=kill). With
// LUTRA_SHORT_WRITES every write takes at most that many bytes.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_int calls;
static atomic_int temporary = -1;

/* Nonzero when this call has to fail; errno is set then. */
static int fails(void) {
  const char* at = getenv("LUTRA_FAIL_AT");
  const char* number = getenv("LUTRA_FAIL_ERRNO");
  if (atomic_fetch_add(&calls, 1) + 1 != (at ? atoi(at) : 0) || !number) return 0;
  if (strcmp(number, "kill") == 0) raise(SIGKILL);
  errno = atoi(number);
  return 1;
}

static int open_with(const char* name, const char* path, int flags, int mode) {
  int (*real)(const char*, int, ...) = (int (*)(const char*, int, ...))dlsym(RTLD_NEXT, name);
  const int ours = strstr(path, "/.lutra-") != NULL;
  if (ours && fails()) return -1;
  const int fd = real(path, flags, mode);
  if (ours) atomic_store(&temporary, fd);
  return fd;
}

int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const int mode = va_arg(rest, int);
  va_end(rest);
  return open_with("open", path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const int mode = va_arg(rest, int);
  va_end(rest);
  return open_with("open64", path, flags, mode);
}

static ssize_t write_with(const char* name, int fd, const void* bytes, size_t count, off_t offset) {
  ssize_t (*real)(int, const void*, size_t, off_t) = (ssize_t(*)(int, const void*, size_t, off_t))dlsym(RTLD_NEXT, name);
  if (fd != atomic_load(&temporary)) return real(fd, bytes, count, offset);
  if (fails()) return -1;
  const char* most = getenv("LUTRA_SHORT_WRITES");
  if (most && count > (size_t)atoi(most)) count = (size_t)atoi(most);
  return real(fd, bytes, count, offset);
}

ssize_t pwrite(int fd, const void* bytes, size_t count, off_t offset) {
  return write_with("pwrite", fd, bytes, count, offset);
}

ssize_t pwrite64(int fd, const void* bytes, size_t count, off_t offset) {
  return write_with("pwrite64", fd, bytes, count, offset);
}

int fsync(int fd) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  return fails() ? -1 : real(fd);
}

int rename(const char* from, const char* to) {
  int (*real)(const char*, const char*) = (int (*)(const char*, const char*))dlsym(RTLD_NEXT, "rename");
  return fails() ? -1 : real(from, to);
}
