// Preloaded into MPI programs that use the C interface: one answer is not the truth. MAYFLY_TEST_UNTRUE says which:
//   byte     the last rank's 20th read has one wrong byte, its last
//   short    it lacks it
//   older, larger, other, missing: of the first entry of a directory with "01" in its name and 3901 bytes, the time is
//            that of 1970, or the size another, or the name, or it is skipped
#include <dlfcn.h>
#include <mayfly/mayfly.h>
#include <stdlib.h>
#include <string.h>

static int Is(const char* how) {
  const char* asked = getenv("MAYFLY_TEST_UNTRUE");
  return asked != NULL && strcmp(asked, how) == 0;
}

static int LastRank(void) {
  const char *rank = getenv("OMPI_COMM_WORLD_RANK"), *ranks = getenv("OMPI_COMM_WORLD_SIZE");
  return rank != NULL && ranks != NULL && atoi(rank) + 1 == atoi(ranks);
}

ssize_t mayfly_pread(int fd, void* buffer, size_t bytes, off_t offset) {
  static ssize_t (*next)(int, void*, size_t, off_t);
  static int calls;
  if (next == NULL) next = (ssize_t(*)(int, void*, size_t, off_t))dlsym(RTLD_NEXT, "mayfly_pread");
  const ssize_t got = next(fd, buffer, bytes, offset);
  if (got <= 0 || !LastRank() || ++calls != 20) return got;
  if (Is("byte")) ((char*)buffer)[got - 1] ^= 1;
  return Is("short") ? got - 1 : got;
}

int mayfly_readdir(mayfly_dir* dir, mayfly_dirent* entry) {
  static int (*next)(mayfly_dir*, mayfly_dirent*);
  static int done;
  if (next == NULL) next = (int (*)(mayfly_dir*, mayfly_dirent*))dlsym(RTLD_NEXT, "mayfly_readdir");
  const int more = next(dir, entry);
  if (more != 1 || done || entry->attributes.st_size != 3901 || strstr(entry->name, "01") == NULL) return more;
  if (Is("older")) entry->attributes.st_mtim.tv_sec = 0, done = 1;
  if (Is("larger")) entry->attributes.st_size += 1, done = 1;
  if (Is("other")) entry->name = "file", done = 1;
  if (Is("missing")) return done = 1, next(dir, entry);
  return more;
}
