// Preloaded into mayflyd: while the file MAYFLY_TEST_DISK_FAILS exists, writes and flushes of files whose path begins
// with its first line fail with EIO, as on a device that dies. io_uring, which would pass all this by, is refused as a
// container does it.
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int Fails(int fd) {
  const char* trigger = getenv("MAYFLY_TEST_DISK_FAILS");
  FILE* file = trigger != NULL ? fopen(trigger, "re") : NULL;
  if (file == NULL) return 0;
  char prefix[4096], link[64], path[4096];
  const int named = fgets(prefix, sizeof prefix, file) != NULL;
  fclose(file);
  if (!named) return 0;
  prefix[strcspn(prefix, "\n")] = 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t bytes = readlink(link, path, sizeof path - 1);
  if (bytes < 0) return 0;
  path[bytes] = 0;
  const size_t length = strlen(prefix);
  return length != 0 && strncmp(path, prefix, length) == 0;
}

ssize_t pwrite(int fd, const void* data, size_t bytes, off_t offset) {
  static ssize_t (*real)(int, const void*, size_t, off_t);
  if (real == NULL) *(void**)&real = dlsym(RTLD_NEXT, "pwrite");
  if (!Fails(fd)) return real(fd, data, bytes, offset);
  errno = EIO;
  return -1;
}

ssize_t pwrite64(int fd, const void* data, size_t bytes, off64_t offset) { return pwrite(fd, data, bytes, offset); }

ssize_t pwritev2(int fd, const struct iovec* data, int count, off_t offset, int flags) {
  static ssize_t (*real)(int, const struct iovec*, int, off_t, int);
  if (real == NULL) *(void**)&real = dlsym(RTLD_NEXT, "pwritev2");
  if (!Fails(fd)) return real(fd, data, count, offset, flags);
  errno = EIO;
  return -1;
}

ssize_t pwritev64v2(int fd, const struct iovec* data, int count, off64_t offset, int flags) {
  return pwritev2(fd, data, count, offset, flags);
}

int fdatasync(int fd) {
  static int (*real)(int);
  if (real == NULL) *(void**)&real = dlsym(RTLD_NEXT, "fdatasync");
  if (!Fails(fd)) return real(fd);
  errno = EIO;
  return -1;
}

// As liburing has it, but for the types.
int io_uring_queue_init_params(unsigned entries, void* ring, void* params) {
  (void)entries;
  (void)ring;
  (void)params;
  return -EPERM;
}
