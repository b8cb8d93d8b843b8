/* The C interface of Mayfly, a filesystem that lives as long as a batch job. C11 and C++.
 *
 * A program connects to the session that runs on its node and then uses calls that look and behave like POSIX on a
 * local filesystem: same arguments, same results, -1 and errno on failure. Differences are said at the call.
 *
 *     mayfly_fs *fs;
 *     if (mayfly_connect(NULL, NULL, &fs)) { fprintf(stderr, "%s\n", mayfly_error()); return 1; }
 *     int fd = mayfly_open(fs, "/out/step7", O_CREAT | O_WRONLY, 0644);
 *     mayfly_write(fd, data, bytes);
 *     mayfly_close(fd);
 *     mayfly_disconnect(fs);
 *
 * Paths are bytes without NUL, at most 4096 with it, names at most 255. They start at the root of the session's one
 * namespace; the leading '/' may be left out.
 *
 * Threads: every call may be made by any thread at any time. Each thread that calls gets a progress engine of its own.
 * One file descriptor may be shared by threads; its offset moves atomically.
 * Fork: the child inherits session and descriptors (each process then has its own offsets) and connects anew by itself.
 * Deadlines: no call waits for ever. A call that cannot finish within the operation time-out (options, default 30 s)
 * fails with ETIMEDOUT (its outcome is unknown) or EIO (the server that holds the data is gone).
 * The library never ends the caller's process and never installs a signal handler.
 */
#ifndef MAYFLY_MAYFLY_H
#define MAYFLY_MAYFLY_H

#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MAYFLY_VERSION_MAJOR 0
#define MAYFLY_VERSION_MINOR 1

/* ---- session ------------------------------------------------------------------------------------------------- */

typedef struct mayfly_fs mayfly_fs;

/* How a session behaves for this process. Fill with mayfly_options_init, then change what matters. */
typedef struct mayfly_options {
  uint32_t struct_bytes;       /* set by mayfly_options_init: lets the structure grow */
  uint32_t ready_timeout_ms;   /* how long mayfly_connect waits for a session to be ready; default 60000 */
  uint32_t op_timeout_ms;      /* each call's deadline; default 30000 */
  uint32_t checksum;           /* 1: data is checked end to end (default); 0: off for this client's writes */
  uint32_t write_behind_bytes; /* buffer of small sequential writes of a sole opener; 0 is off; default 1 MiB */
  uint32_t readahead_bytes;    /* window of sequential reads; 0 is off; default 8 MiB */
  uint32_t rendezvous_bytes;   /* transfers of this size and more are pulled by the receiver; 0: the built-in choice */
  uint32_t chunk_bytes; /* chunk of files that this process creates, a power of two, 64 KiB to 64 MiB; 0: session's */
  uint32_t map_arena;   /* 1: data of servers on this node is copied through shared memory (default); 0: it is sent */
} mayfly_options;
void mayfly_options_init(mayfly_options* options);

/* Finds a session, waits until it is ready and connects. `session` is the path of a session file; NULL means: what
 * MAYFLY_SESSION names, else the session of this batch job, else the only live session of this user on this node.
 * `options` may be NULL. 0, or -1 with errno (ENODEV: no session; ETIMEDOUT: not ready in time; EACCES: not yours;
 * EPROTO: another version) and a sentence in mayfly_error(). */
int mayfly_connect(const char* session, const mayfly_options* options, mayfly_fs** out);
/* Closes what is open, sends what was not sent, and releases the session. -1 with errno if that failed. */
int mayfly_disconnect(mayfly_fs* fs);
/* The sentence of the last failure in this thread: what, where, and what to do. Never NULL. */
const char* mayfly_error(void);
const char* mayfly_version(void);

/* What is made in the session gets the permissions that are asked for without those of this mask: at first the one that
 * the process had when it connected. umask(2) changes it no more, as only a system call for each new file would tell.
 * Returns the mask before. */
mode_t mayfly_umask(mayfly_fs* fs, mode_t mask);

/* ---- files --------------------------------------------------------------------------------------------------- */

