// Bytes through the C interface, all verified by a pattern that says who wrote what where: large files, records of many
// processes in one file, a full session, holes, descriptors across fork and threads; and a session full of names.
//
// usage: e2e_data large BYTES | shared PROCESSES | full | sparse | fork | threads | names [--send]
//   --send   data is sent, although servers on this node could be given it through shared memory
// Exit code 1 and a sentence if anything is not as it must be.
#include <errno.h>
#include <mayfly/mayfly.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

[[noreturn]] void Fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::fprintf(stderr, "e2e_data: ");
  std::vfprintf(stderr, format, arguments);
  std::fprintf(stderr, " (errno: %s; %s)\n", std::strerror(errno), mayfly_error());
  va_end(arguments);
  std::exit(1);
}

void ExpectEnd(pid_t child) {
  int status = 0;
  if (waitpid(child, &status, 0) != child || status != 0) Fail("a child ended with status %d", status);
}

bool send_data = false;

mayfly_fs* Connect() {
  mayfly_options options;
  mayfly_options_init(&options);
  options.map_arena = send_data ? 0 : 1;
  mayfly_fs* fs = nullptr;
  if (mayfly_connect(nullptr, &options, &fs) != 0) Fail("cannot connect");
  return fs;
}

// The byte at `offset` that `writer` writes there.
uint8_t ByteOf(uint64_t offset, uint32_t writer) {
  uint64_t x = (offset / 8 + 1) * 0x9e3779b97f4a7c15 + writer * 0xff51afd7ed558ccd;
  x ^= x >> 31;
  return static_cast<uint8_t>(x >> (offset % 8 * 8));
}
std::vector<uint8_t> Pattern(uint64_t offset, size_t bytes, uint32_t writer) {
  std::vector<uint8_t> out(bytes);
  for (size_t i = 0; i < bytes; ++i) out[i] = ByteOf(offset + i, writer);
  return out;
}
void WriteAll(int fd, uint64_t offset, size_t bytes, uint32_t writer) {
  const std::vector<uint8_t> data = Pattern(offset, bytes, writer);
  const ssize_t n = mayfly_pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
  if (n != static_cast<ssize_t>(bytes)) Fail("pwrite of %zu at %lu gave %zd", bytes, offset, n);
}
void CheckAll(int fd, uint64_t offset, size_t bytes, uint32_t writer) {
  std::vector<uint8_t> data(bytes);
  const ssize_t n = mayfly_pread(fd, data.data(), bytes, static_cast<off_t>(offset));
  if (n != static_cast<ssize_t>(bytes)) Fail("pread of %zu at %lu gave %zd", bytes, offset, n);
  const std::vector<uint8_t> expected = Pattern(offset, bytes, writer);
  if (data != expected) {
    const auto at = std::mismatch(data.begin(), data.end(), expected.begin()).first - data.begin();
    Fail("the byte at %lu is wrong", offset + static_cast<uint64_t>(at));
  }
}
int Open(mayfly_fs* fs, const char* path, int flags) {
  const int fd = mayfly_open(fs, path, flags, 0644);
  if (fd < 0) Fail("cannot open %s", path);
  return fd;
}
uint64_t FreeBytes(mayfly_fs* fs) {
  struct statvfs st;
  if (mayfly_statvfs(fs, &st) != 0) Fail("statvfs");
  return st.f_bavail * st.f_frsize;
}
// Space comes back with the last close, of which the servers hear within a second or two.
void ExpectFree(mayfly_fs* fs, uint64_t bytes) {
  for (int i = 0; i < 300 && FreeBytes(fs) < bytes; ++i) usleep(50'000);
  if (FreeBytes(fs) < bytes) Fail("%lu bytes are free, there should be %lu", FreeBytes(fs), bytes);
}

// ---- one file, larger than the memory of one member -----------------------------------------------------------------

void Large(uint64_t bytes) {
  mayfly_fs* fs = Connect();
  const uint64_t free_before = FreeBytes(fs);
  const int fd = Open(fs, "/large", O_CREAT | O_EXCL | O_RDWR);
  constexpr uint64_t kPiece = 3'000'000;  // across chunks
  std::vector<uint64_t> order;
  for (uint64_t at = 0; at < bytes; at += kPiece) order.push_back(at);
  std::shuffle(order.begin(), order.end(), std::mt19937(7));
  const auto length = [&](uint64_t at) { return static_cast<size_t>(std::min(kPiece, bytes - at)); };
  for (uint64_t at : order) WriteAll(fd, at, length(at), 1);
  struct stat st;
  if (mayfly_fstat(fd, &st) != 0 || static_cast<uint64_t>(st.st_size) != bytes) Fail("size %ld", st.st_size);
  std::reverse(order.begin(), order.end());
  for (uint64_t at : order) CheckAll(fd, at, length(at), 1);
  // The middle is written again, not aligned to anything, and its surroundings stay.
  const uint64_t middle = bytes / 2 + 12'345;
  WriteAll(fd, middle, 9'000'001, 2);
  CheckAll(fd, middle, 9'000'001, 2);
  CheckAll(fd, middle - 5'000'000, 5'000'000, 1);
  CheckAll(fd, middle + 9'000'001, 5'000'000, 1);
  if (mayfly_ftruncate(fd, static_cast<off_t>(middle)) != 0) Fail("ftruncate");
  ExpectFree(fs, free_before - middle - (48u << 20));
  CheckAll(fd, middle - 5'000'000, 5'000'000, 1);
  if (mayfly_close(fd) != 0 || mayfly_unlink(fs, "/large") != 0) Fail("close, unlink");
  ExpectFree(fs, free_before - (48u << 20));
  if (mayfly_disconnect(fs) != 0) Fail("disconnect");
}

// ---- many processes, one file ---------------------------------------------------------------------------------------

constexpr size_t kRecord = 47'008;
constexpr uint64_t kRecords = 60;
constexpr uint64_t kCommon = 1u << 20;  // which all write over each other, in pieces that do not match

void Writer(uint32_t id, uint32_t writers) {
  mayfly_fs* fs = Connect();
  const int fd = Open(fs, "/shared", O_CREAT | O_RDWR);
  std::mt19937 random(id);
  for (uint64_t i = 0; i < kRecords; ++i) {
    WriteAll(fd, kCommon + (i * writers + id) * kRecord, kRecord, id);
    const size_t bytes = 1 + random() % 70'000;
    WriteAll(fd, random() % (kCommon - bytes), bytes, id);
  }
  for (uint64_t i = 0; i < kRecords; ++i) CheckAll(fd, kCommon + (i * writers + id) * kRecord, kRecord, id);
  if (mayfly_close(fd) != 0 || mayfly_disconnect(fs) != 0) Fail("close, disconnect");
}

void Shared(uint32_t writers) {
  std::vector<pid_t> children;
  for (uint32_t id = 0; id < writers; ++id) {
    const pid_t child = fork();
    if (child == 0) {
      Writer(id, writers);
      std::_Exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) ExpectEnd(child);
  mayfly_fs* fs = Connect();
  const int fd = Open(fs, "/shared", O_RDONLY);
  for (uint64_t i = 0; i < kRecords * writers; ++i) {
    CheckAll(fd, kCommon + i * kRecord, kRecord, static_cast<uint32_t>(i % writers));
  }
  // Where they wrote over each other every byte is some writer's, or was never written.
  std::vector<uint8_t> common(kCommon);
  if (mayfly_pread(fd, common.data(), kCommon, 0) != static_cast<ssize_t>(kCommon)) Fail("pread");
  for (uint64_t at = 0; at < kCommon; ++at) {
    bool known = common[at] == 0;
    for (uint32_t id = 0; id < writers && !known; ++id) known = common[at] == ByteOf(at, id);
    if (!known) Fail("the byte at %lu is nobody's", at);
  }
  if (mayfly_close(fd) != 0 || mayfly_unlink(fs, "/shared") != 0 || mayfly_disconnect(fs) != 0) Fail("the end");
}

// ---- a full session -------------------------------------------------------------------------------------------------

void Full() {
  mayfly_fs* fs = Connect();
  const uint64_t free_before = FreeBytes(fs);
  const int kept = Open(fs, "/kept", O_CREAT | O_RDWR);
  WriteAll(kept, 0, 300'000, 9);
  uint64_t first = 0;
  for (int round = 0; round < 2; ++round) {
    const int fd = Open(fs, "/filler", O_CREAT | O_EXCL | O_RDWR);
    uint64_t at = 0;
    for (;;) {
      const std::vector<uint8_t> data = Pattern(at, 1u << 20, 3);
      const ssize_t n = mayfly_pwrite(fd, data.data(), data.size(), static_cast<off_t>(at));
      if (n < 0) {
        if (errno != ENOSPC) Fail("a full session gave another error");
        break;
      }
      at += static_cast<uint64_t>(n);
      if (at > 2 * free_before) Fail("more fits than there is");
    }
    // What was acknowledged is there; what was refused is not; what was there before is as it was.
    struct stat st;
    if (mayfly_fstat(fd, &st) != 0 || static_cast<uint64_t>(st.st_size) != at)
      Fail("size %ld, not %lu", st.st_size, at);
    for (uint64_t from = 0; from < at; from += 1u << 20) CheckAll(fd, from, std::min<uint64_t>(1u << 20, at - from), 3);
    CheckAll(kept, 0, 300'000, 9);
    if (at < free_before * 8 / 10) Fail("only %lu of %lu bytes fit", at, free_before);
    if (round == 0) first = at;
    if (round == 1 && at < first * 9 / 10) Fail("%lu bytes fit, %lu before: space was lost", at, first);
    if (mayfly_close(fd) != 0 || mayfly_unlink(fs, "/filler") != 0) Fail("close, unlink");
    ExpectFree(fs, free_before * 9 / 10);
  }
  if (mayfly_close(kept) != 0 || mayfly_unlink(fs, "/kept") != 0 || mayfly_disconnect(fs) != 0) Fail("the end");
}

// ---- a session that is full of names --------------------------------------------------------------------------------

constexpr uint64_t kInEach = 1'000;
std::string DirectoryOf(uint64_t i) { return "/names/d" + std::to_string(i / kInEach); }
std::string NameOf(uint64_t i) { return DirectoryOf(i) + "/n" + std::to_string(i); }
bool IsDirectory(uint64_t i) { return i % 10 == 3; }

// One name more, an empty file or a directory. False if that is refused, with errno; `command` is then how a tool would
// make it.
bool Make(mayfly_fs* fs, uint64_t i, std::string* command) {
  const auto mkdir = [&](const std::string& path) {
    *command = "mayfly mkdir " + path;
    return mayfly_mkdir(fs, path.c_str(), 0755) == 0;
  };
  if (i % kInEach == 0 && !mkdir(DirectoryOf(i))) return false;
  if (IsDirectory(i)) return mkdir(NameOf(i));
  *command = "mayfly ln -s nowhere " + NameOf(i);
  const int fd = mayfly_open(fs, NameOf(i).c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644);
  if (fd < 0) return false;
  if (mayfly_close(fd) != 0) Fail("close of %s", NameOf(i).c_str());
  return true;
}
// COMMAND fails, and its one sentence has WORDS.
void ExpectFailure(const std::string& command, const std::string& words) {
  const std::string script = "said=$(" + command + " 2>&1); status=$?; echo \"$said\" | grep -q '^mayfly: .*" + words +
                             "' && test $status = 1 || { echo \"status $status: $said\" >&2; false; }";
  if (std::system(script.c_str()) != 0) Fail("%s", command.c_str());
}
uint64_t Listed(mayfly_fs* fs, const std::string& path) {
  mayfly_dir* dir = mayfly_opendir(fs, path.c_str());
  if (dir == nullptr) Fail("cannot open %s", path.c_str());
  uint64_t count = 0;
  mayfly_dirent entry;
  int more;
  while ((more = mayfly_readdir(dir, &entry)) > 0) count += entry.name[0] == 'n';
  if (more < 0 || mayfly_closedir(dir) != 0) Fail("reading %s", path.c_str());
  return count;
}
uint64_t FreeNames(mayfly_fs* fs) {
  struct statvfs st;
  if (mayfly_statvfs(fs, &st) != 0) Fail("statvfs");
  return st.f_ffree;
}

void CheckNames(uint64_t made) {
  mayfly_fs* fs = Connect();
  uint64_t listed = 0;
  for (uint64_t i = 0; i < made; i += kInEach) listed += Listed(fs, DirectoryOf(i));
  if (listed != made) Fail("%lu names are there, %lu were made", listed, made);
  for (uint64_t i = 0; i < made; i += 97) {
    struct stat st;
    if (mayfly_stat(fs, NameOf(i).c_str(), &st) != 0) Fail("cannot see %s", NameOf(i).c_str());
    if (S_ISDIR(st.st_mode) != IsDirectory(i) || st.st_nlink != (IsDirectory(i) ? 2u : 1u)) {
      Fail("%s is something else", NameOf(i).c_str());
    }
  }
  if (mayfly_disconnect(fs) != 0) Fail("disconnect");
}

// What goes makes room at once for what comes.
void RemoveNames(mayfly_fs* fs, uint64_t made) {
  const auto remove = [&](uint64_t i) {
    const std::string name = NameOf(i);
    if ((IsDirectory(i) ? mayfly_rmdir(fs, name.c_str()) : mayfly_unlink(fs, name.c_str())) != 0) {
      Fail("removing %s", name.c_str());
    }
  };
  const uint64_t half = made / 2 / kInEach * kInEach;
  for (uint64_t i = half; i < made; ++i) remove(i);
  const uint64_t again = std::min(half + kInEach, made);
  std::string command;
  for (uint64_t i = half + 1; i < again; ++i) {
    if (!Make(fs, i, &command)) Fail("making %s after others were removed", NameOf(i).c_str());
  }
  for (uint64_t i = half + 1; i < again; ++i) remove(i);
  for (uint64_t i = 0; i < half; ++i) remove(i);
  for (uint64_t i = 0; i <= made; i += kInEach) {
    // The last one may be what there was no room for.
    if (mayfly_rmdir(fs, DirectoryOf(i).c_str()) != 0 && (i < made || errno != ENOENT)) {
      Fail("rmdir of %s", DirectoryOf(i).c_str());
    }
  }
  if (mayfly_rmdir(fs, "/names") != 0) Fail("rmdir");
}

// What statvfs says of names, before there are many.
void CheckFigures(mayfly_fs* fs) {
  struct statvfs before, after;
  const auto used = [](const struct statvfs& st) { return st.f_files - st.f_ffree; };
  if (mayfly_statvfs(fs, &before) != 0) Fail("statvfs");
  if (before.f_namemax != 255 || before.f_frsize != 4096 || before.f_bsize < 65536 ||
      (before.f_bsize & (before.f_bsize - 1)) != 0 || before.f_bfree != before.f_bavail ||
      before.f_bfree > before.f_blocks || before.f_ffree != before.f_favail || before.f_ffree > before.f_files) {
    Fail("statvfs: namemax %lu, frsize %lu, bsize %lu, %lu of %lu blocks and %lu of %lu names free", before.f_namemax,
         before.f_frsize, before.f_bsize, before.f_bfree, before.f_blocks, before.f_ffree, before.f_files);
  }
  // What files left behind that are gone is for names too.
  if (before.f_ffree < before.f_bfree * before.f_frsize / 1024) {
    Fail("only %lu names are free, with %lu blocks", before.f_ffree, before.f_bfree);
  }
  const std::string longest = "/" + std::string(255, 'n');
  if (mayfly_mkdir(fs, longest.c_str(), 0755) != 0) Fail("a name of 255 bytes");
  if (mayfly_mkdir(fs, (longest + "n").c_str(), 0755) == 0 || errno != ENAMETOOLONG) Fail("a name of 256 bytes");
  if (mayfly_statvfs(fs, &after) != 0) Fail("statvfs");
  if (used(after) != used(before) + 1) Fail("%lu names, %lu before one more", used(after), used(before));
  if (mayfly_rmdir(fs, longest.c_str()) != 0 || mayfly_statvfs(fs, &after) != 0) Fail("rmdir, statvfs");
  if (used(after) != used(before)) Fail("%lu names, %lu before one came and went", used(after), used(before));
}

void Names() {
  mayfly_fs* fs = Connect();
  CheckFigures(fs);
  const uint64_t free_before = FreeBytes(fs);
  // Bytes take most of the memory, so that names need not.
  constexpr uint64_t kPiece = 1u << 20, kLeft = 10 * kPiece;
  if (free_before < 2 * kLeft) Fail("only %lu bytes are free", free_before);
  const uint64_t bytes = (free_before - kLeft) / kPiece * kPiece;
  const int kept = Open(fs, "/kept", O_CREAT | O_EXCL | O_RDWR);
  for (uint64_t at = 0; at < bytes; at += kPiece) WriteAll(kept, at, kPiece, 9);
  const uint64_t free_names = FreeNames(fs);
  uint64_t first = 0;
  for (int round = 0; round < 2; ++round) {
    if (mayfly_mkdir(fs, "/names", 0755) != 0) Fail("mkdir");
    uint64_t made = 0;
    std::string command;
    while (Make(fs, made, &command)) {
      if (++made > 20'000'000) Fail("names without end");
    }
    if (errno != ENOSPC) Fail("a session full of names gave another error");
    if (made < free_names / 2) Fail("%lu names fit, of %lu that were said to", made, free_names);
    if (round == 0) first = made;
    if (round == 1 && made < first * 9 / 10) Fail("%lu names fit, %lu before: space was lost", made, first);
    // The tools say so, to others too, and nobody has lost anything.
    if (round == 0) ExpectFailure(command, "No space left on device.*more --memory, or remove");
    for (uint64_t at = 0; at < bytes; at += kPiece) CheckAll(kept, at, kPiece, 9);
    CheckNames(made);
    RemoveNames(fs, made);
    ExpectFree(fs, kLeft * 9 / 10);
  }
  if (mayfly_close(kept) != 0 || mayfly_unlink(fs, "/kept") != 0) Fail("close, unlink");
  ExpectFree(fs, free_before * 9 / 10);
  if (mayfly_disconnect(fs) != 0) Fail("disconnect");
}

// ---- holes ----------------------------------------------------------------------------------------------------------

void Sparse() {
  mayfly_fs* fs = Connect();
  const int fd = Open(fs, "/sparse", O_CREAT | O_EXCL | O_RDWR);
  constexpr uint64_t kFar = uint64_t{1} << 40;
  WriteAll(fd, 5'000'000, 10'000, 1);
  WriteAll(fd, kFar, 10'000, 2);
  struct stat st;
  if (mayfly_fstat(fd, &st) != 0 || static_cast<uint64_t>(st.st_size) != kFar + 10'000) Fail("size %ld", st.st_size);
  if (st.st_blocks * 512 > 1 << 20) Fail("a sparse file takes %ld blocks", st.st_blocks);
  CheckAll(fd, 5'000'000, 10'000, 1);
  CheckAll(fd, kFar, 10'000, 2);
  std::vector<uint8_t> zeros(3'000'000, 1);
  if (mayfly_pread(fd, zeros.data(), zeros.size(), 1'000'000) != 3'000'000) Fail("pread");
  if (std::any_of(zeros.begin(), zeros.end(), [](uint8_t b) { return b != 0; })) Fail("a hole is not zeros");
  if (mayfly_lseek(fd, 0, SEEK_DATA) != 5'000'000 / 4096 * 4096) Fail("SEEK_DATA");
  if (mayfly_lseek(fd, 6'000'000, SEEK_DATA) != static_cast<off_t>(kFar)) Fail("SEEK_DATA far away");
  if (mayfly_close(fd) != 0 || mayfly_unlink(fs, "/sparse") != 0 || mayfly_disconnect(fs) != 0) Fail("the end");
}

// ---- descriptors, fork, threads -------------------------------------------------------------------------------------

void Fork() {
  mayfly_fs* fs = Connect();
  const int fd = Open(fs, "/forked", O_CREAT | O_EXCL | O_RDWR);
  if (fd < MAYFLY_FD_BASE) Fail("a descriptor that the kernel could have");
  char byte;
  if (::read(fd, &byte, 1) != -1 || errno != EBADF) Fail("the kernel knows our descriptor");
  for (uint64_t i = 0; i < 40; ++i) WriteAll(fd, i * 1'000, 1'000, 1);  // small and sequential: buffered by now
  const pid_t child = fork();
  if (child == 0) {
    CheckAll(fd, 0, 40'000, 1);
    WriteAll(fd, 40'000, 200'000, 2);
    if (mayfly_lseek(fd, 77, SEEK_SET) != 77) Fail("lseek");
    const int own = Open(fs, "/forked.child", O_CREAT | O_EXCL | O_RDWR);
    WriteAll(own, 0, 100'000, 3);
    if (mayfly_close(own) != 0 || mayfly_close(fd) != 0 || mayfly_disconnect(fs) != 0) Fail("the child's end");
    std::_Exit(0);
  }
  ExpectEnd(child);
  CheckAll(fd, 0, 40'000, 1);
  CheckAll(fd, 40'000, 200'000, 2);
  struct stat st;
  if (mayfly_fstat(fd, &st) != 0 || st.st_size != 240'000) Fail("size %ld", st.st_size);
  const int theirs = Open(fs, "/forked.child", O_RDONLY);
  CheckAll(theirs, 0, 100'000, 3);
  if (mayfly_close(theirs) != 0 || mayfly_close(fd) != 0) Fail("close");
  if (mayfly_close(fd) != -1 || errno != EBADF) Fail("a descriptor closed twice");
  if (mayfly_unlink(fs, "/forked") != 0 || mayfly_unlink(fs, "/forked.child") != 0) Fail("unlink");
  if (mayfly_disconnect(fs) != 0) Fail("disconnect");
}

// While a child lives and has connections of its own, others come and go: what the library's own threads do for one of
// them is nothing that another waits for.
void ForkOften() {
  mayfly_fs* fs = Connect();
  const int fd = Open(fs, "/often", O_CREAT | O_EXCL | O_RDWR);
  const auto look = [&] {
    struct stat st;
    if (mayfly_fstat(fd, &st) != 0) Fail("fstat in a child");
  };
  int connected[2], end[2];
  if (pipe(connected) != 0 || pipe(end) != 0) Fail("pipe");
  char byte = 0;
  const pid_t first = fork();
  if (first == 0) {
    close(end[1]);
    look();
    if (::write(connected[1], &byte, 1) != 1 || ::read(end[0], &byte, 1) != 0) Fail("pipe");
    std::_Exit(0);
  }
  if (::read(connected[0], &byte, 1) != 1) Fail("pipe");
  for (int i = 0; i < 100; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      close(end[1]);
      look();
      if (i % 8 == 0) {
        const pid_t its_own = fork();
        if (its_own == 0) {
          look();
          std::_Exit(0);
        }
        ExpectEnd(its_own);
      }
      std::_Exit(0);
    }
    ExpectEnd(child);
  }
  close(end[1]);
  ExpectEnd(first);
  for (const int one : {connected[0], connected[1], end[0]}) close(one);
  if (mayfly_close(fd) != 0 || mayfly_unlink(fs, "/often") != 0 || mayfly_disconnect(fs) != 0) Fail("the end");
}

// One descriptor of many threads: each write moves the offset by itself, so no record tears another.
void Threads() {
  mayfly_fs* fs = Connect();
  constexpr uint32_t kThreads = 6, kEach = 200;
  constexpr size_t kBytes = 3'901;
  const int fd = Open(fs, "/threads", O_CREAT | O_EXCL | O_RDWR);
  const int appended = Open(fs, "/appended", O_CREAT | O_EXCL | O_WRONLY | O_APPEND);
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([=] {
      const std::vector<uint8_t> record(kBytes, static_cast<uint8_t>(t + 1));
      for (uint32_t i = 0; i < kEach; ++i) {
        if (mayfly_write(fd, record.data(), kBytes) != static_cast<ssize_t>(kBytes)) Fail("write");
        if (mayfly_write(appended, record.data(), kBytes) != static_cast<ssize_t>(kBytes)) Fail("append");
        struct stat st;
        if (mayfly_stat(fs, "/threads", &st) != 0 || st.st_size < static_cast<off_t>((i + 1) * kBytes)) {
          Fail("the size is behind what was acknowledged");
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (mayfly_close(fd) != 0 || mayfly_close(appended) != 0) Fail("close");
  for (const char* path : {"/threads", "/appended"}) {
    const int back = Open(fs, path, O_RDONLY);
    std::vector<uint32_t> count(kThreads + 1);
    std::vector<uint8_t> record(kBytes);
    for (uint32_t i = 0; i < kThreads * kEach; ++i) {
      if (mayfly_read(back, record.data(), kBytes) != static_cast<ssize_t>(kBytes)) Fail("%s is short", path);
      if (record[0] == 0 || record[0] > kThreads) Fail("%s: record %u is nobody's", path, i);
      if (std::any_of(record.begin(), record.end(), [&](uint8_t b) { return b != record[0]; })) {
        Fail("%s: record %u is torn", path, i);
      }
      ++count[record[0]];
    }
    if (mayfly_read(back, record.data(), kBytes) != 0) Fail("%s is too long", path);
    for (uint32_t t = 1; t <= kThreads; ++t) {
      if (count[t] != kEach) Fail("%s has %u records of thread %u", path, count[t], t);
    }
    if (mayfly_close(back) != 0 || mayfly_unlink(fs, path) != 0) Fail("close, unlink");
  }
  if (mayfly_disconnect(fs) != 0) Fail("disconnect");
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  send_data = std::string(argv[argc - 1]) == "--send";
  const uint64_t number = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
  if (what == "large" && number > (64u << 20)) {
    Large(number);
  } else if (what == "shared" && number > 0) {
    Shared(static_cast<uint32_t>(number));
  } else if (what == "full") {
    Full();
  } else if (what == "names") {
    Names();
  } else if (what == "sparse") {
    Sparse();
  } else if (what == "fork") {
    Fork();
    ForkOften();
  } else if (what == "threads") {
    Threads();
  } else {
    std::fprintf(stderr,
                 "usage: e2e_data large BYTES | shared PROCESSES | full | sparse | fork | threads | names [--send]\n");
    return 2;
  }
  return 0;
}
