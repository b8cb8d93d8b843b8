/* An idle client for idle_test.sh: connected, with a file open that holds bytes of write-behind. It says so and sleeps
 * until its standard input ends; then the bytes must still be good. */
#include <mayfly/mayfly.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int fail(const char* what) {
  printf("%s: %s\n", what, mayfly_error());
  return 1;
}

int main(void) {
  mayfly_fs* fs;
  if (mayfly_connect(NULL, NULL, &fs) != 0) return fail("connect");
  int fd = mayfly_open(fs, "/idle", O_CREAT | O_RDWR, 0644);
  if (fd < 0) return fail("open");
  for (int i = 0; i < 10; ++i) {
    if (mayfly_write(fd, "0123456789", 10) != 10) return fail("write");
  }
  printf("idle\n");
  fflush(stdout);
  char data[101];
  while (read(STDIN_FILENO, data, sizeof data) > 0) continue;
  if (mayfly_pread(fd, data, sizeof data, 0) != 100 || memcmp(data + 90, "0123456789", 10) != 0) return fail("pread");
  if (mayfly_close(fd) != 0) return fail("close");
  if (mayfly_disconnect(fs) != 0) return fail("disconnect");
  return 0;
}