/* Descriptors are integers from MAYFLY_FD_BASE up, so that none is mistaken for one of the kernel's. */
#define MAYFLY_FD_BASE 0x40000000

/* O_RDONLY, O_WRONLY, O_RDWR with O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_DIRECTORY, O_NOFOLLOW, O_SYNC, O_DIRECT
 * (neither write-behind nor readahead), O_PATH is not supported. Permissions: see mayfly_umask. */
int mayfly_open(mayfly_fs* fs, const char* path, int flags, ... /* mode_t mode */);
/* Reports what write-behind could not write. The descriptor is gone whatever it returns. The close of a small file may
 * return before the server has answered; should that fail (a disk that fails just then), the next mayfly_close,
 * mayfly_fsync or mayfly_sync of the process says so. */
int mayfly_close(int fd);
ssize_t mayfly_read(int fd, void* buffer, size_t bytes);
ssize_t mayfly_write(int fd, const void* buffer, size_t bytes);
ssize_t mayfly_pread(int fd, void* buffer, size_t bytes, off_t offset);
ssize_t mayfly_pwrite(int fd, const void* buffer, size_t bytes, off_t offset);
ssize_t mayfly_preadv(int fd, const struct iovec* iov, int count, off_t offset);
ssize_t mayfly_pwritev(int fd, const struct iovec* iov, int count, off_t offset);
/* SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE (in pages of 4096 bytes, as tmpfs). */
off_t mayfly_lseek(int fd, off_t offset, int whence);
/* Sends what write-behind holds and returns when the servers have it at the session's durability level. */
int mayfly_fsync(int fd);
int mayfly_fdatasync(int fd);
/* The same for every file that this process has open in the session. */
int mayfly_sync(mayfly_fs* fs);
int mayfly_ftruncate(int fd, off_t size);
int mayfly_truncate(mayfly_fs* fs, const char* path, off_t size);
/* mode: 0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE; others EOPNOTSUPP. */
int mayfly_fallocate(int fd, int mode, off_t offset, off_t bytes);

/* ---- attributes ---------------------------------------------------------------------------------------------- */

/* st_size is exact for every write that any client had acknowledged. st_ino is the inode id, st_dev the session,
 * st_blksize of a file its chunk. */
int mayfly_stat(mayfly_fs* fs, const char* path, struct stat* out);
int mayfly_lstat(mayfly_fs* fs, const char* path, struct stat* out);
int mayfly_fstat(int fd, struct stat* out);
/* Checks with the effective ids. flags: 0 or AT_SYMLINK_NOFOLLOW. */
int mayfly_access(mayfly_fs* fs, const char* path, int mode, int flags);
int mayfly_chmod(mayfly_fs* fs, const char* path, mode_t mode);
int mayfly_fchmod(int fd, mode_t mode);
int mayfly_chown(mayfly_fs* fs, const char* path, uid_t uid, gid_t gid);
int mayfly_lchown(mayfly_fs* fs, const char* path, uid_t uid, gid_t gid);
int mayfly_fchown(int fd, uid_t uid, gid_t gid);
/* As utimensat: times may be NULL, UTIME_NOW and UTIME_OMIT work; flags: 0 or AT_SYMLINK_NOFOLLOW. */
int mayfly_utimens(mayfly_fs* fs, const char* path, const struct timespec times[2], int flags);
int mayfly_futimens(int fd, const struct timespec times[2]);

/* Names start with "user.", "trusted.", "security." or "system."; values up to 65536 bytes. size 0 asks for the length.
 */
