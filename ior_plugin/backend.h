/* Mayfly as IOR, mdtest and md-workbench use it, on mayfly.h alone: what the tables for IOR's versions (table_4.c,
 * table_3.c) have in common. One process, one session, one thread, as these programs are.
 *
 * Invariants  B1  every byte of a transfer is moved, or the transfer says how many were, with a sentence on stderr.
 *             B2  what returns nothing to IOR (close, fsync, remove, initialize) ends the job when it fails: a
 *                 benchmark whose data was not written has no figure.
 *             B3  connect and disconnect may alternate any number of times. */
#pragma once

#include <stdint.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

struct mayfly_fs;

/* What the command line says (--mayfly.*). Zero is the default of each. */
typedef struct MayflyIorOptions {
  char* session;       /* path of a session file; NULL: MAYFLY_SESSION, the batch job's, the only live one */
  int64_t chunk_bytes; /* of new files; 0: the session's */
  char* consistency;   /* "posix" (default): write-behind and readahead where nobody can tell; "strict": neither */
  int direct;          /* O_DIRECT at every open */
  int no_checksum;     /* data is not checked end to end */
} MayflyIorOptions;

/* 0, or 1 after a sentence on stderr that names the option and what it can be. */
int MayflyIorCheck(const MayflyIorOptions* options);

/* B3. Connects, if this process is not connected. */
void MayflyIorConnect(const MayflyIorOptions* options);
void MayflyIorDisconnect(void);
/* The session; connects if nobody did (IOR 3.3 initializes without options). */
struct mayfly_fs* MayflyIorSession(const MayflyIorOptions* options);

/* A descriptor, or -1 after a sentence. `flags`: open(2)'s. Relative paths start at the root. */
int MayflyIorOpen(const MayflyIorOptions* options, const char* path, int flags);
/* The bytes moved (B1). `once`: one attempt, however little it moves. */
int64_t MayflyIorTransfer(int fd, int write, void* buffer, int64_t bytes, int64_t offset, int once);
void MayflyIorFsync(int fd);                                                  /* B2 */
void MayflyIorClose(int fd);                                                  /* B2 */
void MayflyIorRemove(const MayflyIorOptions* options, const char* path);      /* B2 */
void MayflyIorSync(const MayflyIorOptions* options);                          /* B2 */
int64_t MayflyIorFileSize(const MayflyIorOptions* options, const char* path); /* B2 */

/* As the calls of these names: 0 or -1 with errno, in silence, since IOR asks to find out. */
int MayflyIorMknod(const MayflyIorOptions* options, const char* path);
int MayflyIorMkdir(const MayflyIorOptions* options, const char* path, mode_t mode);
int MayflyIorRmdir(const MayflyIorOptions* options, const char* path);
int MayflyIorAccess(const MayflyIorOptions* options, const char* path, int mode);
int MayflyIorStat(const MayflyIorOptions* options, const char* path, struct stat* out);
int MayflyIorStatfs(const MayflyIorOptions* options, struct statvfs* out);
int MayflyIorRename(const MayflyIorOptions* options, const char* from, const char* to);
