// One client of the model test: does random operations in each cell, together with the others, and notes them.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <cstdio>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "differential_side.h"
#include "model_choice.h"

namespace model {

using differential::Side;
using differential::Target;

// In memory that all processes map.
struct Shared {
  std::atomic<uint32_t> arrived{0};           // at barriers, in all
  std::atomic<uint32_t> stop_at{UINT32_MAX};  // the first episode that does not take place
  std::atomic<uint32_t> failed{0};
  std::atomic<uint64_t> moves{0};
  std::atomic<uint64_t> operations{0};
};

struct Plan {
  uint64_t seed = 1;
  int workers = 6;
  int64_t until = 0;  // MonotonicNow
};

class Worker {
 public:
  Worker(Side& side, Shared& shared, const Plan& plan, int number, const std::string& log)
      : side_(side), shared_(shared), plan_(plan), number_(number), log_(std::fopen(log.c_str(), "wb")) {
    if (log_ == nullptr) throw std::runtime_error("cannot write " + log);
  }
  ~Worker() { std::fclose(log_); }

  void Run() {
    for (uint32_t cell = 0;; ++cell) {
      random_.seed(Mix(plan_.seed ^ Mix(cell) ^ static_cast<uint64_t>(number_)));
      cell_ = cell;
      next_op_ = static_cast<uint32_t>(number_) * 4096 + 1;
      if (number_ == 0) {
        if (MonotonicNow() >= plan_.until) shared_.stop_at = std::min(shared_.stop_at.load(), cell);
        Prepare();
      }
      Barrier(2 * cell + 1);
      if (cell >= shared_.stop_at || shared_.failed != 0) break;
      if (IsNamesCell(cell)) {
        NamesEpisode();
      } else {
        DataEpisode();
      }
      Barrier(2 * cell + 2);
      if (number_ == static_cast<int>(cell) % plan_.workers) Finish();
      if (std::fflush(log_) != 0) throw std::runtime_error("cannot write the log");
    }
    if (number_ == 0) Remove(CellPath(cell_));
  }

 private:
  uint64_t Below(uint64_t bound) { return model::Below(random_, bound); }
  bool Percent(uint64_t share) { return model::Percent(random_, share); }
  std::string PathOf(uint8_t path) const { return CellPath(cell_) + "/" + Paths()[path]; }
  std::string FilePath() const { return CellPath(cell_) + "/file"; }

