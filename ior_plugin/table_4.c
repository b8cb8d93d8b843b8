/* The backend for IOR 4.0 and later (4.1 renamed one member: MAYFLY_IOR_REMOVE is its name). Compiled against the
 * aiori.h of the IOR tree that the program is built for.
 *
 * Of the interface (source: IOR's aiori.h and its callers): flags are IOR_*, and mdtest opens with 0 to read; files are
 * created readable, as mdtest may read back what it wrote; IOR_TRUNC is passed by every rank that creates a shared
 * file, with no barrier behind it, so it cannot be obeyed (IOR removes an old file first); xfer_hints comes before or
 * after initialize, and its structure stays IOR's. */
#include <fcntl.h>
#include <mayfly/mayfly.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "aiori.h"
#include "backend.h"
#include "table.h"

static aiori_xfer_hint_t no_hints;
static const aiori_xfer_hint_t* hints = &no_hints;

static const MayflyIorOptions* Of(aiori_mod_opt_t* options) { return (const MayflyIorOptions*)options; }

/* A descriptor travels as a pointer: it is never 0 (MAYFLY_FD_BASE). Without I/O (dryRun) none is needed. */
static aiori_fd_t* FromFd(int fd) { return fd < 0 ? NULL : (aiori_fd_t*)(intptr_t)fd; }
static int ToFd(aiori_fd_t* file) { return (int)(intptr_t)file; }
static aiori_fd_t* const kNoFile = (aiori_fd_t*)1;

static aiori_fd_t* Create(char* path, int flags, aiori_mod_opt_t* options) {
  if (hints->dryRun) return kNoFile;
  return FromFd(MayflyIorOpen(Of(options), path, O_CREAT | O_RDWR | ((flags & IOR_EXCL) != 0 ? O_EXCL : 0)));
}

static aiori_fd_t* Open(char* path, int flags, aiori_mod_opt_t* options) {
  return hints->dryRun ? kNoFile : FromFd(MayflyIorOpen(Of(options), path, MayflyIorFlagsOf(flags)));
}

static void XferHints(aiori_xfer_hint_t* given) { hints = given != NULL ? given : &no_hints; }

static IOR_offset_t Xfer(int access, aiori_fd_t* file, IOR_size_t* buffer, IOR_offset_t size, IOR_offset_t offset,
                         aiori_mod_opt_t* options) {
  (void)options;
  if (hints->dryRun) return size;
  const IOR_offset_t moved =
      MayflyIorTransfer(ToFd(file), access == WRITE, buffer, size, offset, hints->singleXferAttempt);
  if (access == WRITE && hints->fsyncPerWrite) MayflyIorFsync(ToFd(file));
  return moved;
}

static void Close(aiori_fd_t* file, aiori_mod_opt_t* options) {
  (void)options;
  if (file != kNoFile) MayflyIorClose(ToFd(file));
}

static void Fsync(aiori_fd_t* file, aiori_mod_opt_t* options) {
  (void)options;
  if (file != kNoFile) MayflyIorFsync(ToFd(file));
}

static void Remove(char* path, aiori_mod_opt_t* options) {
  if (!hints->dryRun) MayflyIorRemove(Of(options), path);
}

static char* GetVersion(void) { return (char*)mayfly_version(); }

static IOR_offset_t GetFileSize(aiori_mod_opt_t* options, char* path) {
  return hints->dryRun ? 0 : MayflyIorFileSize(Of(options), path);
}

static int Statfs(const char* path, ior_aiori_statfs_t* out, aiori_mod_opt_t* options) {
  (void)path;
  return MayflyIorStatfsOf(Of(options), out);
}

static int Mknod(char* path) { return MayflyIorMknod(NULL, path); } /* after initialize, so it is connected */
static int Mkdir(const char* path, mode_t mode, aiori_mod_opt_t* options) {
  return MayflyIorMkdir(Of(options), path, mode);
}
static int Rmdir(const char* path, aiori_mod_opt_t* options) { return MayflyIorRmdir(Of(options), path); }
static int Access(const char* path, int mode, aiori_mod_opt_t* options) {
  return MayflyIorAccess(Of(options), path, mode);
}
static int Stat(const char* path, struct stat* out, aiori_mod_opt_t* options) {
  return MayflyIorStat(Of(options), path, out);
}
static int Rename(const char* from, const char* to, aiori_mod_opt_t* options) {
  return MayflyIorRename(Of(options), from, to);
}
static void Sync(aiori_mod_opt_t* options) { MayflyIorSync(Of(options)); }

static void Initialize(aiori_mod_opt_t* options) { MayflyIorConnect(Of(options)); }
static void Finalize(aiori_mod_opt_t* options) {
  (void)options;
  MayflyIorDisconnect();
}
static int CheckParams(aiori_mod_opt_t* options) { return MayflyIorCheck(Of(options)); }

static option_help* GetOptions(aiori_mod_opt_t** init_backend_options, aiori_mod_opt_t* init_values) {
  MayflyIorOptions* options = NULL;
  option_help* help = MayflyIorHelp(&options, (const MayflyIorOptions*)init_values);
  *init_backend_options = (aiori_mod_opt_t*)options;
  return help;
}

ior_aiori_t mayfly_aiori = {
    .name = "MAYFLY",
    .name_legacy = NULL,
    .create = Create,
    .mknod = Mknod,
    .open = Open,
    .xfer_hints = XferHints,
    .xfer = Xfer,
    .close = Close,
    .MAYFLY_IOR_REMOVE = Remove,
    .get_version = GetVersion,
    .fsync = Fsync,
    .get_file_size = GetFileSize,
    .statfs = Statfs,
    .mkdir = Mkdir,
    .rmdir = Rmdir,
    .access = Access,
    .stat = Stat,
    .initialize = Initialize,
    .finalize = Finalize,
    .rename = Rename,
    .get_options = GetOptions,
    .check_params = CheckParams,
    .sync = Sync,
    .enable_mdtest = true,
};
