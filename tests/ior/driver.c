/* Stands in IOR's place behind the backend's programs: has the list of backends and what their main functions call, and
 * plays the part of ior.c and mdtest.c (3.3 and 4.x) against the table, with every byte verified. An MPI program:
 * mpirun -n N ior_driver_4 [-k] [--mayfly.OPTION=VALUE...]; with -k a file /relative.RANK stays. The last line is "ok".
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ior.h"
#include "md-workbench.h"
#include "mdtest.h"
#include "player.h"

static ior_aiori_t posix_place = {.name = "POSIX"}, dummy_place = {.name = "DUMMY"};
ior_aiori_t* available_aiori[] = {&posix_place, &dummy_place, NULL};

static int rank, tasks, keep;

static void Fail(int line, const char* what) {
  fprintf(stderr, "driver.c:%d, task %d: %s (errno %d)\n", line, rank, what, errno);
  MPI_Abort(MPI_COMM_WORLD, 1);
}
#define CHECK(condition)                          \
  do {                                            \
    if (!(condition)) Fail(__LINE__, #condition); \
  } while (0)

static void Barrier(void) { MPI_Barrier(MPI_COMM_WORLD); }

static void Fill(char* buffer, long long bytes, long long seed) {
  uint64_t x = (uint64_t)seed * 0x9e3779b97f4a7c15u + 1;
  for (long long i = 0; i < bytes; ++i) {
    x = x * 6364136223846793005u + 1442695040888963407u;
    buffer[i] = (char)(x >> 56);
  }
}
static int Is(const char* buffer, long long bytes, long long seed) {
  char* expected = malloc((size_t)bytes);
  Fill(expected, bytes, seed);
  const int same = memcmp(buffer, expected, (size_t)bytes) == 0;
  free(expected);
  return same;
}

/* As IOR's option parser fills what get_options named. */
static void ParseOptions(int argc, char** argv) {
  option_help* help = GetOptions();
  int known = 0;
  for (const option_help* o = help; o->type != 0; ++o) ++known;
  CHECK(known >= 4);
  for (int i = 1; i < argc; ++i) {
    if (strcmp(argv[i], "-k") == 0) keep = 1;
    if (argv[i][1] != '-') continue;
    const char* name = argv[i] + 2;
    const char* equals = strchr(name, '=');
    const size_t length = equals != NULL ? (size_t)(equals - name) : strlen(name);
    const option_help* found = NULL;
    for (const option_help* o = help; o->type != 0; ++o) {
      if (strlen(o->longVar) == length && strncmp(o->longVar, name, length) == 0) found = o;
    }
    CHECK(found != NULL);
    if (found->type == 'd') *(int*)found->variable = 1;
    if (found->type == 'l') *(int64_t*)found->variable = strtoll(equals + 1, NULL, 10);
    if (found->type == 's') *(char**)found->variable = strdup(equals + 1);
  }
  free(help);
  free(GetOptions()); /* for a second test with the same options */
}

/* One test of IOR: tasks write blocks of transfers in segments, shift, read what their neighbour wrote. */
static void Ior(const char* name, int file_per_process, long long transfer, int transfers, int segments,
                int fsync_each) {
  Hints(0, fsync_each, 0);
  Initialize();
  char mine[256], theirs[256];
  const int neighbour = (rank + 1) % tasks;
  snprintf(mine, sizeof mine, file_per_process ? "%s.%08d" : "%s", name, rank);
  snprintf(theirs, sizeof theirs, file_per_process ? "%s.%08d" : "%s", name, neighbour);
  const long long block = transfer * transfers;
  char* buffer = malloc((size_t)transfer);
  /* Write, check, read, read check: ior.c opens anew for each. */
  Barrier();
  File* f = Create(mine, IOR_WRONLY | IOR_CREAT | IOR_TRUNC);
  CHECK(f != NULL);
  for (int s = 0; s < segments; ++s) {
    for (int t = 0; t < transfers; ++t) {
      const long long offset = (file_per_process ? s : (long long)s * tasks + rank) * block + t * transfer;
      Fill(buffer, transfer, offset + (file_per_process ? rank * 1000003LL : 0));
      CHECK(Xfer(WRITE, f, buffer, transfer, offset) == transfer);
    }
  }
  Fsync(f);
  Close(f);
  Barrier();
  CHECK(AllBytes(mine, file_per_process) == block * segments * tasks);
  for (int pass = WRITECHECK; pass <= READCHECK; ++pass) {
    const int who = pass == WRITECHECK ? rank : neighbour;
    f = Open(pass == WRITECHECK ? mine : theirs, IOR_RDONLY);
    CHECK(f != NULL);
    for (int s = 0; s < segments; ++s) {
      for (int k = 0; k < transfers; ++k) {
        const int t = pass == WRITECHECK ? k : transfers - 1 - k; /* in order, and against it */
        const long long offset = (file_per_process ? s : (long long)s * tasks + who) * block + t * transfer;
        memset(buffer, 'a', (size_t)transfer);
        CHECK(Xfer(pass, f, buffer, transfer, offset) == transfer);
        CHECK(Is(buffer, transfer, offset + (file_per_process ? who * 1000003LL : 0)));
      }
    }
    if (!file_per_process || segments == 1) {
      const long long end = block * segments * (file_per_process ? 1 : tasks);
      CHECK(Xfer(READ, f, buffer, transfer, end - transfer / 2) == transfer / 2); /* short, and it says so */
    }
    Close(f);
    Barrier();
  }
  if (file_per_process || rank == 0) {
    CHECK(Access(mine, F_OK) == 0);
    Remove(mine);
    CHECK(Access(mine, F_OK) == -1);
  }
  free(buffer);
  Barrier();
  Finalize();
}

