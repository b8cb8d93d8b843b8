/* What both of IOR's interfaces declare alike; included by their aiori.h. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

typedef long long int IOR_offset_t;
typedef long long int IOR_size_t;

enum { WRITE = 0, WRITECHECK = 1, READ = 2, READCHECK = 3 };
enum {
  IOR_RDONLY = 0x01,
  IOR_WRONLY = 0x02,
  IOR_RDWR = 0x04,
  IOR_APPEND = 0x08,
  IOR_CREAT = 0x10,
  IOR_TRUNC = 0x20,
  IOR_EXCL = 0x40,
  IOR_DIRECT = 0x80
};

typedef enum { OPTION_FLAG, OPTION_OPTIONAL_ARGUMENT, OPTION_REQUIRED_ARGUMENT } option_value_type;
typedef struct {
  char shortVar;
  char* longVar;
  char* help;
  option_value_type arg;
  char type; /* 'd' int, 'l' 64 bits with a unit, 's' string */
  void* variable;
} option_help;
#define LAST_OPTION \
  { 0, 0, 0, (option_value_type)0, 0, NULL }

typedef struct {
  uint64_t f_bsize, f_blocks, f_bfree, f_bavail, f_files, f_ffree;
} ior_aiori_statfs_t;
