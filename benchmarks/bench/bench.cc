// mayfly-bench: the IO500's mandatory phases through the C interface, by any number of MPI ranks, every byte that is
// read compared, with the score computed as the IO500 does.
//
//   mpirun -n N mayfly-bench [--session FILE] [--stonewall SECONDS] [--dir PATH] [--files-max N] [--chunk-bytes N]
//                            [--no-checksum] [--keep] [--json FILE] [--svg FILE]
//
// Writing phases last until the stonewall, or until their part of the session's free memory is used; then every rank
// does as many operations as the fastest did. What reads shifts by one rank, so nobody reads what it wrote.
#include <fcntl.h>
#include <fmt/format.h>
#include <mayfly/mayfly.h>
#include <mpi.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "report.h"

namespace bench {
namespace {

constexpr size_t kEasyBytes = 1 << 20, kHardBytes = 47008, kFileBytes = 3901;  // the IO500's

struct Options {
  std::string session, dir = "/mayfly-bench", json, svg;
  double stonewall = 10;
  uint64_t files_max = 1000000;  // of a rank and phase
  uint64_t chunk_bytes = 0;      // 0: the session's
  bool no_checksum = false, keep = false;
};

// What the ranks do together.
class Bench {
 public:
  Bench(const Options& options, int rank, int ranks)
      : o_(options), rank_(rank), ranks_(ranks), base_(kEasyBytes / 8), copy_(kEasyBytes) {
    uint64_t x = 88172645463325252u;
    for (uint64_t& word : base_) {
      x ^= x << 13;
      x ^= x >> 7;
      x ^= x << 17;
      word = x;
    }
  }
  int Go();

 private:
  // In one piece, as the launcher and other ranks write too.
  [[noreturn]] static void End(const std::string& sentence) {
    std::cerr << "mayfly-bench: " + sentence + "\n" << std::flush;
    MPI_Abort(MPI_COMM_WORLD, 1);
    ::abort();
  }
  // All ranks know of it: the others wait until it is said.
  [[noreturn]] void EndTogether(const std::string& sentence) {
    if (rank_ == 0) End(sentence);
    MPI_Barrier(MPI_COMM_WORLD);  // which rank 0 does not come to
    ::abort();
  }
  [[noreturn]] void Die(const std::string& what) { End(what + ": " + mayfly_error()); }
  void Need(bool good, const std::string& what) {
    if (!good) Die(what);
  }
  void Connect();
  void Caps();

  // Bytes that tell where they belong: of `bytes` from `base`, with a stamp in each page.
  const char* Pattern(size_t bytes, uint64_t seed) {
    for (size_t at = 0; at + 8 <= bytes; at += 4096) base_[at / 8] = seed * 0x9e3779b97f4a7c15u + at;
    return reinterpret_cast<const char*>(base_.data());
  }
  void Write(int fd, size_t bytes, uint64_t seed, uint64_t offset) {
    Need(mayfly_pwrite(fd, Pattern(bytes, seed), bytes, static_cast<off_t>(offset)) == static_cast<ssize_t>(bytes),
         "write");
  }
  // The seconds of the call alone.
  double Read(int fd, size_t bytes, uint64_t seed, uint64_t offset) {
    const double begin = MPI_Wtime();
    Need(mayfly_pread(fd, copy_.data(), bytes, static_cast<off_t>(offset)) == static_cast<ssize_t>(bytes), "read");
    const double seconds = MPI_Wtime() - begin;
    if (memcmp(copy_.data(), Pattern(bytes, seed), bytes) != 0) {
      End("rank " + std::to_string(rank_) + " read other bytes than were written at " + std::to_string(offset));
    }
    return seconds;
  }
  int Open(const std::string& path, int flags) {
    const int fd = mayfly_open(fs_, path.c_str(), flags, 0644);
    Need(fd >= 0, "open " + path);
    return fd;
  }
  void Close(int fd) { Need(mayfly_close(fd) == 0, "close"); }

