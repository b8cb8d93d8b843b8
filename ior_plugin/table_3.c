/* The backend for IOR 3.3, whose functions get all of a test's parameters, whose initialize gets none (so the first
 * call that has them connects), and whose check_params says 1 when all is well. */
#include <fcntl.h>
#include <mayfly/mayfly.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "aiori.h"
#include "backend.h"
#include "table.h"

static const MayflyIorOptions* Of(const IOR_param_t* p) { return (const MayflyIorOptions*)p->backend_options; }

static void* FromFd(int fd) { return fd < 0 ? NULL : (void*)(intptr_t)fd; }
static int ToFd(void* file) { return (int)(intptr_t)file; }

/* Files are created readable, as mdtest and write checks may read back. O_TRUNC: see table_4.c. */
static void* Create(char* path, IOR_param_t* p) {
  if (p->dryRun) return (void*)1;
  return FromFd(MayflyIorOpen(Of(p), path, O_CREAT | O_RDWR | ((p->openFlags & IOR_EXCL) != 0 ? O_EXCL : 0)));
}

static void* Open(char* path, IOR_param_t* p) {
  if (p->dryRun) return (void*)1;
  const int flags = MayflyIorFlagsOf(p->openFlags);
  const int writes = (flags & O_ACCMODE) != O_RDONLY; /* then also to read: a test that writes may check */
  return FromFd(MayflyIorOpen(Of(p), path, writes ? (flags & ~O_ACCMODE) | O_RDWR : flags & ~O_CREAT));
}

static IOR_offset_t Xfer(int access, void* file, IOR_size_t* buffer, IOR_offset_t size, IOR_param_t* p) {
  if (p->dryRun) return size;
  const IOR_offset_t moved =
      MayflyIorTransfer(ToFd(file), access == WRITE, buffer, size, p->offset, p->singleXferAttempt);
  if (access == WRITE && p->fsyncPerWrite) MayflyIorFsync(ToFd(file));
  return moved;
}

static void Close(void* file, IOR_param_t* p) {
  if (!p->dryRun) MayflyIorClose(ToFd(file));
}
static void Fsync(void* file, IOR_param_t* p) {
  if (!p->dryRun) MayflyIorFsync(ToFd(file));
}
static void Delete(char* path, IOR_param_t* p) {
  if (!p->dryRun) MayflyIorRemove(Of(p), path);
}

static char* GetVersion(void) { return (char*)mayfly_version(); }

/* Of all of the test: 3.3 leaves it to the backend to ask the other tasks. */
static IOR_offset_t GetFileSize(IOR_param_t* p, MPI_Comm all, char* path) {
  if (p->dryRun) return 0;
  const IOR_offset_t mine = MayflyIorFileSize(Of(p), path);
  IOR_offset_t out = 0;
  MPI_Allreduce(&mine, &out, 1, MPI_LONG_LONG_INT, p->filePerProc ? MPI_SUM : MPI_MIN, all);
  return out;
}

static int Statfs(const char* path, ior_aiori_statfs_t* out, IOR_param_t* p) {
  (void)path;
  return MayflyIorStatfsOf(Of(p), out);
}
static int Mknod(char* path) { return MayflyIorMknod(NULL, path); }
static int Mkdir(const char* path, mode_t mode, IOR_param_t* p) { return MayflyIorMkdir(Of(p), path, mode); }
static int Rmdir(const char* path, IOR_param_t* p) { return MayflyIorRmdir(Of(p), path); }
static int Access(const char* path, int mode, IOR_param_t* p) { return MayflyIorAccess(Of(p), path, mode); }
static int Stat(const char* path, struct stat* out, IOR_param_t* p) { return MayflyIorStat(Of(p), path, out); }
static void Sync(IOR_param_t* p) { MayflyIorSync(Of(p)); }
static void Finalize(void) { MayflyIorDisconnect(); }
static int CheckParams(IOR_param_t* p) { return MayflyIorCheck(Of(p)) == 0; }

static option_help* GetOptions(void** init_backend_options, void* init_values) {
  MayflyIorOptions* options = NULL;
  option_help* help = MayflyIorHelp(&options, (const MayflyIorOptions*)init_values);
  *init_backend_options = options;
  return help;
}

ior_aiori_t mayfly_aiori = {
    .name = "MAYFLY",
    .name_legacy = NULL,
    .create = Create,
    .mknod = Mknod,
    .open = Open,
    .xfer = Xfer,
    .close = Close,
    .delete = Delete,
    .get_version = GetVersion,
    .fsync = Fsync,
    .get_file_size = GetFileSize,
    .statfs = Statfs,
    .mkdir = Mkdir,
    .rmdir = Rmdir,
    .access = Access,
    .stat = Stat,
    .initialize = NULL,
    .finalize = Finalize,
    .get_options = GetOptions,
    .enable_mdtest = true,
    .check_params = CheckParams,
    .sync = Sync,
};
