// What this process has written down for shards of its node and told them nothing of yet (wire/outbox.h), and what is
// on its way. Any thread.
// Invariants  X1  a bundle is open, then under way in the hands of one lane, then over. A shard has one open one.
//             X2  what was added to a bundle is in shared memory before Add returns: it will be done even if this
//                 process is killed then.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/spin_lock.h"
#include "client/open_file.h"
#include "wire/outbox.h"

namespace mayfly {

class Outbox {
 public:
  static constexpr Nanos kAgeMax = kSecond / 2;  // then the helper tells of what was written down
  static constexpr size_t kNamesFull = 16;       // born or removed in one bundle, which is sent before the next

  struct Name {
    uint16_t record;  // the number of its record
    InodeId dir;
    uint64_t hash;  // OwnParts
    std::string_view text;
  };
  struct Birth {
    Name name;
    FileRef file;
    bool closed = false;
  };
  struct Content {
    uint16_t record;
    FileRef file;
    Lent lent;
    uint64_t start = 0;  // of the file's buffer
    size_t size = 0;
    uint64_t next = 0;  // the loan that was wished for
  };
  struct Bundle {
    ShardId shard;
    uint64_t loan = 0, serial = 0;
    uint32_t slot = 0, bytes = 0;
    uint16_t records = 0;
    OutboxSlot* memory = nullptr;
    InodeId more;  // BundleRequest
    Nanos since = 0;
    std::vector<Birth> births;
    std::vector<Content> contents;
    std::vector<Name> removals;
    std::atomic<bool> over{false};

    std::string_view NameOf(size_t end, std::string_view name) const {
      return {reinterpret_cast<const char*>(memory->records) + end - name.size(), name.size()};
    }
  };
  using BundleRef = std::shared_ptr<Bundle>;

  explicit Outbox(uint32_t shard_count) : boxes_(shard_count) {}

  bool IsReady(ShardId shard) const { return boxes_[shard.value].state.load(std::memory_order_acquire) == kReady; }
  // True once for a shard, and again a while after Refuse: the caller asks it for a place and calls Give or Refuse.
  bool BeginAsking(ShardId shard, Nanos now) {
    Box& box = boxes_[shard.value];
    uint8_t none = kNone;
    return now >= box.ask_again.load(std::memory_order_relaxed) && box.state.compare_exchange_strong(none, kAsking);
  }
  void Give(const Lent& lent) {
    std::lock_guard lock(mutex_);
    Box& box = boxes_[lent.shard.value];
    box.loan = lent.loan.id;
    box.memory = lent.memory;
    box.state.store(kReady, std::memory_order_release);
  }
  void Refuse(ShardId shard, Nanos now) {
    boxes_[shard.value].ask_again = now + kAskEvery;
    boxes_[shard.value].state = kNone;
  }
  // Those in which nothing is: there is none any more, and the loans are to be given back.
  std::vector<std::pair<ShardId, uint64_t>> TakeIdle() {
    std::vector<std::pair<ShardId, uint64_t>> idle;
    std::lock_guard lock(mutex_);
    for (size_t i = 0; i < boxes_.size(); ++i) {
      Box& box = boxes_[i];
      if (box.state != kReady || box.used != 0) continue;
      box.state = kNone;
      idle.emplace_back(ShardId(static_cast<uint32_t>(i)), box.loan);
    }
    return idle;
  }

  enum class Added : uint8_t {
    kYes,
    kBegun,  // and with it a bundle was
    kFull,   // not: the open bundle is to be sent first
    kWait,   // not: all that there can be are under way
    kGone    // not: there is no outbox any more
  };
  static bool Is(Added added) { return added == Added::kYes || added == Added::kBegun; }