  void Barrier(uint32_t number) {
    const uint32_t wanted = number * static_cast<uint32_t>(plan_.workers);
    shared_.arrived.fetch_add(1);
    const int64_t patience = MonotonicNow() + 90'000'000'000;
    while (shared_.arrived.load() < wanted) {
      const timespec pause = {0, 20'000};
      nanosleep(&pause, nullptr);
      if (shared_.failed != 0) throw std::runtime_error("another worker failed");
      if (MonotonicNow() > patience)
        throw std::runtime_error("the others did not come to cell " + std::to_string(cell_));
    }
  }

  // Calls and notes it.
  template <class Call>
  Record& Note(Do what, Call call) {
    Record& r = now_;
    r.cell = cell_;
    r.worker = static_cast<uint16_t>(number_);
    r.what = what;
    if (r.op == 0) r.op = next_op_++;
    if (Percent(30)) {  // or who is awake first would be done before the others
      const timespec pause = {0, static_cast<long>(Below(150'000))};
      nanosleep(&pause, nullptr);
    }
    r.start = MonotonicNow();
    r.result = call();
    r.end = MonotonicNow();
    shared_.operations.fetch_add(1);
    return r;
  }
  void Write(const Record& r) {
    if (std::fwrite(&r, sizeof r, 1, log_) != 1) throw std::runtime_error("cannot write the log");
  }
  void Must(int64_t result, const std::string& what) {
    if (result < 0) throw std::runtime_error(what + ": " + differential::ErrnoText(result));
  }

  // ---- before and after ----
  void Prepare() {
    Must(side_.Mkdir(CellPath(cell_), 0755), "mkdir " + CellPath(cell_));
    if (!IsNamesCell(cell_)) {
      const int64_t fd = side_.Open(FilePath(), O_CREAT | O_EXCL | O_WRONLY, 0644);
      Must(fd, "create " + FilePath());
      Must(side_.Close(static_cast<int>(fd)), "close");
      return;
    }
    for (const Choice& choice : AnyTree(random_)) Operation(choice);
  }
  // Everything once more, alone; then the cell goes.
  void Finish() {
    if (IsNamesCell(cell_)) {
      for (uint8_t path = 0; path < kPathCount; ++path) Stat(path);
    } else {
      const int64_t fd = side_.Open(FilePath(), O_RDONLY, 0);
      Must(fd, "open " + FilePath());
      DataStat(static_cast<int>(fd));
      ReadData(static_cast<int>(fd), 0, kFileBytes);
      Must(side_.Close(static_cast<int>(fd)), "close");
    }
    Remove(CellPath(cell_));
  }
  void Remove(const std::string& path) {
    std::vector<std::pair<std::string, bool>> inside;
    {
      int64_t error = 0;
      const auto stream = side_.OpenDir(path, &error);
      if (stream == nullptr) throw std::runtime_error("list " + path + ": " + differential::ErrnoText(error));
      differential::Listed entry;
      int64_t result = 0;
      while ((result = stream->Next(&entry)) == 1) {
        if (entry.name != "." && entry.name != "..") inside.emplace_back(entry.name, S_ISDIR(entry.attributes.st_mode));
      }
      Must(result, "list " + path);
    }
    for (const auto& [name, directory] : inside) {
      if (directory) {
        Remove(path + "/" + name);
      } else {
        Must(side_.Unlink(path + "/" + name), "unlink " + path + "/" + name);
      }
    }
    Must(side_.Rmdir(path), "rmdir " + path);
  }

  // ---- names ----
  void NamesEpisode() {
    for (int i = 0; i < 9; ++i) Operation(AnyNamesOperation(random_));
  }
  void Operation(const Choice& choice) {
    switch (choice.what) {
      case Do::kStat:
        return Stat(choice.path);
      case Do::kTruncate:
        return Truncate(choice.path);
      case Do::kCreate:
      case Do::kOpenCreate:
        return MakeFile(choice.what, choice.path);
      case Do::kOpen:
        return UseFile(choice.path);
      default:
        return Simple(choice.what, choice.path, choice.other);
    }
  }
  void Simple(Do what, uint8_t path, uint8_t other) {
    now_ = Record();
    now_.path = path;
    now_.other = other;
    const std::string from = PathOf(path), to = PathOf(other);
    Write(Note(what, [&]() -> int64_t {
      switch (what) {
        case Do::kMkdir:
          return side_.Mkdir(from, 0755);
        case Do::kRmdir:
          return side_.Rmdir(from);
        case Do::kUnlink:
          return side_.Unlink(from);
        case Do::kLink:
          return side_.Link(from, to);
        default:
          return side_.Rename(from, to, what == Do::kRename ? 0 : what == Do::kNoReplace ? 1 : 2);
      }
    }));
  }
  void Truncate(uint8_t path) {
    now_ = Record();
    now_.path = path;
    now_.bytes = static_cast<int64_t>(Below(2000));
    Write(Note(Do::kTruncate, [&] { return side_.Truncate({PathOf(path)}, now_.bytes); }));
  }
  void Stat(uint8_t path) {
    now_ = Record();
    now_.path = path;
    struct stat st = {};
    Record& r = Note(Do::kStat, [&] { return side_.Stat({PathOf(path)}, &st); });
    Show(&r, st);
    Write(r);
  }
  static void Show(Record* r, const struct stat& st) {
    if (r->result < 0) return;
    r->type = S_ISDIR(st.st_mode) ? 2 : 1;
    r->inode = st.st_ino;
    if (S_ISREG(st.st_mode)) {
      r->size = st.st_size;
      r->nlink = static_cast<uint32_t>(st.st_nlink);
    }
  }
  // The descriptor, or -1.
  int OpenNoted(Do what, uint8_t path, int flags) {
    now_ = Record();
    now_.path = path;
    Record& r = Note(what, [&] { return side_.Open(PathOf(path), flags, 0644); });
    const int fd = static_cast<int>(r.result);
    struct stat st = {};
    if (fd >= 0) {
      Must(side_.Stat({"", true, fd}, &st), "fstat");
      r.inode = st.st_ino;
      r.result = 0;
    }
    Write(r);
    return fd < 0 ? -1 : fd;
  }
  void MakeFile(Do what, uint8_t path) {
    const int fd = OpenNoted(what, path, O_RDWR | O_CREAT | (what == Do::kCreate ? O_EXCL : 0));
    if (fd >= 0) Must(side_.Close(fd), "close");
  }
  void UseFile(uint8_t path) {
    const bool append = Percent(40);
    const int fd = OpenNoted(Do::kOpen, path, O_RDWR | (append ? O_APPEND : 0));
    if (fd < 0) return;
    const uint64_t inode = now_.inode;
    for (int i = 0; i < 3; ++i) {
      const uint64_t kind = Below(4);
      const std::string data(1 + Below(900), 'x');
      now_ = Record();
      now_.inode = inode;
      now_.bytes = static_cast<int64_t>(data.size());
      if (kind == 0) {
        Write(Note(Do::kFdTruncate, [&] { return side_.Truncate({"", true, fd}, now_.bytes); }));
      } else if (kind == 1) {
        struct stat st = {};
        Record& r = Note(Do::kFdStat, [&] { return side_.Stat({"", true, fd}, &st); });
        Show(&r, st);
        Write(r);
      } else if (append) {
        Record& r = Note(Do::kAppend, [&] { return side_.Write(fd, data.data(), data.size()); });
        r.size = side_.Seek(fd, 0, SEEK_CUR);
        Write(r);
      } else {
        now_.offset = static_cast<int64_t>(Below(2000));
        Write(Note(Do::kWrite, [&] { return side_.Pwrite(fd, data.data(), data.size(), now_.offset, 1); }));
      }
    }
    Must(side_.Close(fd), "close");
  }

  // ---- data ----
  void DataEpisode() {
    const bool truncates = IsTruncatedCell(cell_);
    int fd = -1;
    for (int i = 0; i < 10; ++i) {
      if (fd < 0) {
        fd = static_cast<int>(side_.Open(FilePath(), O_RDWR, 0));
        Must(fd, "open " + FilePath());
      }
      const uint64_t kind = Below(100);
      if (kind < 35) {
        WriteData(fd, truncates ? 256 : 3 * kChunkBytes / kBlock);
      } else if (kind < 45) {
        AppendData(truncates ? 32 : 600);
      } else if (kind < 70) {
        const int64_t offset = static_cast<int64_t>(Below(kFileBytes / kBlock)) * kBlock;
        ReadData(fd, Percent(50) ? 0 : offset, static_cast<int64_t>(1 + Below(4096)) * kBlock);
      } else if (kind < 90 || !truncates) {
        DataStat(Percent(50) ? fd : -1);
      } else {
        now_ = Record();
        now_.bytes = static_cast<int64_t>(Below(kFileBytes / kBlock / 2)) * kBlock;
        Write(Note(Do::kDataTruncate, [&] {
          return Percent(50) ? side_.Truncate({"", true, fd}, now_.bytes) : side_.Truncate({FilePath()}, now_.bytes);
        }));
      }
      if (Percent(15)) {
        Must(side_.Close(fd), "close");
        fd = -1;
      }
    }
    if (fd >= 0) Must(side_.Close(fd), "close");
  }
  std::string Blocks(uint32_t op, int64_t count) const {
    std::string data(static_cast<size_t>(count * kBlock), '\0');
    for (int64_t i = 0; i < count; ++i) {
      const Block block = MakeBlock(cell_, op, static_cast<uint32_t>(i));
      std::memcpy(data.data() + i * kBlock, &block, sizeof block);
    }
    return data;
  }
  void WriteData(int fd, uint64_t blocks_max) {
    now_ = Record();
    now_.op = next_op_++;
    const int64_t blocks = static_cast<int64_t>(1 + Below(Percent(50) ? 64 : blocks_max));
    const int64_t space = kFileBytes / kBlock - blocks;
    const std::string data = Blocks(now_.op, blocks);
    now_.bytes = blocks * kBlock;
    now_.offset = static_cast<int64_t>(Below(static_cast<uint64_t>(Percent(50) ? space : space / 4))) * kBlock;
    Write(Note(Do::kDataWrite, [&] { return side_.Pwrite(fd, data.data(), data.size(), now_.offset, 1); }));
  }
  void AppendData(uint64_t blocks_max) {
    now_ = Record();
    now_.op = next_op_++;
    const std::string data = Blocks(now_.op, static_cast<int64_t>(1 + Below(blocks_max)));
    now_.bytes = static_cast<int64_t>(data.size());
    const int64_t fd = side_.Open(FilePath(), O_WRONLY | O_APPEND, 0);
    Must(fd, "open " + FilePath());
    const int at = static_cast<int>(fd);
    Record& r = Note(Do::kDataAppend, [&] { return side_.Write(at, data.data(), data.size()); });
    r.size = side_.Seek(at, 0, SEEK_CUR);
    Write(r);
    Must(side_.Close(at), "close");
  }
  void DataStat(int fd) {
    now_ = Record();
    struct stat st = {};
    Record& r = Note(Do::kDataStat, [&] { return side_.Stat({FilePath(), true, fd}, &st); });
    r.size = st.st_size;
    Write(r);
  }
  void ReadData(int fd, int64_t offset, int64_t bytes) {
    now_ = Record();
    now_.offset = offset;
    now_.bytes = bytes;
    std::string data(static_cast<size_t>(bytes), '\xee');
    const Record read = Note(Do::kDataRead, [&] { return side_.Pread(fd, data.data(), data.size(), offset, 1); });
    Write(read);
    Record run = read;
    run.what = Do::kRun;
    run.bytes = 0;
    for (int64_t at = 0; at < read.result; at += kBlock) {
      std::pair<uint32_t, uint32_t> block = {kDamaged, 0};
      if (at + kBlock <= read.result) block = ReadBlock(cell_, data.data() + at);
      const bool next_of_run =
          run.bytes > 0 && block.first == run.op && (run.op == 0 || block.second == run.ordinal + run.bytes / kBlock);
      if (!next_of_run) {
        if (run.bytes > 0) Write(run);
        run.offset = offset + at;
        run.bytes = 0;
        run.op = block.first;
        run.ordinal = block.second;
      }
      run.bytes += kBlock;
    }
    if (run.bytes > 0) Write(run);
  }

  Side& side_;
  Shared& shared_;
  const Plan plan_;
  const int number_;
  std::FILE* log_;
  std::mt19937_64 random_;
  uint32_t cell_ = 0;
  uint32_t next_op_ = 1;
  Record now_;
};

// Renames a directory that nobody uses to and fro, so that everybody's walks have to begin anew; but not again before
// the others got on, or on a busy machine nobody would ever come to the end of a path.
inline void MoveAlways(Side& side, Shared& shared, const std::atomic<bool>& stop) {
  const std::string here = "/mover_a", there = "/mover_b";
  int64_t result = side.Mkdir(here, 0755);
  for (uint64_t moves = 0; result == 0 && !stop && shared.failed == 0; ++moves) {
    result = side.Rename(moves % 2 == 0 ? here : there, moves % 2 == 0 ? there : here, 0);
    shared.moves = moves + 1;
    const uint64_t operations = shared.operations;
    do {
      const timespec pause = {0, 2'000'000};
      nanosleep(&pause, nullptr);
    } while (shared.operations == operations && !stop && shared.failed == 0);
  }
  if (result == 0) result = side.Rmdir(shared.moves % 2 == 0 ? here : there);
  if (result != 0) {
    std::fprintf(stderr, "the mover: %s\n", differential::ErrnoText(result).c_str());
    shared.failed = 1;
  }
}

}  // namespace model
