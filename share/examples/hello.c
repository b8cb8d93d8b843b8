/* The smallest useful Mayfly program: writes a file, reads it back, lists the directory.
 *
 *   cc hello.c $(pkg-config --cflags --libs mayfly) -o hello
 *
 * Start servers first (`mayflyd`, see README.md) and set MAYFLY_SESSION, or run it inside the batch job of the servers.
 */
#include <errno.h>
#include <mayfly/mayfly.h>
#include <stdio.h>
#include <string.h>

static int fail(const char* what) {
  /* errno is set as by the system call of the same name; the sentence says what, where and what to do. */
  fprintf(stderr, "%s: %s\n", what, mayfly_error());
  return 1;
}

int main(void) {
  mayfly_fs* fs;
  if (mayfly_connect(NULL, NULL, &fs) != 0) return fail("connect");

  if (mayfly_mkdir(fs, "/hello", 0755) != 0 && errno != EEXIST) return fail("mkdir");
  int fd = mayfly_open(fs, "/hello/from-c", O_CREAT | O_TRUNC | O_RDWR, 0644);
  if (fd < 0) return fail("open");
  const char text[] = "written by hello.c\n";
  if (mayfly_write(fd, text, strlen(text)) != (ssize_t)strlen(text)) return fail("write");

  char back[64] = {0};
  if (mayfly_pread(fd, back, sizeof back - 1, 0) < 0) return fail("read");
  /* close reports what could not be written: look at its result. */
  if (mayfly_close(fd) != 0) return fail("close");
  if (strcmp(text, back) != 0) {
    fprintf(stderr, "read something else\n");
    return 1;
  }
  printf("read back: %s", back);

  mayfly_dir* dir = mayfly_opendir(fs, "/hello");
  if (dir == NULL) return fail("opendir");
  mayfly_dirent entry;
  int more;
  while ((more = mayfly_readdir(dir, &entry)) == 1) {
    printf("%10lld  %s\n", (long long)entry.attributes.st_size, entry.name);
  }
  if (more < 0) return fail("readdir");
  mayfly_closedir(dir);

  /* Sends what was not sent yet, and says if that failed. */
  return mayfly_disconnect(fs) == 0 ? 0 : fail("disconnect");
}
