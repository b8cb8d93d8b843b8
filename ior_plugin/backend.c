#include "backend.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mayfly/mayfly.h>
#include <mpi.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { kChunkMin = 64 << 10, kChunkMax = 64 << 20 };
/* One call moves at most this: a length that fits every type on the way. */
static const int64_t kTransferMax = 1 << 30;

static mayfly_fs* session = NULL;
static int users = 0;

static void Say(const char* format, ...) __attribute__((format(printf, 1, 2)));
static void Say(const char* format, ...) {
  char line[2048];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  fprintf(stderr, "MAYFLY backend: %s\n", line);
}

/* B2 */
static void Fatal(const char* what, const char* which) {
  const int error = errno;
  const char* why = mayfly_error();
  Say("%s %s failed: %s", what, which, *why != '\0' ? why : strerror(error));
  MPI_Abort(MPI_COMM_WORLD, 1);
}

static int IsStrict(const MayflyIorOptions* options) {
  return options != NULL && options->consistency != NULL && strcmp(options->consistency, "strict") == 0;
}

int MayflyIorCheck(const MayflyIorOptions* options) {
  if (options == NULL) return 0;
  const int64_t chunk = options->chunk_bytes;
  if (chunk != 0 && (chunk < kChunkMin || chunk > kChunkMax || (chunk & (chunk - 1)) != 0)) {
    Say("--mayfly.chunk_bytes=%lld is no chunk size: give a power of two from 64k to 64m", (long long)chunk);
    return 1;
  }
  if (options->consistency != NULL && !IsStrict(options) && strcmp(options->consistency, "posix") != 0) {
    Say("--mayfly.consistency=%s is unknown: give posix or strict", options->consistency);
    return 1;
  }
  return 0;
}

static void Connect(const MayflyIorOptions* given) {
  mayfly_options options;
  mayfly_options_init(&options);
  if (given != NULL) {
    if (given->chunk_bytes != 0) options.chunk_bytes = (uint32_t)given->chunk_bytes;
    if (given->no_checksum) options.checksum = 0;
    if (IsStrict(given)) options.write_behind_bytes = options.readahead_bytes = 0;
  }
  const char* path = given != NULL ? given->session : NULL;
  if (mayfly_connect(path, &options, &session) != 0) Fatal("connecting to", path != NULL ? path : "the session");
}

void MayflyIorConnect(const MayflyIorOptions* options) {
  if (MayflyIorCheck(options) != 0) MPI_Abort(MPI_COMM_WORLD, 1);
  ++users;
  if (session == NULL) Connect(options);
}

void MayflyIorDisconnect(void) {
  if (users > 0) --users;
  if (users != 0 || session == NULL) return;
  mayfly_fs* fs = session;
  session = NULL;
  if (mayfly_disconnect(fs) != 0) Fatal("disconnecting from", "the session");
}

mayfly_fs* MayflyIorSession(const MayflyIorOptions* options) {
  if (session == NULL) Connect(options);
  return session;
}

/* The path from the root: IOR's default file names are relative. Good until the next call, `other` apart. */
static const char* FromRoot(const char* path, int other) {
  static char buffers[2][PATH_MAX + 2];
  if (path[0] == '/') return path;
  char* buffer = buffers[other];
  const int n = snprintf(buffer, sizeof buffers[0], "/%s", path);
  return n >= 0 && (size_t)n < sizeof buffers[0] ? buffer : path; /* too long either way: the call says so */
}

int MayflyIorOpen(const MayflyIorOptions* options, const char* path, int flags) {
  if (options != NULL && options->direct) flags |= O_DIRECT;
  const int fd = mayfly_open(MayflyIorSession(options), FromRoot(path, 0), flags, 0664);
  if (fd < 0) Say("opening %s failed: %s", path, mayfly_error());
  return fd;
}

int64_t MayflyIorTransfer(int fd, int write, void* buffer, int64_t bytes, int64_t offset, int once) {
  int64_t done = 0;
  while (done < bytes) {
    const size_t next = (size_t)(bytes - done < kTransferMax ? bytes - done : kTransferMax);
    char* at = (char*)buffer + done;
    const ssize_t n = write ? mayfly_pwrite(fd, at, next, offset + done) : mayfly_pread(fd, at, next, offset + done);
    if (n < 0) {
      Say("%s %zu bytes at %lld failed: %s", write ? "writing" : "reading", next, (long long)(offset + done),
          mayfly_error());
      break;
    }
    if (n == 0) {
      Say(write ? "writing at %lld: nothing was written" : "reading at %lld: the file ends there",
          (long long)(offset + done));
      break;
    }
    done += n;
    if (once) break;
  }
  return done;
}

void MayflyIorFsync(int fd) {
  if (mayfly_fsync(fd) != 0) Fatal("fsync of", "a file");
}

void MayflyIorClose(int fd) {
  if (mayfly_close(fd) != 0) Fatal("closing", "a file");
}

void MayflyIorRemove(const MayflyIorOptions* options, const char* path) {
  if (mayfly_unlink(MayflyIorSession(options), FromRoot(path, 0)) != 0) Fatal("removing", path);
}

void MayflyIorSync(const MayflyIorOptions* options) {
  if (mayfly_sync(MayflyIorSession(options)) != 0) Fatal("syncing", "the session");
}

int64_t MayflyIorFileSize(const MayflyIorOptions* options, const char* path) {
  struct stat st;
  if (mayfly_stat(MayflyIorSession(options), FromRoot(path, 0), &st) != 0) Fatal("asking for the size of", path);
  return st.st_size;
}

int MayflyIorMknod(const MayflyIorOptions* options, const char* path) {
  return mayfly_mknod(MayflyIorSession(options), FromRoot(path, 0), S_IFREG | 0664);
}

int MayflyIorMkdir(const MayflyIorOptions* options, const char* path, mode_t mode) {
  return mayfly_mkdir(MayflyIorSession(options), FromRoot(path, 0), mode);
}

int MayflyIorRmdir(const MayflyIorOptions* options, const char* path) {
  return mayfly_rmdir(MayflyIorSession(options), FromRoot(path, 0));
}

int MayflyIorAccess(const MayflyIorOptions* options, const char* path, int mode) {
  return mayfly_access(MayflyIorSession(options), FromRoot(path, 0), mode, 0);
}

int MayflyIorStat(const MayflyIorOptions* options, const char* path, struct stat* out) {
  return mayfly_stat(MayflyIorSession(options), FromRoot(path, 0), out);
}

int MayflyIorStatfs(const MayflyIorOptions* options, struct statvfs* out) {
  return mayfly_statvfs(MayflyIorSession(options), out);
}

int MayflyIorRename(const MayflyIorOptions* options, const char* from, const char* to) {
  return mayfly_rename(MayflyIorSession(options), FromRoot(from, 0), FromRoot(to, 1), 0);
}
