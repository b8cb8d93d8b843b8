// A disk that crashes, lies and rots by a seed. What it holds (SimPlatter) outlives the server's handle (SimDisk), so a
// test kills the server, or cuts the power, and opens it again:
//
//   SimPlatter platter({.seed = seed});
//   auto disk = std::make_unique<SimDisk>(platter, clock);   // ... the server works ...
//   disk->Crash(/*power=*/true);                              // none of its completions runs any more
//   // ... the server's objects go ...
//   disk = std::make_unique<SimDisk>(platter, clock);         // ... and another looks at what is left
//
// Time passes on the given clock alone: what was asked for starts at a Poll and ends at a later one, once its latency
// is over; NextAt says when. What may happen is what os/disk.h allows (K3, K4, K5, K6), and all of it does for some
// seed:
//   process death  completed writes are there. One under way is there, not there, or there in some of its sectors.
//   power cut      besides, each write since the last good flush of its file fares likewise on its own, whatever the
//                  order; names go back to any state since the last SyncNames.
//   failed write   as one that was under way at a crash. Failed flush: what it was to cover is durable or never will
//   be.
// Everything is a function of the seed, the clock and the calls. One thread.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "fake/sim_random.h"
#include "os/block_buffer.h"
#include "os/clock.h"
#include "os/disk.h"

namespace mayfly {

// May be changed at any time; holds for what ends from then on.
struct SimDiskFaults {
  uint32_t read_errors = 0, write_errors = 0, flush_errors = 0;  // kIo, of a thousand requests; 1000: always
  uint32_t no_space = 0;                                         // likewise of the writes that need room: kNoSpace
  bool lose_flushes = false;               // flushes end well and do nothing: for tests that must notice
  Code slow_calls = Code::kOk;             // not kOk: Open, Remove, Rename, SyncNames and List give this
  Nanos latency_min = 0, latency_max = 0;  // for what starts from now on
};

class SimPlatter {
 public:
  static constexpr size_t kSectorBytes = 512;
  struct Options {
    uint64_t seed = 0;
    uint64_t bytes = uint64_t{1} << 30;  // its size: kNoSpace beyond
    bool in_memory = false;
    // Map gives what it is asked for. What was stored there is lost with the power, flushed or not.
    bool maps = false;
    // Whether facts() say writes_through; by the seed where nothing is said.
    std::optional<bool> writes_through;
  };
  explicit SimPlatter(Options options) : options_(options), random_(options.seed) {}
  SimPlatter(const SimPlatter&) = delete;
  SimPlatter& operator=(const SimPlatter&) = delete;

  SimDiskFaults faults;

  // With no live SimDisk on it (otherwise SimDisk::Crash).
  void CutPower();
  // Flips `bits` bits of a file, chosen in a range of it.
  void Rot(std::string_view name, uint64_t offset, uint64_t bytes, uint32_t bits);
  // Likewise in one of the blocks behind `from` that were written. False: none was.
  bool RotWritten(std::string_view name, uint64_t from, uint32_t bits);
  // Behind the server's back, durable at once.
  void Truncate(std::string_view name, uint64_t bytes);
  void Remove(std::string_view name);
  // What a read of all of it would give.
  std::vector<uint8_t> Contents(std::string_view name) const;
  uint64_t bytes_used() const;

 private:
  friend class SimDisk;
  static constexpr size_t kBlock = Disk::kBlockBytes;
  using Block = std::array<uint8_t, kBlock>;
  using BlockPtr = std::shared_ptr<const Block>;  // null: zeros
  struct Image {
    uint64_t bytes = 0;
    std::map<uint64_t, BlockPtr> blocks;  // by number; others are zeros
  };
  // A write or a discard that is not durable yet.
  struct Change {
    uint64_t sequence = 0;
    uint64_t first_block = 0;
    std::vector<BlockPtr> blocks;
    bool extends = false;
  };
  struct File {
    Image now, durable;
    std::set<uint64_t> holes;  // blocks below now.bytes that take no room
    std::deque<Change> unflushed;
    uint64_t next_sequence = 0;
    bool writer = false;                  // somebody has it open to write
    std::unique_ptr<BlockBuffer> mapped;  // what `now` has, and is newer
  };
  using FilePtr = std::shared_ptr<File>;
  using Names = std::map<std::string, FilePtr, std::less<>>;

