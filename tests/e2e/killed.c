/* Processes that are killed while they make files.
 *   e2e_killed ROUNDS SEED
 * In each round a process makes files in a directory of its own, every second one with some bytes in it, removes some
 * of them again, and counts those that it has closed; it is killed by kill -9 at a moment that the seed chooses (when
 * the kernel lets it run is its own choice). All that it counted must be there with its bytes, or be gone, and what
 * else is there must be the one file that it was at. Then its directory must be usable by others. Status 0 if so.
 *   e2e_killed leave
 * makes files, and ends without mayfly_disconnect: nothing may be left to wait for.
 *   e2e_killed stop COUNT COPY
 * writes into the directory COPY what there must be in the end, makes so many files in /held, and stops itself before
 * the servers have been told of the last: somebody kills it and them.
 */
#include <errno.h>
#include <fcntl.h>
#include <mayfly/mayfly.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kBytesMax = 9000, kReadEvery = 7 };

static void Die(const char* what, const char* path) {
  fprintf(stderr, "%s %s: %s\n", what, path, mayfly_error());
  _exit(1);
}

/* Of file `number`; the bytes themselves follow from both numbers. */
static int BytesOf(int round, unsigned number) {
  return number % 2 == 0 ? 0 : 1 + (int)((number * 2654435761u + (unsigned)round) % kBytesMax);
}
static void Fill(unsigned char* to, int bytes, int round, unsigned number) {
  for (int i = 0; i < bytes; ++i) to[i] = (unsigned char)(i * 7 + (int)number * 31 + round);
}

/* One of a few goes once the file two behind it has been closed. */
enum { kGoes = 5, kGoesAfter = 2 };
static int Goes(unsigned number) { return number % kGoes == 1; }

static void MakeFiles(const char* dir, int round, unsigned count, volatile unsigned* closed) {
  static unsigned char bytes[kBytesMax];
  char path[64];
  mayfly_fs* fs = NULL;
  if (mayfly_connect(NULL, NULL, &fs) != 0) Die("connect", dir);
  if (mayfly_mkdir(fs, dir, 0700) != 0) Die("mkdir", dir);
  for (unsigned i = 0; i < count; ++i) {
    snprintf(path, sizeof path, "%s/f%u", dir, i);
    const int fd = mayfly_open(fs, path, O_CREAT | O_EXCL | O_WRONLY, 0600);
    if (fd < 0) Die("open", path);
    const int size = BytesOf(round, i);
    Fill(bytes, size, round, i);
    if (size != 0 && mayfly_write(fd, bytes, (size_t)size) != size) Die("write", path);
    if (mayfly_close(fd) != 0) Die("close", path);
    if (i >= kGoesAfter && Goes(i - kGoesAfter)) {
      snprintf(path, sizeof path, "%s/f%u", dir, i - kGoesAfter);
      if (mayfly_unlink(fs, path) != 0) Die("unlink", path);
    }
    *closed = i + 1;
  }
}

static void CopyFiles(const char* to, int round, unsigned count) {
  static unsigned char bytes[kBytesMax];
  for (unsigned i = 0; i < count; ++i) {
    if (Goes(i) && i + kGoesAfter < count) continue;
    char path[512];
    snprintf(path, sizeof path, "%s/f%u", to, i);
    FILE* const file = fopen(path, "wx");
    const size_t size = (size_t)BytesOf(round, i);
    Fill(bytes, (int)size, round, i);
    if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0) {
      perror(path);
      exit(1);
    }
  }
}

static int IsAsWritten(mayfly_fs* fs, const char* dir, int round, unsigned number) {
  static unsigned char want[kBytesMax], got[kBytesMax + 1];
  char path[64];
  struct stat st;
  const int size = BytesOf(round, number);
  snprintf(path, sizeof path, "%s/f%u", dir, number);
  if (mayfly_stat(fs, path, &st) != 0 || st.st_size != size) {
    fprintf(stderr, "%s, which had been closed with %d bytes: %s\n", path, size, mayfly_error());
    return 0;
  }
  if (number % kReadEvery != 0) return 1;
  Fill(want, size, round, number);
  const int fd = mayfly_open(fs, path, O_RDONLY, 0);
  if (fd < 0) Die("open to read", path);
  const ssize_t read = mayfly_pread(fd, got, sizeof got, 0);
  if (mayfly_close(fd) != 0) Die("close", path);
  if (read == size && memcmp(want, got, (size_t)size) == 0) return 1;
  fprintf(stderr, "%s: other bytes than were written, %zd\n", path, read);
  return 0;
}

