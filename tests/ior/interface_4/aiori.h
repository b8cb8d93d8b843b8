/* What IOR 4 and a backend tell each other, declared anew from the facts of the interface (names, order, types), so
 * that the backend is compiled and played with where there is no IOR. With a real tree its own aiori.h is used instead.
 */
#pragma once

#include "../interface.h"

typedef struct aiori_xfer_hint_t {
  int dryRun;
  int filePerProc;
  int collective;
  int numTasks;
  int numNodes;
  int randomOffset;
  int fsyncPerWrite;
  IOR_offset_t segmentCount;
  IOR_offset_t blockSize;
  IOR_offset_t transferSize;
  IOR_offset_t expectedAggFileSize;
  int singleXferAttempt;
} aiori_xfer_hint_t;

typedef struct aiori_mod_opt_t {
  void* dummy;
} aiori_mod_opt_t;
typedef struct aiori_fd_t {
  void* dummy;
} aiori_fd_t;

typedef struct ior_aiori {
  char* name;
  char* name_legacy;
  aiori_fd_t* (*create)(char*, int flags, aiori_mod_opt_t*);
  int (*mknod)(char*);
  aiori_fd_t* (*open)(char*, int flags, aiori_mod_opt_t*);
  void (*xfer_hints)(aiori_xfer_hint_t*);
  IOR_offset_t (*xfer)(int access, aiori_fd_t*, IOR_size_t*, IOR_offset_t size, IOR_offset_t offset, aiori_mod_opt_t*);
  void (*close)(aiori_fd_t*, aiori_mod_opt_t*);
  void (*remove)(char*, aiori_mod_opt_t*);
  char* (*get_version)(void);
  void (*fsync)(aiori_fd_t*, aiori_mod_opt_t*);
  IOR_offset_t (*get_file_size)(aiori_mod_opt_t*, char*);
  int (*statfs)(const char*, ior_aiori_statfs_t*, aiori_mod_opt_t*);
  int (*mkdir)(const char*, mode_t, aiori_mod_opt_t*);
  int (*rmdir)(const char*, aiori_mod_opt_t*);
  int (*access)(const char*, int, aiori_mod_opt_t*);
  int (*stat)(const char*, struct stat*, aiori_mod_opt_t*);
  void (*initialize)(aiori_mod_opt_t*);
  void (*finalize)(aiori_mod_opt_t*);
  int (*rename)(const char*, const char*, aiori_mod_opt_t*);
  option_help* (*get_options)(aiori_mod_opt_t**, aiori_mod_opt_t*);
  int (*check_params)(aiori_mod_opt_t*);
  void (*sync)(aiori_mod_opt_t*);
  bool enable_mdtest;
} ior_aiori_t;