ssize_t mayfly_getxattr(mayfly_fs* fs, const char* path, const char* name, void* value, size_t bytes);
ssize_t mayfly_lgetxattr(mayfly_fs* fs, const char* path, const char* name, void* value, size_t bytes);
ssize_t mayfly_fgetxattr(int fd, const char* name, void* value, size_t bytes);
int mayfly_setxattr(mayfly_fs* fs, const char* path, const char* name, const void* value, size_t bytes, int flags);
int mayfly_lsetxattr(mayfly_fs* fs, const char* path, const char* name, const void* value, size_t bytes, int flags);
int mayfly_fsetxattr(int fd, const char* name, const void* value, size_t bytes, int flags);
ssize_t mayfly_listxattr(mayfly_fs* fs, const char* path, char* list, size_t bytes);
ssize_t mayfly_llistxattr(mayfly_fs* fs, const char* path, char* list, size_t bytes);
ssize_t mayfly_flistxattr(int fd, char* list, size_t bytes);
int mayfly_removexattr(mayfly_fs* fs, const char* path, const char* name);
int mayfly_lremovexattr(mayfly_fs* fs, const char* path, const char* name);
int mayfly_fremovexattr(int fd, const char* name);

/* ---- names --------------------------------------------------------------------------------------------------- */

/* An empty file, without opening it: mode is permissions, with S_IFREG or no type (others: EOPNOTSUPP). */
int mayfly_mknod(mayfly_fs* fs, const char* path, mode_t mode);
int mayfly_mkdir(mayfly_fs* fs, const char* path, mode_t mode);
int mayfly_rmdir(mayfly_fs* fs, const char* path);
int mayfly_unlink(mayfly_fs* fs, const char* path);
/* flags: 0, RENAME_NOREPLACE or RENAME_EXCHANGE (values of renameat2: 1 and 2). */
#define MAYFLY_RENAME_NOREPLACE 1u
#define MAYFLY_RENAME_EXCHANGE 2u
int mayfly_rename(mayfly_fs* fs, const char* from, const char* to, unsigned flags);
int mayfly_link(mayfly_fs* fs, const char* from, const char* to); /* does not follow a symlink at `from` */
int mayfly_symlink(mayfly_fs* fs, const char* target, const char* path);
ssize_t mayfly_readlink(mayfly_fs* fs, const char* path, char* buffer, size_t bytes);

typedef struct mayfly_dir mayfly_dir;
typedef struct mayfly_dirent {
  uint64_t cookie;  /* position after this entry, for mayfly_seekdir */
  const char* name; /* NUL-terminated; valid until the next call on this directory */
  uint32_t name_bytes;
  struct stat attributes; /* as of the listing; size of a large file that is being written may be older */
} mayfly_dirent;
/* Entries that exist from before the first read until after the last are returned exactly once, "." and ".." first.
 * Where the directory may be read but not searched, the attributes are inode number and type alone. */
mayfly_dir* mayfly_opendir(mayfly_fs* fs, const char* path);
/* 1: an entry; 0: the end; -1: errno. */
int mayfly_readdir(mayfly_dir* dir, mayfly_dirent* out);
int mayfly_seekdir(mayfly_dir* dir, uint64_t cookie); /* 0 is the start */
int mayfly_closedir(mayfly_dir* dir);

int mayfly_statvfs(mayfly_fs* fs, struct statvfs* out);

/* ---- batch: many operations in flight ------------------------------------------------------------------------ */

typedef enum mayfly_op_kind {
  MAYFLY_OP_OPEN = 1, /* path, flags, mode -> result: descriptor */
  MAYFLY_OP_CLOSE,    /* fd */
  MAYFLY_OP_PREAD,    /* fd, buffer, bytes, offset -> result: bytes */
  MAYFLY_OP_PWRITE,   /* fd, buffer, bytes, offset -> result: bytes */
  MAYFLY_OP_STAT,     /* path, buffer: struct stat* */
  MAYFLY_OP_LSTAT,    /* path, buffer: struct stat* */
  MAYFLY_OP_UNLINK,   /* path */
  MAYFLY_OP_MKDIR,    /* path, mode */
  MAYFLY_OP_RMDIR,    /* path */
  MAYFLY_OP_CREATE,   /* path, mode: as open with O_CREAT | O_WRONLY (and O_EXCL, if it is in flags) and close */
  MAYFLY_OP_PING      /* nothing but one round trip to the server of the root */
} mayfly_op_kind;