/* 1: it is gone; 0: it is not; -1: something else came of looking for it. */
static int IsGone(mayfly_fs* fs, const char* dir, unsigned number) {
  char path[64];
  struct stat st;
  snprintf(path, sizeof path, "%s/f%u", dir, number);
  if (mayfly_stat(fs, path, &st) == 0) return 0;
  return errno == ENOENT ? 1 : -1;
}

static unsigned Entries(mayfly_fs* fs, const char* dir) {
  unsigned entries = 0;
  mayfly_dir* stream = mayfly_opendir(fs, dir);
  if (stream == NULL) Die("opendir", dir);
  mayfly_dirent entry;
  int more;
  while ((more = mayfly_readdir(stream, &entry)) == 1) entries += entry.name[0] != '.';
  if (more != 0) Die("readdir", dir);
  if (mayfly_closedir(stream) != 0) Die("closedir", dir);
  return entries;
}

static double Now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int main(int argc, char** argv) {
  if (argc == 2 && strcmp(argv[1], "leave") == 0) {
    static volatile unsigned closed;
    MakeFiles("/left", 0, 200, &closed);
    return 0;
  }
  if (argc == 4 && strcmp(argv[1], "stop") == 0) {
    static volatile unsigned closed;
    const unsigned count = (unsigned)atoi(argv[2]);
    CopyFiles(argv[3], 0, count);
    MakeFiles("/held", 0, count, &closed);
    raise(SIGSTOP);
    return 0;
  }
  if (argc != 3) return 2;
  const int rounds = atoi(argv[1]);
  srand((unsigned)atoi(argv[2]));
  volatile unsigned* const closed =
      mmap(NULL, sizeof *closed, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (closed == MAP_FAILED) return 2;
  unsigned long all = 0;
  for (int round = 0; round < rounds; ++round) {
    char dir[32], path[64];
    mayfly_fs* fs = NULL;
    snprintf(dir, sizeof dir, "/killed-%s-%d", argv[2], round);
    *closed = 0;
    const pid_t pid = fork();
    if (pid == 0) MakeFiles(dir, round, ~0u, closed);
    for (int tries = 0; *closed == 0 && tries < 30000 && waitpid(pid, NULL, WNOHANG) == 0; ++tries) usleep(1000);
    if (*closed == 0) Die("nothing was made in", dir);
    usleep((useconds_t)(rand() % 300000));
    int status = 0;
    kill(pid, SIGKILL);
    if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status)) return 1; /* it has said why */
    const unsigned count = *closed;
    all += count;
    if (mayfly_connect(NULL, NULL, &fs) != 0) Die("connect", dir);
    const double since = Now();
    const unsigned entries = Entries(fs, dir);
    const double waited = Now() - since;
    unsigned gone = 0;
    for (unsigned i = 0; i < count; ++i) {
      const int is_gone = IsGone(fs, dir, i);
      const int must_go = Goes(i) && i + kGoesAfter < count, may_go = Goes(i) && i + kGoesAfter <= count;
      if (is_gone < 0 || (is_gone == 0 && must_go) || (is_gone == 1 && !may_go)) {
        fprintf(stderr, "%s/f%u %s, %u had been closed\n", dir, i, is_gone == 1 ? "is gone" : "is there", count);
        return 1;
      }
      gone += (unsigned)is_gone;
      if (is_gone == 0 && !IsAsWritten(fs, dir, round, i)) return 1;
    }
    if (entries != count - gone && entries != count - gone + 1) {
      fprintf(stderr, "%s has %u entries, %u files had been closed and %u removed\n", dir, entries, count, gone);
      return 1;
    }
    snprintf(path, sizeof path, "%s/another's", dir);
    const int fd = mayfly_open(fs, path, O_CREAT | O_EXCL | O_WRONLY, 0600);
    if (fd < 0 || mayfly_close(fd) != 0) Die("make", path);
    if (mayfly_disconnect(fs) != 0) Die("disconnect", dir);
    printf("round %d: %u files, the directory was listed after %.2f s\n", round, count, waited);
    fflush(stdout);
  }
  printf("%lu files of processes that were killed are there\n", all);
  return 0;
}
