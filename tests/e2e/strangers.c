/* Two files of one user, and another user who wants them.
 *   e2e_strangers room UID    as root: makes /a, a directory of that user
 *   e2e_strangers owner       makes /a/private (mode 0600) and /a/shared (0644)
 *   e2e_strangers stranger    tries all that the C interface has: nothing of the first, the content of the second and
 * no change of either. A line for each thing that was allowed and should not be; status 1 then e2e_strangers verify as
 * the owner: both are as they were
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mayfly/mayfly.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static int failures;

/* `result` of a call that must have failed, with EACCES or EPERM. */
static void Refused(const char* what, const char* path, long result) {
  const int code = errno;
  if (result == -1 && (code == EACCES || code == EPERM)) return;
  printf("%s of %s: %s\n", what, path, result == -1 ? strerror(code) : "allowed");
  ++failures;
}

static void Allowed(const char* what, const char* path, long result) {
  if (result != -1) return;
  printf("%s of %s: %s\n", what, path, strerror(errno));
  ++failures;
}

/* What neither file allows. */
static void TryToChange(mayfly_fs* fs, const char* path) {
  const struct timespec times[2] = {{1, 0}, {2, 0}};
  char link[64];
  snprintf(link, sizeof link, "/link-%ld", (long)time(NULL));
  Refused("open to write", path, mayfly_open(fs, path, O_WRONLY));
  Refused("open to read and write", path, mayfly_open(fs, path, O_RDWR));
  Refused("open to append", path, mayfly_open(fs, path, O_WRONLY | O_APPEND));
  Refused("open to truncate", path, mayfly_open(fs, path, O_RDONLY | O_TRUNC));
  Refused("creation", path, mayfly_open(fs, path, O_WRONLY | O_CREAT, 0666));
  Refused("truncate", path, mayfly_truncate(fs, path, 0));
  Refused("chmod", path, mayfly_chmod(fs, path, 0666));
  Refused("chown", path, mayfly_chown(fs, path, 0, 0));
  Refused("utimens", path, mayfly_utimens(fs, path, times, 0));
  Refused("touch", path, mayfly_utimens(fs, path, NULL, 0));
  Refused("access to write", path, mayfly_access(fs, path, W_OK, 0));
  Refused("setxattr", path, mayfly_setxattr(fs, path, "user.a", "x", 1, 0));
  Refused("removexattr", path, mayfly_removexattr(fs, path, "user.a"));
  Refused("unlink", path, mayfly_unlink(fs, path));
  Refused("rename", path, mayfly_rename(fs, path, "/taken", 0));
  Refused("link", path, mayfly_link(fs, path, link));
}

static void Stranger(mayfly_fs* fs, const char* private_file, const char* shared_file) {
  char bytes[64];
  struct stat st;
  TryToChange(fs, private_file);
  Refused("open to read", private_file, mayfly_open(fs, private_file, O_RDONLY));
  Refused("access to read", private_file, mayfly_access(fs, private_file, R_OK, 0));
  Refused("getxattr", private_file, mayfly_getxattr(fs, private_file, "user.a", bytes, sizeof bytes));
  Allowed("stat", private_file, mayfly_stat(fs, private_file, &st));

  TryToChange(fs, shared_file);
  const int fd = mayfly_open(fs, shared_file, O_RDONLY);
  Allowed("open to read", shared_file, fd);
  Allowed("read", shared_file, mayfly_read(fd, bytes, sizeof bytes));
  Allowed("fstat", shared_file, mayfly_fstat(fd, &st));
  Refused("fchmod", shared_file, mayfly_fchmod(fd, 0666));
  Refused("fsetxattr", shared_file, mayfly_fsetxattr(fd, "user.a", "x", 1, 0));
  mayfly_close(fd);

  Refused("stopping", "the session", mayfly_stop(fs, NULL, NULL, NULL, NULL));
  Refused("flushing", "the session", mayfly_flush(fs, NULL, NULL, NULL, NULL));
}

enum { kBytes = 5 << 20 }; /* chunks on several servers */
static unsigned char content[kBytes], found[kBytes + 1];

static void Make(mayfly_fs* fs, const char* path, mode_t mode) {
  const int fd = mayfly_open(fs, path, O_RDWR | O_CREAT | O_EXCL, mode);
  Allowed("creation", path, fd);
  Allowed("chmod", path, mayfly_fchmod(fd, mode)); /* whatever the umask is */
  Allowed("setxattr", path, mayfly_fsetxattr(fd, "user.a", "own", 3, 0));
  Allowed("write", path, mayfly_write(fd, content, kBytes) == kBytes ? 0 : -1);
  Allowed("close", path, mayfly_close(fd));
}

static void Verify(mayfly_fs* fs, const char* path, mode_t mode) {
  struct stat st;
  const int fd = mayfly_open(fs, path, O_RDONLY);
  Allowed("open", path, fd);
  if (mayfly_read(fd, found, sizeof found) != kBytes || memcmp(found, content, kBytes) != 0) {
    printf("%s is not as it was\n", path);
    ++failures;
  }
  Allowed("fstat", path, mayfly_fstat(fd, &st));
  if ((st.st_mode & 07777) != mode) {
    printf("%s has mode %o\n", path, (unsigned)st.st_mode);
    ++failures;
  }
  Allowed("close", path, mayfly_close(fd));
}

int main(int argc, char** argv) {
  const char *private_file = "/a/private", *shared_file = "/a/shared";
  mayfly_fs* fs = NULL;
  if (argc < 2) return 2;
  if (mayfly_connect(NULL, NULL, &fs) != 0) {
    printf("%s\n", mayfly_error());
    return 3;
  }
  for (int i = 0; i < kBytes; ++i) content[i] = (unsigned char)(i * 2654435761u >> 13);
  if (strcmp(argv[1], "room") == 0 && argc == 3) {
    const uid_t uid = (uid_t)atoi(argv[2]);
    Allowed("mkdir", "/a", mayfly_mkdir(fs, "/a", 0755));
    Allowed("chown", "/a", mayfly_chown(fs, "/a", uid, uid));
  } else if (strcmp(argv[1], "owner") == 0) {
    Make(fs, private_file, 0600);
    Make(fs, shared_file, 0644);
  } else if (strcmp(argv[1], "stranger") == 0) {
    Stranger(fs, private_file, shared_file);
  } else if (strcmp(argv[1], "verify") == 0) {
    Verify(fs, private_file, 0600);
    Verify(fs, shared_file, 0644);
  }
  mayfly_disconnect(fs);
  return failures == 0 ? 0 : 1;
}