  // Until the stonewall or `most`, then as far as the fastest rank came. How far that is.
  template <class Op>
  uint64_t UntilStonewall(uint64_t most, Op&& op) {
    const double until = MPI_Wtime() + o_.stonewall;
    uint64_t done = 0, all = 0;
    while (done < most && (done == 0 || MPI_Wtime() < until)) op(done++);
    MPI_Allreduce(&done, &all, 1, MPI_UINT64_T, MPI_MAX, MPI_COMM_WORLD);
    while (done < all) op(done++);
    return all;
  }

  // A phase: `body` counts what this rank did, and returns the seconds that count (negative: all of them).
  struct Count {
    uint64_t operations = 0, bytes = 0;
  };
  template <class Body>
  void Phase(const char* name, bool bandwidth, Body&& body) {
    MPI_Barrier(MPI_COMM_WORLD);
    Count count;
    const double begin = MPI_Wtime();
    double seconds = body(&count);
    if (seconds < 0) seconds = MPI_Wtime() - begin;
    bench::Phase phase;
    phase.name = name;
    phase.bandwidth = bandwidth;
    MPI_Allreduce(&seconds, &phase.seconds, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    MPI_Allreduce(&count.operations, &phase.operations, 1, MPI_UINT64_T, MPI_SUM, MPI_COMM_WORLD);
    MPI_Allreduce(&count.bytes, &phase.bytes, 1, MPI_UINT64_T, MPI_SUM, MPI_COMM_WORLD);
    phase.score = bandwidth ? static_cast<double>(phase.bytes) / phase.seconds / (1 << 30)
                            : static_cast<double>(phase.operations) / phase.seconds / 1000;
    if (rank_ == 0) std::cerr << fmt::format("{}: {:.6g} {}\n", phase.name, phase.score, bandwidth ? "GiB/s" : "kIOPS");
    run_.phases.push_back(phase);
  }

  std::string EasyFile(int rank) const { return o_.dir + "/ior-easy/file." + std::to_string(rank); }
  std::string TimestampFile() const { return o_.dir + "/timestampfile"; }
  std::string HardFile() const { return o_.dir + "/ior-hard/file"; }
  std::string EasyName(int rank, uint64_t i) const {
    return o_.dir + "/mdtest-easy/" + std::to_string(rank) + "/file." + std::to_string(i);
  }
  std::string HardName(int rank, uint64_t i) const {
    return o_.dir + "/mdtest-hard/file." + std::to_string(rank) + "." + std::to_string(i);
  }
  int Neighbour() const { return (rank_ + 1) % ranks_; }
  // Of the shared file: where a rank's i-th transfer goes.
  uint64_t HardOffset(int rank, uint64_t i) const {
    return (i * static_cast<uint64_t>(ranks_) + static_cast<uint64_t>(rank)) * kHardBytes;
  }
  static uint64_t Seed(int rank, uint64_t i) { return (static_cast<uint64_t>(rank) << 40) + i + 1; }

  void MakeTree();
  void Find();
  void Remove();
  void Report();

  const Options& o_;
  const int rank_, ranks_;
  mayfly_fs* fs_ = nullptr;
  std::vector<uint64_t> base_;
  std::vector<char> copy_;
  uint64_t easy_most_ = 0, hard_most_ = 0, easy_files_most_ = 0, hard_files_most_ = 0;
  uint64_t easy_ = 0, hard_ = 0, easy_files_ = 0, hard_files_ = 0;  // of each rank
  Run run_;
};

void Bench::Connect() {
  mayfly_options options;
  mayfly_options_init(&options);
  if (o_.no_checksum) options.checksum = 0;
  if (o_.chunk_bytes != 0) options.chunk_bytes = static_cast<uint32_t>(o_.chunk_bytes);
  Need(mayfly_connect(o_.session.empty() ? nullptr : o_.session.c_str(), &options, &fs_) == 0, "connect");
}

// What the session has room for: two fifths of it for easy files, a fifth for the hard one, the rest for small files.
void Bench::Caps() {
  struct statvfs room {};
  Need(mayfly_statvfs(fs_, &room) == 0, "statvfs");
  uint64_t each = room.f_bavail * room.f_frsize / static_cast<uint64_t>(ranks_);
  MPI_Allreduce(MPI_IN_PLACE, &each, 1, MPI_UINT64_T, MPI_MIN, MPI_COMM_WORLD);
  easy_most_ = each * 2 / 5 / kEasyBytes;
  hard_most_ = each / 5 / kHardBytes;
  easy_files_most_ = std::min<uint64_t>(o_.files_max, each / 10 / 512);
  hard_files_most_ = std::min<uint64_t>(o_.files_max, each / 10 / (2 * 4096));
  if (easy_most_ == 0 || hard_most_ == 0 || hard_files_most_ == 0) {
    EndTogether(std::to_string(each >> 20) +
                " MiB a rank are free: too little to measure anything; start the servers with more --memory");
  }
}

void Bench::MakeTree() {
  if (rank_ == 0) {
    for (const char* dir : {"", "/ior-easy", "/ior-hard", "/mdtest-easy", "/mdtest-hard"}) {
      Need(mayfly_mkdir(fs_, (o_.dir + dir).c_str(), 0755) == 0, "mkdir " + o_.dir + dir);
    }
    Close(Open(TimestampFile(), O_CREAT | O_EXCL | O_WRONLY));  // what the find compares with
  }
  MPI_Barrier(MPI_COMM_WORLD);
  Need(mayfly_mkdir(fs_, (o_.dir + "/mdtest-easy/" + std::to_string(rank_)).c_str(), 0755) == 0, "mkdir");
}

// As the IO500's find: newer than the timestamp file, of mdtest-hard's size, "01" in the name. Directories go round the
// ranks.
void Bench::Find() {
  std::vector<std::string> dirs = {"", "/ior-easy", "/ior-hard", "/mdtest-easy", "/mdtest-hard"};
  for (int r = 0; r < ranks_; ++r) dirs.push_back("/mdtest-easy/" + std::to_string(r));
  uint64_t matches = 0;
  Phase("find", false, [&](Count* count) {
    struct stat mark {};
    Need(mayfly_stat(fs_, TimestampFile().c_str(), &mark) == 0, "stat " + TimestampFile());
    for (size_t i = 0; i < dirs.size(); ++i) {
      if (i % static_cast<size_t>(ranks_) != static_cast<size_t>(rank_)) continue;
      mayfly_dir* dir = mayfly_opendir(fs_, (o_.dir + dirs[i]).c_str());
      Need(dir != nullptr, "opendir " + o_.dir + dirs[i]);
      mayfly_dirent entry;
      int more = 0;
      while ((more = mayfly_readdir(dir, &entry)) == 1) {
        if (strcmp(entry.name, ".") == 0 || strcmp(entry.name, "..") == 0) continue;
        ++count->operations;
        const timespec& changed = entry.attributes.st_mtim;
        const bool newer =
            std::pair(changed.tv_sec, changed.tv_nsec) > std::pair(mark.st_mtim.tv_sec, mark.st_mtim.tv_nsec);
        if (newer && entry.attributes.st_size == kFileBytes && strstr(entry.name, "01") != nullptr) ++matches;
      }
      Need(more == 0, "readdir");
      Need(mayfly_closedir(dir) == 0, "closedir");
    }
    return -1.0;
  });
  uint64_t all = 0, expected = 0;
  MPI_Allreduce(&matches, &all, 1, MPI_UINT64_T, MPI_SUM, MPI_COMM_WORLD);
  for (int r = 0; r < ranks_; ++r) {
    for (uint64_t i = 0; i < hard_files_; ++i)
      expected += HardName(r, i).find("01", o_.dir.size() + strlen("/mdtest-hard/")) != std::string::npos;
  }
  // Four folders, the timestamp, the shared file; of each rank a file and a folder.
  const uint64_t entries = 4 + 1 + 1 + static_cast<uint64_t>(ranks_) * (2 + easy_files_ + hard_files_);
  if (all != expected || run_.phases.back().operations != entries) {
    EndTogether("find saw " + std::to_string(run_.phases.back().operations) + " entries and " + std::to_string(all) +
                " matches instead of " + std::to_string(entries) + " and " + std::to_string(expected));
  }
}

void Bench::Remove() {
  MPI_Barrier(MPI_COMM_WORLD);
  if (o_.keep) return;
  Need(mayfly_unlink(fs_, EasyFile(rank_).c_str()) == 0, "unlink");
  Need(mayfly_rmdir(fs_, (o_.dir + "/mdtest-easy/" + std::to_string(rank_)).c_str()) == 0, "rmdir");
  MPI_Barrier(MPI_COMM_WORLD);
  if (rank_ != 0) return;
  Need(mayfly_unlink(fs_, HardFile().c_str()) == 0, "unlink");
  Need(mayfly_unlink(fs_, TimestampFile().c_str()) == 0, "unlink");
  for (const char* dir : {"/ior-easy", "/ior-hard", "/mdtest-easy", "/mdtest-hard", ""}) {
    Need(mayfly_rmdir(fs_, (o_.dir + dir).c_str()) == 0, "rmdir " + o_.dir + dir);
  }
}

void Bench::Report() {
  if (rank_ != 0) return;
  char* text = mayfly_report(fs_, "status");
  Need(text != nullptr, "status");
  const auto status = nlohmann::json::parse(text);
  free(text);
  run_.session = status.at("session");
  run_.members = static_cast<int>(status.at("members").size());
  run_.shards = static_cast<int>(status.at("shards").size());
  run_.transport = status.at("shards").at(0).at("status").at("transport");
  const auto& journal = status.at("shards").at(0).at("status").at("journal");
  run_.durability = journal.is_null() ? "none" : journal.at("durability").get<std::string>();
  run_.cache = run_.durability == "node" ? "server memory, behind it the disks of --dir" : "server memory";
  run_.version = mayfly_version();
  run_.ranks = ranks_;
  run_.checksum = !o_.no_checksum && status.at("shards").at(0).at("status").at("checksums").get<bool>();
  run_.stonewall_seconds = o_.stonewall;
  std::cout << Text(run_) << std::flush;
  for (const auto& [path, content] : {std::pair(o_.json, Json(run_)), std::pair(o_.svg, Svg(run_))}) {
    if (path.empty()) continue;
    std::ofstream file(path);
    file << content;
    file.close();
    if (!file) {
      End("cannot write " + path + ": " + strerror(errno));
    }
  }
}

int Bench::Go() {
  Connect();
  Caps();
  MakeTree();
  struct stat st {};
  Phase("ior-easy-write", true, [&](Count* count) {
    const int fd = Open(EasyFile(rank_), O_CREAT | O_EXCL | O_RDWR);
    easy_ = UntilStonewall(easy_most_, [&](uint64_t i) { Write(fd, kEasyBytes, Seed(rank_, i), i * kEasyBytes); });
    Need(mayfly_fsync(fd) == 0, "fsync");
    Close(fd);
    *count = {easy_, easy_ * kEasyBytes};
    return -1.0;
  });
  Phase("mdtest-easy-write", false, [&](Count* count) {
    easy_files_ = UntilStonewall(easy_files_most_,
                                 [&](uint64_t i) { Close(Open(EasyName(rank_, i), O_CREAT | O_EXCL | O_WRONLY)); });
    count->operations = easy_files_;
    return -1.0;
  });
  Phase("ior-hard-write", true, [&](Count* count) {
    const int fd = Open(HardFile(), O_CREAT | O_RDWR);
    hard_ =
        UntilStonewall(hard_most_, [&](uint64_t i) { Write(fd, kHardBytes, Seed(rank_, i), HardOffset(rank_, i)); });
    Need(mayfly_fsync(fd) == 0, "fsync");
    Close(fd);
    *count = {hard_, hard_ * kHardBytes};
    return -1.0;
  });
  Phase("mdtest-hard-write", false, [&](Count* count) {
    hard_files_ = UntilStonewall(hard_files_most_, [&](uint64_t i) {
      const int fd = Open(HardName(rank_, i), O_CREAT | O_EXCL | O_WRONLY);
      Write(fd, kFileBytes, Seed(rank_, i), 0);
      Close(fd);
    });
    *count = {hard_files_, hard_files_ * kFileBytes};
    return -1.0;
  });
  Find();
  Phase("ior-easy-read", true, [&](Count* count) {
    double seconds = 0;
    const int fd = Open(EasyFile(Neighbour()), O_RDONLY);
    for (uint64_t i = 0; i < easy_; ++i) seconds += Read(fd, kEasyBytes, Seed(Neighbour(), i), i * kEasyBytes);
    Close(fd);
    *count = {easy_, easy_ * kEasyBytes};
    return seconds;
  });
  Phase("mdtest-easy-stat", false, [&](Count* count) {
    for (uint64_t i = 0; i < easy_files_; ++i)
      Need(mayfly_stat(fs_, EasyName(Neighbour(), i).c_str(), &st) == 0 && st.st_size == 0, "stat");
    count->operations = easy_files_;
    return -1.0;
  });
  Phase("ior-hard-read", true, [&](Count* count) {
    double seconds = 0;
    const int fd = Open(HardFile(), O_RDONLY);
    for (uint64_t i = 0; i < hard_; ++i)
      seconds += Read(fd, kHardBytes, Seed(Neighbour(), i), HardOffset(Neighbour(), i));
    Close(fd);
    *count = {hard_, hard_ * kHardBytes};
    return seconds;
  });
  Phase("mdtest-hard-stat", false, [&](Count* count) {
    for (uint64_t i = 0; i < hard_files_; ++i)
      Need(mayfly_stat(fs_, HardName(Neighbour(), i).c_str(), &st) == 0 && st.st_size == kFileBytes, "stat");
    count->operations = hard_files_;
    return -1.0;
  });
  Phase("mdtest-easy-delete", false, [&](Count* count) {
    for (uint64_t i = 0; i < easy_files_; ++i)
      Need(mayfly_unlink(fs_, EasyName(Neighbour(), i).c_str()) == 0, "unlink");
    count->operations = easy_files_;
    return -1.0;
  });
  Phase("mdtest-hard-read", false, [&](Count* count) {
    double seconds = 0;
    for (uint64_t i = 0; i < hard_files_; ++i) {
      const double begin = MPI_Wtime();
      const int fd = Open(HardName(Neighbour(), i), O_RDONLY);
      const double opened = MPI_Wtime() - begin;
      const double read = Read(fd, kFileBytes, Seed(Neighbour(), i), 0);
      const double then = MPI_Wtime();
      Close(fd);
      seconds += opened + read + (MPI_Wtime() - then);
    }
    *count = {hard_files_, hard_files_ * kFileBytes};
    return seconds;
  });
  Phase("mdtest-hard-delete", false, [&](Count* count) {
    for (uint64_t i = 0; i < hard_files_; ++i)
      Need(mayfly_unlink(fs_, HardName(Neighbour(), i).c_str()) == 0, "unlink");
    count->operations = hard_files_;
    return -1.0;
  });
  Need(mayfly_stat(fs_, HardFile().c_str(), &st) == 0, "stat");
  run_.chunk_bytes = static_cast<uint64_t>(st.st_blksize);
  Remove();
  Report();
  Need(mayfly_disconnect(fs_) == 0, "disconnect");
  return 0;
}

int Main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0, ranks = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  Options o;
  CLI::App app("The IO500's phases on Mayfly, by any number of MPI ranks", "mayfly-bench");
  app.add_option("--session", o.session, "session file (default: MAYFLY_SESSION, the batch job's, the only live one)");
  app.add_option("--stonewall", o.stonewall, "seconds that each writing phase lasts at least, if there is room")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--dir", o.dir, "a folder that is made for it, and removed")->capture_default_str();
  app.add_option("--files-max", o.files_max, "files of a rank in each phase at most")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--chunk-bytes", o.chunk_bytes,
                 "chunk of the files: a power of two from 65536 to 67108864 (default: the session's)");
  app.add_flag("--no-checksum", o.no_checksum, "data is not checked end to end");
  app.add_flag("--keep", o.keep, "leave the tree as it is at the end");
  app.add_option("--json", o.json, "write the figures there");
  app.add_option("--svg", o.svg, "draw them there");
  int status = 0;
  try {
    app.parse(argc, argv);
    status = Bench(o, rank, ranks).Go();
  } catch (const CLI::ParseError& error) {
    status = rank == 0 ? app.exit(error) : error.get_exit_code();
  }
  MPI_Finalize();
  return status;
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) { return bench::Main(argc, argv); }