/* mdtest's phases: -C -T -E -r with -w and -e, a directory each; then -k, renames, a second finalize in between. */
static void Mdtest(int items, int bytes) {
  Hints(0, 0, 0);
  CHECK(table->enable_mdtest);
  Initialize();
  char dir[256], path[300], other[300];
  snprintf(dir, sizeof dir, "/md/tree.%d", rank);
  if (rank == 0) CHECK(Access("/md", F_OK) == -1 && Mkdir("/md") == 0);
  Barrier();
  CHECK(Mkdir(dir) == 0);
  CHECK(Mkdir(dir) == -1 && errno == EEXIST);
  char* buffer = malloc((size_t)bytes);
  struct stat st;
  for (int i = 0; i < items; ++i) {
    snprintf(path, sizeof path, "%s/file.mdtest.%d.%d", dir, rank, i);
    File* f = i % 2 == 0 ? Create(path, IOR_WRONLY | IOR_CREAT) : Open(path, IOR_WRONLY | IOR_CREAT);
    CHECK(f != NULL);
    Fill(buffer, bytes, i);
    CHECK(Xfer(WRITE, f, buffer, bytes, 0) == bytes);
    if (i % 2 == 0) { /* mdtest -X reads back what it just wrote, through the same file */
      memset(buffer, 42, (size_t)bytes);
      CHECK(Xfer(READ, f, buffer, bytes, 0) == bytes && Is(buffer, bytes, i));
    }
    Close(f);
  }
  Sync();
  Barrier();
  const int neighbour = (rank + 1) % tasks;
  for (int i = 0; i < items; ++i) {
    snprintf(path, sizeof path, "/md/tree.%d/file.mdtest.%d.%d", neighbour, neighbour, i);
    CHECK(Stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == bytes);
    File* f = Open(path, 0); /* O_RDONLY: mdtest's own */
    CHECK(f != NULL);
    memset(buffer, 0, (size_t)bytes);
    CHECK(Xfer(READ, f, buffer, bytes, 0) == bytes && Is(buffer, bytes, i));
    Close(f);
  }
  Barrier();
  for (int i = 0; i < items; ++i) {
    snprintf(path, sizeof path, "%s/file.mdtest.%d.%d", dir, rank, i);
#ifndef MAYFLY_IOR_3
    snprintf(other, sizeof other, "%s/renamed.%d", dir, i);
    CHECK(table->rename(path, other, options) == 0);
    CHECK(Access(path, F_OK) == -1 && Access(other, R_OK) == 0);
    Remove(other);
#else
    (void)other;
    Remove(path);
#endif
  }
  snprintf(path, sizeof path, "%s/node", dir);
  CHECK(table->mknod(path) == 0);
  CHECK(table->mknod(path) == -1 && errno == EEXIST);
  CHECK(Stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0);
  CHECK(Rmdir(dir) == -1 && errno == ENOTEMPTY);
  Remove(path);
  CHECK(Rmdir(dir) == 0);
  Barrier();
  if (rank == 0) CHECK(Rmdir("/md") == 0);
  free(buffer);
  Barrier();
  Finalize();
}

/* IOR's repetitions (-i), in small transfers one behind the other: what is gathered and fetched ahead is seen by
 * nobody. */
static void Repeat(void) {
  char file[64], piece[600];
  for (int i = 0; i < 3; ++i) {
    snprintf(file, sizeof file, "/repeat.%d.%d", rank, i);
    File* f = Create(file, IOR_WRONLY | IOR_CREAT | IOR_EXCL);
    CHECK(f != NULL);
    for (int t = 0; t < 200; ++t) {
      Fill(piece, sizeof piece, t);
      CHECK(Xfer(WRITE, f, piece, sizeof piece, t * (long long)sizeof piece) == sizeof piece);
    }
    Close(f);
    f = Open(file, IOR_RDONLY);
    CHECK(f != NULL);
    for (int t = 0; t < 200; ++t) {
      CHECK(Xfer(READ, f, piece, sizeof piece, t * (long long)sizeof piece) == sizeof piece &&
            Is(piece, sizeof piece, t));
    }
    Close(f);
    Remove(file);
  }
}

