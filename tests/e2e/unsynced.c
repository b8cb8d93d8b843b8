/* For repair_test.sh: writes files that it neither closes nor syncs, says so, and keeps them open until its standard
 * input ends or it is killed.
 *   e2e_unsynced LOCAL PATH [LOCAL PATH]... */
#include <mayfly/mayfly.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int fail(const char* what) {
  fprintf(stderr, "%s: %s\n", what, mayfly_error());
  return 1;
}

int main(int argc, char** argv) {
  enum { kPiece = 1 << 20 };
  mayfly_options options;
  mayfly_options_init(&options);
  options.write_behind_bytes = 0; /* what a call has written the servers have */
  mayfly_fs* fs;
  if (mayfly_connect(NULL, &options, &fs) != 0) return fail("connect");
  char* piece = malloc(kPiece);
  for (int i = 1; i + 1 < argc; i += 2) {
    FILE* local = fopen(argv[i], "rb");
    if (local == NULL || piece == NULL) return 1;
    int fd = mayfly_open(fs, argv[i + 1], O_CREAT | O_WRONLY, 0644);
    if (fd < 0) return fail("open");
    off_t at = 0;
    for (size_t bytes; (bytes = fread(piece, 1, kPiece, local)) != 0; at += (off_t)bytes) {
      if (mayfly_pwrite(fd, piece, bytes, at) != (ssize_t)bytes) return fail("pwrite");
    }
    fclose(local);
  }
  printf("written\n");
  fflush(stdout);
  while (read(STDIN_FILENO, piece, kPiece) > 0) continue;
  return 0;
}
