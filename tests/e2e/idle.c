/* An idle client for idle_test.sh: connected, with a file open that holds bytes of write-behind, and a forked child
 * that is connected as well. It says so, with the child's process id, and both sleep until their standard input ends;
 * then the bytes must still be good. */
#include <mayfly/mayfly.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
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
  int connected[2];
  char data[101];
  if (pipe(connected) != 0) return fail("pipe");
  const pid_t child = fork();
  if (child == 0) {
    struct stat st;
    if (mayfly_fstat(fd, &st) != 0 || st.st_size != 100) return fail("fstat in the child");
    if (write(connected[1], data, 1) != 1) return fail("write to a pipe");
    while (read(STDIN_FILENO, data, sizeof data) > 0) continue;
    _exit(0);
  }
  close(connected[1]);
  if (read(connected[0], data, 1) != 1) return fail("the child");
  printf("idle %d\n", (int)child);
  fflush(stdout);
  while (read(STDIN_FILENO, data, sizeof data) > 0) continue;
  int status;
  if (waitpid(child, &status, 0) != child || status != 0) return fail("the child's end");
  if (mayfly_pread(fd, data, sizeof data, 0) != 100 || memcmp(data + 90, "0123456789", 10) != 0) return fail("pread");
  if (mayfly_close(fd) != 0) return fail("close");
  if (mayfly_disconnect(fs) != 0) return fail("disconnect");
  return 0;
}