/* The caller owns it and what it points to, and must leave both alone from submit until wait returned it. */
typedef struct mayfly_op {
  int kind; /* a mayfly_op_kind */
  int fd;
  int flags;
  mode_t mode;
  const char* path;
  void* buffer;
  size_t bytes;
  off_t offset;
  void* user;     /* yours */
  int64_t result; /* out: as the blocking call returns, -1 on failure */
  int error;      /* out: errno, 0 on success */
} mayfly_op;

typedef struct mayfly_batch mayfly_batch;
/* A batch belongs to the thread that made it, and takes descriptors of its session only (EBADF). */
mayfly_batch* mayfly_batch_create(mayfly_fs* fs);
/* Starts `count` operations; they run in any order. 0 or -1 (EINVAL: unknown kind; nothing was started). */
int mayfly_batch_submit(mayfly_batch* batch, mayfly_op* const* ops, size_t count);
/* Waits until `least` operations have finished (or all, or the time is up; -1 is no limit but the operations' own
 * deadlines) and stores up to `most` finished ones. The number stored, or -1. */
ssize_t mayfly_batch_wait(mayfly_batch* batch, size_t least, mayfly_op** done, size_t most, int timeout_ms);
/* Waits for what is in flight. */
int mayfly_batch_destroy(mayfly_batch* batch);

/* ---- running the session -------------------------------------------------------------------------------------- */

/* JSON about the session, to be freed with free(): "status" (members, memory, counters), "ring" (placement and
 * balance), "ping" (which shards answer). NULL with errno. */
char* mayfly_report(mayfly_fs* fs, const char* what);
/* Where the time of requests goes: has all servers, and the clients that call them, time each request for so long, and
 * gives JSON, to be freed with free(): per method and stage the count and percentiles (`man mayfly`, trace, has the
 * stages). Returns when the time is over; killed before, the servers stop within 3 s by themselves. NULL with errno;
 * EBUSY: somebody else traces them. */
char* mayfly_trace(mayfly_fs* fs, unsigned milliseconds);

/* What a flush copies and where. Fill with mayfly_flush_options_init. */
typedef struct mayfly_flush_options {
  uint32_t struct_bytes;
  uint32_t budget_ms;  /* stop in time and say what is missing; 0: no limit */
  const char* source;  /* subtree of the namespace; NULL: all */
  const char* target;  /* directory on the PFS; NULL: the session's --flush-to */
  const char* pattern; /* fnmatch pattern on the path below source; NULL: everything */
} mayfly_flush_options;
void mayfly_flush_options_init(mayfly_flush_options* options);

/* Called about twice a second while a flush runs. Return non-zero to stop it. */
typedef struct mayfly_progress {
  uint64_t files_done, files_total, bytes_done, bytes_total; /* totals grow while the tree is being listed */
} mayfly_progress;
typedef int (*mayfly_progress_fn)(const mayfly_progress* progress, void* user);

/* Copies to the PFS and verifies. 0: every byte was read back and matches. -1: errno, and *report (JSON, free()) lists
 * what is missing and why. Errors of attributes that the PFS refuses alone give 0 with a list in the report. */
int mayfly_flush(mayfly_fs* fs, const mayfly_flush_options* options, mayfly_progress_fn progress, void* user,
                 char** report);
/* Ends the session: refuses new work, flushes as options say (NULL: no flush), removes everything from the nodes.
 * 0 only if all that was asked for is verified. If the flush failed the session goes on and may be stopped again. */
int mayfly_stop(mayfly_fs* fs, const mayfly_flush_options* options, mayfly_progress_fn progress, void* user,
                char** report);

/* Ends the servers and keeps the session: refuses new work, closes the journals in order and leaves what lies in
 * mayflyd's --dir and in the nodes' memory for `mayflyd --recover`. Nothing is flushed. -1: errno; ENOTSUP with
 * --durability none, which keeps nothing. Then, or with data that some process did not send (EIO, in the report), the
 * session goes on. */
int mayfly_suspend(mayfly_fs* fs, char** report);

#ifdef __cplusplus
}
#endif
#endif
