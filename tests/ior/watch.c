/* Stands between the backend and the C interface (linked with --wrap): says what the backend asks for, and lets calls
 * move less than was asked, as they may.
 *   MAYFLY_TEST_MOVES   a read or write moves at most so many bytes
 *   MAYFLY_TEST_WATCH   file to which is appended: "open PATH FLAG...", and at each disconnect "client buffered N ahead
 * N"
 */
#include <fcntl.h>
#include <mayfly/mayfly.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int __real_mayfly_open(mayfly_fs* fs, const char* path, int flags, ...);
int __real_mayfly_disconnect(mayfly_fs* fs);
ssize_t __real_mayfly_pread(int fd, void* buffer, size_t bytes, off_t offset);
ssize_t __real_mayfly_pwrite(int fd, const void* buffer, size_t bytes, off_t offset);
int __wrap_mayfly_open(mayfly_fs* fs, const char* path, int flags, ...);
int __wrap_mayfly_disconnect(mayfly_fs* fs);
ssize_t __wrap_mayfly_pread(int fd, void* buffer, size_t bytes, off_t offset);
ssize_t __wrap_mayfly_pwrite(int fd, const void* buffer, size_t bytes, off_t offset);

/* A line in one piece: several tasks append. */
static void Note(const char* line) {
  const char* path = getenv("MAYFLY_TEST_WATCH");
  FILE* file = path != NULL ? fopen(path, "ae") : NULL;
  if (file == NULL) return;
  fputs(line, file);
  fclose(file);
}

int __wrap_mayfly_open(mayfly_fs* fs, const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = va_arg(rest, mode_t); /* the backend always gives one */
  va_end(rest);
  static const char* const kAccess[] = {"rdonly", "wronly", "rdwr", "neither"};
  static const struct {
    int flag;
    const char* name;
  } kFlags[] = {
      {O_APPEND, " append"}, {O_CREAT, " creat"}, {O_EXCL, " excl"}, {O_TRUNC, " trunc"}, {O_DIRECT, " direct"}};
  char line[512];
  snprintf(line, sizeof line - 64, "open %s %s", path, kAccess[flags & O_ACCMODE]);
  for (size_t i = 0; i < sizeof kFlags / sizeof *kFlags; ++i) {
    if ((flags & kFlags[i].flag) != 0) strcat(line, kFlags[i].name);
  }
  Note(strcat(line, "\n"));
  return __real_mayfly_open(fs, path, flags, mode);
}

static long Count(const char* report, const char* name) {
  const char* at = strstr(report, name);
  return at != NULL ? strtol(at + strlen(name), NULL, 10) : -1;
}

int __wrap_mayfly_disconnect(mayfly_fs* fs) {
  char line[128];
  char* report = mayfly_report(fs, "status");
  if (report != NULL) {
    snprintf(line, sizeof line, "client buffered %ld ahead %ld\n", Count(report, "\"writes_buffered\":"),
             Count(report, "\"read_ahead_hits\":"));
    Note(line);
  }
  free(report);
  return __real_mayfly_disconnect(fs);
}

static size_t Moves(size_t bytes) {
  const char* most = getenv("MAYFLY_TEST_MOVES");
  const size_t limit = most != NULL ? strtoul(most, NULL, 10) : bytes;
  return bytes < limit ? bytes : limit;
}

ssize_t __wrap_mayfly_pread(int fd, void* buffer, size_t bytes, off_t offset) {
  return __real_mayfly_pread(fd, buffer, Moves(bytes), offset);
}

ssize_t __wrap_mayfly_pwrite(int fd, const void* buffer, size_t bytes, off_t offset) {
  return __real_mayfly_pwrite(fd, buffer, Moves(bytes), offset);
}
