/* One way to call the tables of both interfaces, for the driver. Everything here is a line; the test is in driver.c. */
#pragma once

#include <mpi.h>
#include <string.h>

#include "aiori.h"

/* What the list of backends has under the name MAYFLY. */
static const ior_aiori_t* table;

#ifdef MAYFLY_IOR_3
typedef void File;
static IOR_param_t params;
static void* options;
static IOR_param_t* With(int flags) {
  params.openFlags = (unsigned)flags;
  params.backend_options = options;
  return &params;
}
static option_help* GetOptions(void) { return table->get_options(&options, options); }
static void Hints(int dry, int fsync_each, int once) {
  params.dryRun = dry;
  params.fsyncPerWrite = fsync_each;
  params.singleXferAttempt = once;
}
static int Valid(void) { return table->check_params(With(0)); }
static void Initialize(void) {}
static void Finalize(void) { table->finalize(); }
static File* Create(char* path, int flags) { return table->create(path, With(flags)); }
static File* Open(char* path, int flags) { return table->open(path, With(flags)); }
static long long Xfer(int access, File* f, void* buffer, long long size, long long offset) {
  params.offset = offset;
  return table->xfer(access, f, (IOR_size_t*)buffer, size, With(0));
}
static void Close(File* f) { table->close(f, With(0)); }
static void Fsync(File* f) { table->fsync(f, With(0)); }
static void Remove(char* path) { table->delete (path, With(0)); }
/* Of the whole test: 3.3 asks all tasks. */
static long long AllBytes(char* path, int file_per_process) {
  params.filePerProc = file_per_process;
  return table->get_file_size(With(0), MPI_COMM_WORLD, path);
}
static int Statfs(ior_aiori_statfs_t* out) { return table->statfs("/", out, With(0)); }
static int Mkdir(const char* path) { return table->mkdir(path, 0755, With(0)); }
static int Rmdir(const char* path) { return table->rmdir(path, With(0)); }
static int Access(const char* path, int mode) { return table->access(path, mode, With(0)); }
static int Stat(const char* path, struct stat* out) { return table->stat(path, out, With(0)); }
static void Sync(void) { table->sync(With(0)); }
#else
typedef aiori_fd_t File;
static aiori_mod_opt_t* options;
static aiori_xfer_hint_t hints;
static option_help* GetOptions(void) { return table->get_options(&options, options); }
static void Hints(int dry, int fsync_each, int once) {
  hints.dryRun = dry;
  hints.fsyncPerWrite = fsync_each;
  hints.singleXferAttempt = once;
  table->xfer_hints(&hints);
}
static int Valid(void) { return table->check_params(options) == 0; }
static void Initialize(void) { table->initialize(options); }
static void Finalize(void) { table->finalize(options); }
static File* Create(char* path, int flags) { return table->create(path, flags, options); }
static File* Open(char* path, int flags) { return table->open(path, flags, options); }
static long long Xfer(int access, File* f, void* buffer, long long size, long long offset) {
  return table->xfer(access, f, (IOR_size_t*)buffer, size, offset, options);
}
static void Close(File* f) { table->close(f, options); }
static void Fsync(File* f) { table->fsync(f, options); }
static void Remove(char* path) { table->MAYFLY_IOR_REMOVE(path, options); }
static long long AllBytes(char* path, int file_per_process) {
  const long long mine = table->get_file_size(options, path);
  long long all = 0;
  MPI_Allreduce(&mine, &all, 1, MPI_LONG_LONG_INT, file_per_process ? MPI_SUM : MPI_MIN, MPI_COMM_WORLD);
  return all;
}
static int Statfs(ior_aiori_statfs_t* out) { return table->statfs("/", out, options); }
static int Mkdir(const char* path) { return table->mkdir(path, 0755, options); }
static int Rmdir(const char* path) { return table->rmdir(path, options); }
static int Access(const char* path, int mode) { return table->access(path, mode, options); }
static int Stat(const char* path, struct stat* out) { return table->stat(path, out, options); }
static void Sync(void) { table->sync(options); }
#endif