/* What a file may be used for follows from the flags that it was opened with. */
static void Flags(void) {
  char file[64], bytes[8] = "abcdefgh";
  struct stat st;
  snprintf(file, sizeof file, "/flags.%d", rank);
  File* f = Open(file, IOR_RDWR | IOR_CREAT | IOR_EXCL);
  CHECK(f != NULL && Xfer(WRITE, f, bytes, 8, 0) == 8 && Xfer(READ, f, bytes, 8, 0) == 8);
  Close(f);
  CHECK(Open(file, IOR_RDWR | IOR_CREAT | IOR_EXCL) == NULL);
  f = Open(file, IOR_WRONLY | IOR_APPEND);
  CHECK(f != NULL && Xfer(WRITE, f, bytes, 3, 0) == 3);
  Close(f);
  CHECK(Stat(file, &st) == 0 && st.st_size == 11); /* wherever it was to be written */
  f = Open(file, IOR_RDWR | IOR_DIRECT);
  CHECK(f != NULL && Xfer(WRITE, f, bytes, 8, 11) == 8 && Xfer(READ, f, bytes, 8, 8) == 8);
  CHECK(memcmp(bytes, "abcabcde", 8) == 0);
  Close(f);
  f = Open(file, IOR_RDONLY);
  CHECK(f != NULL && Xfer(READ, f, bytes, 8, 0) == 8 && memcmp(bytes, "abcdefgh", 8) == 0);
  CHECK(Xfer(WRITE, f, bytes, 8, 0) == 0);
  Close(f);
  CHECK(Open(file, IOR_WRONLY | IOR_DIRECT | IOR_APPEND | IOR_CREAT) != NULL); /* closed by the session's end */
  Remove(file);
}

static void Odds(void) {
  Initialize();
  ior_aiori_statfs_t room;
  CHECK(Statfs(&room) == 0 && room.f_blocks > 0 && room.f_bfree <= room.f_blocks && room.f_bsize > 0);
  CHECK(strlen(table->get_version()) > 0);
  char missing[] = "/nothing/here", file[64];
  CHECK(Open(missing, IOR_RDONLY) == NULL);
  CHECK(Create(missing, IOR_WRONLY | IOR_CREAT) == NULL);
  snprintf(file, sizeof file, "relative.%d", rank); /* from the root */
  char twice[4] = "abcd";
  Hints(1, 0, 0); /* a dry run touches nothing; the hints may change while connected */
  File* dry = Create(file, IOR_WRONLY | IOR_CREAT);
  CHECK(dry != NULL && Xfer(WRITE, dry, twice, 1 << 20, 0) == 1 << 20);
  Close(dry);
  Hints(0, 0, 0);
  CHECK(Access(file, F_OK) == -1);
  File* f = Create(file, IOR_WRONLY | IOR_CREAT | IOR_EXCL);
  CHECK(f != NULL && Xfer(WRITE, f, twice, 4, 0) == 4);
  CHECK(Create(file, IOR_WRONLY | IOR_CREAT | IOR_EXCL) == NULL);
  Fsync(f);
  struct stat st;
  char absolute[80];
  snprintf(absolute, sizeof absolute, "/%s", file);
  CHECK(Stat(absolute, &st) == 0 && st.st_size == 4);
  Hints(0, 0, 1);
  CHECK(Xfer(READ, f, twice, 4, 2) == 2);          /* one attempt */
  const char* moves = getenv("MAYFLY_TEST_MOVES"); /* watch.c */
  char more[5000] = {0};
  const int most = moves != NULL && atoi(moves) < 5000 ? atoi(moves) : 5000;
  CHECK(Xfer(WRITE, f, more, 5000, 0) == most && Xfer(READ, f, more, 5000, 0) == most);
  Hints(0, 0, 0);
  Close(f);
  if (!keep) Remove(file);
  Flags();
  Repeat();
  Barrier();
  Finalize();
}

/* Finds the backend and reads its options. 0: they are not valid. */
static int Begin(int argc, char** argv) {
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &tasks);
  CHECK(strcmp(available_aiori[0]->name, "POSIX") == 0);
  table = available_aiori[1];
  CHECK(strcmp(table->name, "MAYFLY") == 0);
  ParseOptions(argc, argv);
  return Valid();
}

int ior_main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  const int valid = Begin(argc, argv);
  if (valid) {
    Ior("/easy", 1, 1 << 20, 5, 1, 0);
    Ior("/hard", 0, 47008, 7, 9, 0);
    Ior("/small", 1, 3901, 300, 1, 0);
    Ior("/odd", 0, 777, 20, 3, 1);
    Ior("/huge", 1, 9 << 20, 1, 2, 0);
    Odds();
    if (rank == 0) puts("ok");
  }
  MPI_Finalize();
  return valid ? 0 : 3;
}

mdtest_results_t* mdtest_run(int argc, char** argv, MPI_Comm world, FILE* out) {
  (void)world;
  CHECK(Begin(argc, argv));
  Mdtest(40, 3901);
  if (rank == 0) fputs("ok\n", out);
  return NULL;
}

mdworkbench_results_t* md_workbench_run(int argc, char** argv, MPI_Comm world, FILE* out) {
  (void)world;
  CHECK(Begin(argc, argv));
  Mdtest(5, 47008);
  Mdtest(5, 1);
  if (rank == 0) fputs("ok\n", out);
  return NULL;
}
