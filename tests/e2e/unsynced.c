/* Writes files that it neither closes nor syncs, says so, and keeps them open until its standard input ends or it is
 * killed.
 *   e2e_unsynced [--buffered] LOCAL PATH [LOCAL PATH]...
 *   --buffered   in small pieces, by way of write-behind: the servers have nothing before they ask for it */
#include <mayfly/mayfly.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fail(const char* what) {
  fprintf(stderr, "%s: %s\n", what, mayfly_error());
  return 1;
}

/* Whether a server has promised the process that a file is its own. */
static int holds_back(mayfly_fs* fs) {
  char* report = mayfly_report(fs, "status");
  int holds = 0;
  for (const char* at = report; at != NULL && (at = strstr(at, "\"soles\":")) != NULL;) {
    at += strlen("\"soles\":");
    holds |= atoi(at) != 0;
  }
  free(report);
  return holds;
}

/* The first one is promised nothing: the process does not listen to the server yet. */
static int open_buffered(mayfly_fs* fs, const char* path) {
  for (int i = 0; i < 200; ++i) {
    const int fd = mayfly_open(fs, path, O_CREAT | O_EXCL | O_WRONLY, 0644);
    if (fd < 0 || holds_back(fs)) return fd;
    if (mayfly_close(fd) != 0 || mayfly_unlink(fs, path) != 0) return -1;
    usleep(20000);
  }
  return -1;
}

int main(int argc, char** argv) {
  enum { kPiece = 1 << 20 };
  const int buffered = argc > 1 && strcmp(argv[1], "--buffered") == 0;
  const size_t at_once = buffered ? 4096 : kPiece;
  mayfly_options options;
  mayfly_options_init(&options);
  if (!buffered) options.write_behind_bytes = 0; /* what a call has written the servers have */
  mayfly_fs* fs;
  if (mayfly_connect(NULL, &options, &fs) != 0) return fail("connect");
  char* piece = malloc(kPiece);
  for (int i = 1 + buffered; i + 1 < argc; i += 2) {
    FILE* local = fopen(argv[i], "rb");
    if (local == NULL || piece == NULL) return 1;
    int fd = buffered ? open_buffered(fs, argv[i + 1]) : mayfly_open(fs, argv[i + 1], O_CREAT | O_WRONLY, 0644);
    if (fd < 0) return fail("open");
    off_t at = 0;
    for (size_t bytes; (bytes = fread(piece, 1, at_once, local)) != 0; at += (off_t)bytes) {
      if (mayfly_pwrite(fd, piece, bytes, at) != (ssize_t)bytes) return fail("pwrite");
    }
    fclose(local);
  }
  printf("written\n");
  fflush(stdout);
  while (read(STDIN_FILENO, piece, kPiece) > 0) continue;
  return 0;
}
