/* Short-lived clients, each a process of its own.
 *   e2e_crowd COUNT AT_ONCE
 * COUNT of them, AT_ONCE at a time: each connects, makes a file, writes, reads back what it wrote, removes it, and
 * goes; some by mayfly_disconnect, some by leaving with the removed file still open, some by kill -9. Status 0 if each
 * was served.
 */
#include <errno.h>
#include <fcntl.h>
#include <mayfly/mayfly.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kSmall = 3000, kLarge = 300000 };
static unsigned char written[kLarge], got[kLarge];

static void Die(int number, const char* what) {
  fprintf(stderr, "client %d: %s: %s\n", number, what, mayfly_error());
  _exit(1);
}

/* How client `number` goes. */
static int IsKilled(int number) { return number % 5 == 2; }
static int LeavesOpen(int number) { return number % 5 == 1; }

static void BeOne(int number) {
  mayfly_fs* fs = NULL;
  struct stat st;
  char path[64];
  const int bytes = number % 8 == 0 ? kLarge : kSmall;
  for (int i = 0; i < bytes; ++i) written[i] = (unsigned char)(i * 31 + number);
  snprintf(path, sizeof path, "/crowd-%d-%d", (int)getpid(), number);
  if (mayfly_connect(NULL, NULL, &fs) != 0) Die(number, "connect");
  const int fd = mayfly_open(fs, path, O_CREAT | O_EXCL | O_RDWR, 0600);
  if (fd < 0) Die(number, "open");
  if (mayfly_pwrite(fd, written, bytes, 0) != bytes) Die(number, "write");
  if (mayfly_stat(fs, path, &st) != 0 || st.st_size != bytes) Die(number, "stat");
  if (mayfly_pread(fd, got, bytes, 0) != bytes || memcmp(got, written, bytes) != 0) Die(number, "read");
  if (mayfly_unlink(fs, path) != 0) Die(number, "unlink");
  if (IsKilled(number)) raise(SIGKILL);
  if (LeavesOpen(number)) _exit(0);
  if (mayfly_close(fd) != 0) Die(number, "close");
  if (mayfly_disconnect(fs) != 0) Die(number, "disconnect");
  _exit(0);
}

static int numbers[1024]; /* of the living, beside their pids */
static pid_t pids[1024];

static int WaitForOne(int at_once) {
  int status = 0;
  const pid_t pid = wait(&status);
  for (int i = 0; i < at_once; ++i) {
    if (pids[i] != pid) continue;
    pids[i] = 0;
    const int well = IsKilled(numbers[i]) ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL
                                          : WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (!well) fprintf(stderr, "client %d ended with status %x\n", numbers[i], (unsigned)status);
    return well ? 0 : 1;
  }
  return 1;
}

int main(int argc, char** argv) {
  const int count = argc == 3 ? atoi(argv[1]) : 0, at_once = argc == 3 ? atoi(argv[2]) : 0;
  int living = 0, failures = 0;
  if (count < 1 || at_once < 1 || at_once > 1024) return 2;
  for (int number = 0; number < count; ++number) {
    if (living == at_once) {
      failures += WaitForOne(at_once);
      --living;
    }
    int place = 0;
    while (pids[place] != 0) ++place;
    numbers[place] = number;
    pids[place] = fork();
    if (pids[place] < 0) return 1;
    if (pids[place] == 0) BeOne(number);
    ++living;
  }
  for (; living > 0; --living) failures += WaitForOne(at_once);
  printf("%d clients, %d at a time: %d not served\n", count, at_once, failures);
  return failures == 0 ? 0 : 1;
}