  // `more`: of BundleRequest, or none.
  Added AddBirth(const BirthRecord& record, const FileRef& file, uint64_t hash, bool more, Nanos now) {
    std::lock_guard lock(mutex_);
    Box& box = boxes_[record.inode.home().value];
    Added added = Added::kYes;
    const size_t at = Reserve(&box, record.inode.home(), true, now, &added);
    if (at == kNoRoom) return added;
    Bundle& bundle = *box.open;
    file->written_down = bundle.serial;
    file->record_at = static_cast<uint32_t>(at);
    const uint16_t number = bundle.records;
    const size_t end = Write(&bundle, record);
    bundle.births.push_back({{number, record.parent, hash, bundle.NameOf(end, record.name)}, file, false});
    if (more) bundle.more = record.parent;
    Add(&made_, 1);
    return added;
  }
  // The file was closed. False: it is too late to say so there.
  bool Close(const OpenFile& file) {
    std::lock_guard lock(mutex_);
    return CloseBirth(file);
  }
  // As it would be sent, but for `closes`, which is decided here.
  Added AddContent(ContentRecord* record, Content content, Nanos now) {
    std::lock_guard lock(mutex_);
    const ShardId home = record->commit.inode.home();
    Box& box = boxes_[home.value];
    Added added = Added::kYes;
    if (Reserve(&box, home, false, now, &added) == kNoRoom) return added;
    record->commit.closes = !CloseBirth(*content.file);
    content.record = box.open->records;
    Write(box.open.get(), *record);
    box.open->contents.push_back(std::move(content));
    return added;
  }
  Added AddRemoval(ShardId shard, const RemovalRecord& record, uint64_t hash, Nanos now) {
    std::lock_guard lock(mutex_);
    Box& box = boxes_[shard.value];
    Added added = Added::kYes;
    if (Reserve(&box, shard, true, now, &added) == kNoRoom) return added;
    const uint16_t number = box.open->records;
    const size_t end = Write(box.open.get(), record);
    box.open->removals.push_back({number, record.parent, hash, box.open->NameOf(end, record.name)});
    Add(&removals_, 1);
    Add(&removed_, 1);
    return added;
  }

  // Open ones, of one shard or all, that were begun at `before` or earlier: under way from now on. End must follow.
  std::vector<BundleRef> Take(std::optional<ShardId> of, Nanos before = kNever) {
    std::vector<BundleRef> taken;
    if (open_.load(std::memory_order_acquire) == 0) return taken;
    std::lock_guard lock(mutex_);
    for (Box& box : of ? std::span(&boxes_[of->value], 1) : std::span(boxes_)) {
      if (box.open == nullptr || box.open->since > before) continue;
      box.under_way.push_back(box.open);
      taken.push_back(std::move(box.open));
      --open_;
    }
    return taken;
  }
  // `answered`: else the shard shall not do it any more, should it not have.
  void End(const BundleRef& bundle, bool answered) {
    std::lock_guard lock(mutex_);
    Box& box = boxes_[bundle->shard.value];
    if (!answered) bundle->memory->bytes.store(0, std::memory_order_release);
    std::erase(box.under_way, bundle);
    Add(&removals_, -static_cast<int64_t>(bundle->removals.size()));
    box.used &= ~(1u << bundle->slot);
    bundle->over.store(true, std::memory_order_release);
  }
  // Whether something is to be removed that still is there.
  bool HasRemovals() const { return removals_.load(std::memory_order_relaxed) != 0; }
  // Files that were made and removed so, ever.
  uint64_t made() const { return made_.load(std::memory_order_relaxed); }
  uint64_t removed() const { return removed_.load(std::memory_order_relaxed); }
  std::vector<BundleRef> UnderWay() {
    std::vector<BundleRef> all;
    std::lock_guard lock(mutex_);
    for (const Box& box : boxes_) all.insert(all.end(), box.under_way.begin(), box.under_way.end());
    return all;
  }

  SpinLock& fork_mutex() { return mutex_; }
  // In a forked child: it is all the parent's.
  void Forget() {
    for (Box& box : boxes_) {
      box.state = kNone;
      box.open.reset();
      box.under_way.clear();
      box.used = 0;
      box.last_serial = 0;
    }
    open_ = removals_ = 0;
  }

 private:
  enum : uint8_t { kNone, kAsking, kReady };
  static constexpr size_t kRecordBytesMax = 160 + kNameBytesMax;
  static constexpr Nanos kAskEvery = 100 * kMillisecond;
  struct Box {
    std::atomic<uint8_t> state{kNone};
    std::atomic<Nanos> ask_again{0};
    uint64_t loan = 0;
    MutableBytes memory;
    uint64_t last_serial = 0;
    uint32_t used = 0;  // a set bit is a slot
    BundleRef open;
    std::vector<BundleRef> under_way;
  };

  // Where the next record goes; kNoRoom and *added if it does not. `names`: it is of a name, of which a bundle has so
  // many; what comes to a file belongs with its birth.
  static constexpr size_t kNoRoom = ~size_t{0};
  size_t Reserve(Box* box, ShardId shard, bool names, Nanos now, Added* added);
  template <class Record>
  static size_t Write(Bundle* bundle, const Record& record);
  bool CloseBirth(const OpenFile& file);

  // Under the lock, which spares a locked instruction.
  static void Add(std::atomic<uint64_t>* to, int64_t n) {
    to->store(to->load(std::memory_order_relaxed) + static_cast<uint64_t>(n), std::memory_order_relaxed);
  }

  SpinLock mutex_;
  std::vector<Box> boxes_;
  std::atomic<uint32_t> open_{0};
  std::atomic<uint64_t> removals_{0}, made_{0}, removed_{0};
};

}  // namespace mayfly
