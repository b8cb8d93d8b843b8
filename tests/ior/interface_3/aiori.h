/* As interface_4/aiori.h, for IOR 3.3: all parameters of a test travel with each call. Of them only those that the
 * backend looks at are here, as a table is compiled for one tree. */
#pragma once

#include <mpi.h>

#include "../interface.h"

typedef struct {
  unsigned int openFlags;
  int dryRun;
  int filePerProc;
  int singleXferAttempt;
  int fsyncPerWrite;
  IOR_offset_t offset;
  void* backend_options;
} IOR_param_t;

typedef struct ior_aiori {
  char* name;
  char* name_legacy;
  void* (*create)(char*, IOR_param_t*);
  int (*mknod)(char*);
  void* (*open)(char*, IOR_param_t*);
  IOR_offset_t (*xfer)(int, void*, IOR_size_t*, IOR_offset_t, IOR_param_t*);
  void (*close)(void*, IOR_param_t*);
  void (*delete)(char*, IOR_param_t*);
  char* (*get_version)(void);
  void (*fsync)(void*, IOR_param_t*);
  IOR_offset_t (*get_file_size)(IOR_param_t*, MPI_Comm, char*);
  int (*statfs)(const char*, ior_aiori_statfs_t*, IOR_param_t*);
  int (*mkdir)(const char*, mode_t, IOR_param_t*);
  int (*rmdir)(const char*, IOR_param_t*);
  int (*access)(const char*, int, IOR_param_t*);
  int (*stat)(const char*, struct stat*, IOR_param_t*);
  void (*initialize)(void);
  void (*finalize)(void);
  option_help* (*get_options)(void**, void*);
  bool enable_mdtest;
  int (*check_params)(IOR_param_t*);
  void (*sync)(IOR_param_t*);
} ior_aiori_t;