  File& FileOf(std::string_view name) const;
  // Room for the blocks that a write of the range needs; false: there is none.
  bool Take(File& file, uint64_t offset, uint64_t bytes);
  // The change as a crash leaves it: false if nothing of it.
  bool Suffer(const Image& before, Change& change);
  static void Apply(Image& image, const Change& change);
  // Between a file that is mapped and its image.
  static void TakeMapped(File& file);
  static void GiveMapped(File& file);
  static BlockPtr BlockOf(const Image& image, uint64_t number);
  void NamesChanged() { names_since_.push_back(names_); }

  Options options_;
  SimRandom random_;
  Names names_;
  Names durable_names_;
  std::vector<Names> names_since_;  // after each change since the last SyncNames
};

class SimDisk final : public Disk {
 public:
  SimDisk(SimPlatter& platter, Clock& clock) : platter_(platter), clock_(clock) {}
  SimDisk(const SimDisk&) = delete;
  SimDisk& operator=(const SimDisk&) = delete;
  ~SimDisk() override { Crash(false); }

  // The end of the process, or of the node's power. The handle is dead then: every call fails or does nothing.
  void Crash(bool power);
  // When a Poll will have something to do: now, later, or kNever.
  Nanos NextAt() const;
  // Called before and after each request and each end of one, where a process may be killed inside a turn.
  void SetOnMoment(std::function<void()> fn) { on_moment_ = std::move(fn); }

  Facts facts() const override;
  Result<DiskFileId> Open(std::string_view name, OpenHow how) override;
  void Close(DiskFileId file) override;
  Result<uint64_t> BytesOf(DiskFileId file) override;
  Status Remove(std::string_view name) override;
  Status Rename(std::string_view from, std::string_view to) override;
  Status SyncNames() override;
  Result<std::vector<std::string>> List() override;
  void Read(DiskFileId file, uint64_t offset, MutableBytes to, Completion* done) override;
  void Write(DiskFileId file, uint64_t offset, Bytes from, Completion* done) override;
  void WriteThrough(DiskFileId file, uint64_t offset, Bytes from, Completion* done) override;
  void Flush(DiskFileId file, Completion* done) override;
  void Discard(DiskFileId file, uint64_t offset, uint64_t bytes, Completion* done) override;
  bool Poll() override;
  uint32_t pending() const override { return pending_; }
  // Holds the caller to os/disk.h: whole, and with nothing under way in it.
  void Register(MutableBytes region) override;
  void Unregister(MutableBytes region) override;
  bool IsRegistered(Bytes memory) const;
  MutableBytes Map(DiskFileId file) override;

 private:
  enum class Kind : uint8_t { kRead, kWrite, kWriteThrough, kFlush, kDiscard };
  struct Op {
    Kind kind = Kind::kRead;
    uint32_t index = 0;
    SimPlatter::FilePtr file;
    uint64_t offset = 0;
    uint64_t bytes = 0;
    uint8_t* data = nullptr;
    std::vector<uint8_t> early;  // a write: what it takes is taken when it starts; else when it ends
    Completion* done = nullptr;
    uint64_t covers = 0;  // a flush: changes below this sequence
    Nanos at = 0;
    uint64_t tie = 0;  // among those that end at the same time
  };
  struct Entry {
    SimPlatter::FilePtr file;
    bool writable = false;
    uint32_t under_way = 0;
  };
  Entry& EntryOf(DiskFileId file);
  void Begin(Kind kind, DiskFileId file, uint64_t offset, const uint8_t* data, uint64_t bytes, Completion* done);
  void StartAsked();
  void TakeReady();
  Status End(Op& op);
  Status EndRead(const Op& op);
  Status EndChange(const Op& op);
  Status EndThrough(const Op& op);
  Status EndFlush(const Op& op);
  SimPlatter::Change ChangeOf(const Op& op);
  void Record(SimPlatter::File& file, SimPlatter::Change change);
  void Interrupt(const Op& op);
  static bool Overlap(const Op& op, Bytes region);

  void Moment() {
    if (on_moment_) on_moment_();
  }

  SimPlatter& platter_;
  Clock& clock_;
  std::function<void()> on_moment_;
  bool dead_ = false;
  std::vector<Entry> entries_ = std::vector<Entry>(kFilesMax);
  std::vector<Op> asked_;  // since the last Poll
  std::vector<Op> flying_;
  std::deque<Op> ready_;  // inside a Poll: about to end
  uint32_t pending_ = 0;
  std::map<const uint8_t*, size_t> registered_;
  std::vector<Completion*> never_;  // what was under way at a crash: it is still referred to
};

}  // namespace mayfly
