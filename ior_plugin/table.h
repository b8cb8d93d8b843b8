/* What both tables say in IOR's own types. Included once, after the IOR tree's aiori.h, by a table. */
#pragma once

static int MayflyIorFlagsOf(int flags) {
  int out = (flags & IOR_RDWR) != 0 ? O_RDWR : (flags & IOR_WRONLY) != 0 ? O_WRONLY : O_RDONLY;
  if ((flags & IOR_APPEND) != 0) out |= O_APPEND;
  if ((flags & IOR_CREAT) != 0) out |= O_CREAT;
  if ((flags & IOR_EXCL) != 0) out |= O_EXCL;
  if ((flags & IOR_DIRECT) != 0) out |= O_DIRECT;
  return out;
}

static int MayflyIorStatfsOf(const MayflyIorOptions* options, ior_aiori_statfs_t* out) {
  struct statvfs st;
  if (MayflyIorStatfs(options, &st) != 0) return -1;
  out->f_bsize = st.f_frsize;
  out->f_blocks = st.f_blocks;
  out->f_bfree = st.f_bfree;
  out->f_bavail = st.f_bavail;
  out->f_files = st.f_files;
  out->f_ffree = st.f_ffree;
  return 0;
}

/* IOR owns what this allocates. `from`: options to start from, or NULL. */
static option_help* MayflyIorHelp(MayflyIorOptions** options, const MayflyIorOptions* from) {
  MayflyIorOptions* o = (MayflyIorOptions*)calloc(1, sizeof *o);
  if (o == NULL) abort();
  if (from != NULL) *o = *from;
  *options = o;
  const option_help help[] = {
      {0, (char*)"mayfly.session", (char*)"Session file (default: MAYFLY_SESSION, the batch job's, the only live one)",
       OPTION_OPTIONAL_ARGUMENT, 's', &o->session},
      {0, (char*)"mayfly.chunk_bytes", (char*)"Chunk of new files: a power of two, 64k to 64m (0: the session's)",
       OPTION_OPTIONAL_ARGUMENT, 'l', &o->chunk_bytes},
      {0, (char*)"mayfly.consistency", (char*)"posix (default), or strict: neither write-behind nor readahead",
       OPTION_OPTIONAL_ARGUMENT, 's', &o->consistency},
      {0, (char*)"mayfly.direct", (char*)"Open with O_DIRECT", OPTION_FLAG, 'd', &o->direct},
      {0, (char*)"mayfly.no_checksum", (char*)"Data is not checked end to end", OPTION_FLAG, 'd', &o->no_checksum},
      LAST_OPTION,
  };
  option_help* out = (option_help*)malloc(sizeof help);
  if (out == NULL) abort();
  memcpy(out, help, sizeof help);
  return out;
}
