#include "fake/sim_disk.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "os/plain_name.h"

namespace mayfly {

namespace {

uint64_t BlocksOf(uint64_t bytes) { return (bytes + Disk::kBlockBytes - 1) / Disk::kBlockBytes; }

}  // namespace

// --- the platter ----------------------------------------------------------------------------------------------------

SimPlatter::File& SimPlatter::FileOf(std::string_view name) const {
  auto found = names_.find(name);
  MAYFLY_CHECK(found != names_.end());
  return *found->second;
}

SimPlatter::BlockPtr SimPlatter::BlockOf(const Image& image, uint64_t number) {
  auto found = image.blocks.find(number);
  return found == image.blocks.end() ? nullptr : found->second;
}

void SimPlatter::Apply(Image& image, const Change& change) {
  for (size_t i = 0; i < change.blocks.size(); ++i) {
    if (change.blocks[i] == nullptr) {
      image.blocks.erase(change.first_block + i);
    } else {
      image.blocks[change.first_block + i] = change.blocks[i];
    }
  }
  const uint64_t end = (change.first_block + change.blocks.size()) * kBlock;
  if (change.extends && end > image.bytes) image.bytes = end;
}

void SimPlatter::TakeMapped(File& file) {
  if (file.mapped == nullptr) return;
  static constexpr Block kZeros{};
  for (uint64_t number = 0; number < file.mapped->size() / kBlock; ++number) {
    const uint8_t* const bytes = file.mapped->data() + number * kBlock;
    const BlockPtr old = BlockOf(file.now, number);
    if (std::memcmp(bytes, old == nullptr ? kZeros.data() : old->data(), kBlock) == 0) continue;
    auto block = std::make_shared<Block>();
    std::memcpy(block->data(), bytes, kBlock);
    file.now.blocks[number] = std::move(block);
  }
}

void SimPlatter::GiveMapped(File& file) {
  if (file.mapped == nullptr) return;
  MAYFLY_CHECK(BlocksOf(file.now.bytes) * kBlock == file.mapped->size());
  std::memset(file.mapped->data(), 0, file.mapped->size());
  for (const auto& [number, block] : file.now.blocks) {
    std::memcpy(file.mapped->data() + number * kBlock, block->data(), kBlock);
  }
}

bool SimPlatter::Suffer(const Image& before, Change& change) {
  const uint64_t fate = random_.Below(3);
  if (fate == 0) return false;
  if (fate == 1) return true;
  for (size_t i = 0; i < change.blocks.size(); ++i) {
    const BlockPtr old = BlockOf(before, change.first_block + i);
    auto torn = std::make_shared<Block>();
    for (size_t at = 0; at < kBlock; at += kSectorBytes) {
      const BlockPtr& from = random_.Below(2) == 0 ? old : change.blocks[i];
      if (from != nullptr) std::memcpy(torn->data() + at, from->data() + at, kSectorBytes);
    }
    change.blocks[i] = std::move(torn);
  }
  return true;
}

void SimPlatter::CutPower() {
  if (options_.in_memory) {
    names_.clear();
    durable_names_.clear();
    names_since_.clear();
  }
  std::vector<const Names*> reachable{&durable_names_};
  for (const Names& names : names_since_) reachable.push_back(&names);
  for (const Names* names : reachable) {
    for (const auto& [name, file] : *names) {
      for (Change& change : file->unflushed) {
        if (Suffer(file->durable, change)) Apply(file->durable, change);
      }
      file->unflushed.clear();
      file->mapped.reset();
      file->now = file->durable;
      const uint64_t blocks = BlocksOf(file->now.bytes);
      file->holes.erase(file->holes.lower_bound(blocks), file->holes.end());
      for (const auto& [number, block] : file->now.blocks) file->holes.erase(number);
    }
  }
  const uint64_t state = random_.Below(names_since_.size() + 1);
  if (state > 0) durable_names_ = names_since_[state - 1];
  names_since_.clear();
  names_ = durable_names_;
}

void SimPlatter::Rot(std::string_view name, uint64_t offset, uint64_t bytes, uint32_t bits) {
  File& file = FileOf(name);
  MAYFLY_CHECK(bytes != 0 && offset + bytes <= file.now.bytes);
  TakeMapped(file);
  for (uint32_t i = 0; i < bits; ++i) {
    const uint64_t at = offset + random_.Below(bytes);
    const auto mask = static_cast<uint8_t>(1u << random_.Below(8));
    for (Image* image : {&file.now, &file.durable}) {
      if (at >= image->bytes) continue;
      const BlockPtr old = BlockOf(*image, at / kBlock);
      auto rotten = old == nullptr ? std::make_shared<Block>() : std::make_shared<Block>(*old);
      (*rotten)[at % kBlock] ^= mask;
      image->blocks[at / kBlock] = std::move(rotten);
    }
  }
  GiveMapped(file);
}

bool SimPlatter::RotWritten(std::string_view name, uint64_t from, uint32_t bits) {
  const auto found = names_.find(name);
  if (found == names_.end()) return false;
  TakeMapped(*found->second);
  const auto& blocks = found->second->now.blocks;
  auto block = blocks.lower_bound(BlocksOf(from));
  const auto count = std::distance(block, blocks.end());
  if (count == 0) return false;
  std::advance(block, static_cast<ptrdiff_t>(random_.Below(static_cast<uint64_t>(count))));
  const uint64_t offset = block->first * kBlock;
  Rot(name, offset, std::min<uint64_t>(kBlock, found->second->now.bytes - offset), bits);
  return true;
}

void SimPlatter::Truncate(std::string_view name, uint64_t bytes) {
  File& file = FileOf(name);
  TakeMapped(file);
  file.mapped.reset();
  for (Image* image : {&file.now, &file.durable}) {
    image->bytes = std::min(image->bytes, bytes);
    image->blocks.erase(image->blocks.lower_bound(BlocksOf(bytes)), image->blocks.end());
    if (auto last = image->blocks.find(bytes / kBlock); last != image->blocks.end() && bytes % kBlock != 0) {
      auto cut = std::make_shared<Block>(*last->second);
      std::fill(cut->begin() + static_cast<ptrdiff_t>(bytes % kBlock), cut->end(), uint8_t{0});
      last->second = std::move(cut);
    }
  }
  file.holes.erase(file.holes.lower_bound(BlocksOf(bytes)), file.holes.end());
  std::erase_if(file.unflushed,
                [&](const Change& change) { return (change.first_block + change.blocks.size()) * kBlock > bytes; });
}

void SimPlatter::Remove(std::string_view name) {
  for (Names* names : {&names_, &durable_names_}) {
    if (auto found = names->find(name); found != names->end()) names->erase(found);
  }
  for (Names& names : names_since_) {
    if (auto found = names.find(name); found != names.end()) names.erase(found);
  }
}

std::vector<uint8_t> SimPlatter::Contents(std::string_view name) const {
  File& file = FileOf(name);
  TakeMapped(file);
  std::vector<uint8_t> bytes(BlocksOf(file.now.bytes) * kBlock);
  for (const auto& [number, block] : file.now.blocks) {
    std::memcpy(bytes.data() + number * kBlock, block->data(), kBlock);
  }
  bytes.resize(file.now.bytes);
  return bytes;
}

uint64_t SimPlatter::bytes_used() const {
  uint64_t blocks = 0;
  for (const auto& [name, file] : names_) blocks += BlocksOf(file->now.bytes) - file->holes.size();
  return blocks * kBlock;
}

bool SimPlatter::Take(File& file, uint64_t offset, uint64_t bytes) {
  const uint64_t size = BlocksOf(file.now.bytes), first = offset / kBlock, end = BlocksOf(offset + bytes);
  uint64_t wanted = end > size ? end - std::max(size, first) : 0;
  const auto from = file.holes.lower_bound(first), to = file.holes.lower_bound(end);
  wanted += static_cast<uint64_t>(std::distance(from, to));
  if (wanted == 0) return true;
  if (random_.PerMille(faults.no_space) || wanted * kBlock > options_.bytes - std::min(options_.bytes, bytes_used())) {
    return false;
  }
  file.holes.erase(from, to);
  for (uint64_t number = size; number < first; ++number) file.holes.insert(number);
  file.now.bytes = std::max(file.now.bytes, offset + bytes);
  return true;
}

// --- the handle -----------------------------------------------------------------------------------------------------

Disk::Facts SimDisk::facts() const {
  const uint64_t used = platter_.bytes_used(), total = platter_.options_.bytes;
  return {.directory = "(simulated)",
          .how = "simulated",
          .direct = true,
          .in_memory = platter_.options_.in_memory,
          .writes_through = platter_.options_.writes_through.value_or(platter_.options_.seed % 2 == 0),
          .bytes_total = total,
          .bytes_free = total - std::min(used, total)};
}

SimDisk::Entry& SimDisk::EntryOf(DiskFileId file) {
  MAYFLY_CHECK(file.value != 0 && file.value <= entries_.size());
  Entry& entry = entries_[file.value - 1];
  MAYFLY_CHECK(entry.file != nullptr);
  return entry;
}

Result<DiskFileId> SimDisk::Open(std::string_view name, OpenHow how) {
  if (dead_) return Code::kIo;
  if (!IsPlainName(name)) return Code::kInvalid;
  if (platter_.faults.slow_calls != Code::kOk) return platter_.faults.slow_calls;
  if (how.create && how.read_only) return Code::kReadOnly;
  auto free = std::find_if(entries_.begin(), entries_.end(), [](const Entry& entry) { return entry.file == nullptr; });
  if (free == entries_.end()) return Code::kTooManyFiles;
  auto found = platter_.names_.find(name);
  if (how.create && found != platter_.names_.end()) return Code::kExists;
  if (!how.create && found == platter_.names_.end()) return Code::kNoEntry;
  SimPlatter::FilePtr file;
  if (how.create) {
    file = std::make_shared<SimPlatter::File>();
    if (!platter_.Take(*file, 0, how.bytes)) return Code::kNoSpace;
    file->now.bytes = file->durable.bytes = how.bytes;
    platter_.names_.emplace(name, file);
    platter_.NamesChanged();
  } else {
    file = found->second;
    if (!how.read_only && file->writer) return Code::kBusy;
  }
  if (!how.read_only) file->writer = true;
  *free = {std::move(file), !how.read_only, 0};
  return DiskFileId(static_cast<uint32_t>(free - entries_.begin()) + 1);
}

void SimDisk::Close(DiskFileId file) {
  if (dead_) return;
  Entry& entry = EntryOf(file);
  MAYFLY_CHECK(entry.under_way == 0);
  if (entry.writable) entry.file->writer = false;
  entry = {};
}

Result<uint64_t> SimDisk::BytesOf(DiskFileId file) {
  if (dead_) return Code::kIo;
  return EntryOf(file).file->now.bytes;
}

Status SimDisk::Remove(std::string_view name) {
  if (dead_) return Code::kIo;
  if (!IsPlainName(name)) return Code::kInvalid;
  if (platter_.faults.slow_calls != Code::kOk) return platter_.faults.slow_calls;
  auto found = platter_.names_.find(name);
  if (found == platter_.names_.end()) return Code::kNoEntry;
  platter_.names_.erase(found);
  platter_.NamesChanged();
  return {};
}

Status SimDisk::Rename(std::string_view from, std::string_view to) {
  if (dead_) return Code::kIo;
  if (!IsPlainName(from) || !IsPlainName(to)) return Code::kInvalid;
  if (platter_.faults.slow_calls != Code::kOk) return platter_.faults.slow_calls;
  auto found = platter_.names_.find(from);
  if (found == platter_.names_.end()) return Code::kNoEntry;
  if (from == to) return {};
  SimPlatter::FilePtr file = std::move(found->second);
  platter_.names_.erase(found);
  platter_.names_.insert_or_assign(std::string(to), std::move(file));
  platter_.NamesChanged();
  return {};
}

Status SimDisk::SyncNames() {
  if (dead_) return Code::kIo;
  if (platter_.faults.slow_calls != Code::kOk) return platter_.faults.slow_calls;
  if (platter_.faults.lose_flushes) return {};
  platter_.durable_names_ = platter_.names_;
  platter_.names_since_.clear();
  return {};
}

Result<std::vector<std::string>> SimDisk::List() {
  if (dead_) return Code::kIo;
  if (platter_.faults.slow_calls != Code::kOk) return platter_.faults.slow_calls;
  std::vector<std::string> names;
  for (const auto& [name, file] : platter_.names_) names.push_back(name);
  return names;
}

void SimDisk::Begin(Kind kind, DiskFileId file, uint64_t offset, const uint8_t* data, uint64_t bytes,
                    Completion* done) {
  if (dead_) return;
  Entry& entry = EntryOf(file);
  MAYFLY_CHECK(kind == Kind::kRead || entry.writable);
  MAYFLY_CHECK(kind == Kind::kFlush || bytes != 0);
  MAYFLY_CHECK((offset | bytes | reinterpret_cast<uintptr_t>(data)) % kBlockBytes == 0);
  MAYFLY_CHECK(pending_ < kPendingMax);
  Moment();
  ++pending_;
  ++entry.under_way;
  Op op;
  op.kind = kind;
  op.index = file.value - 1;
  op.file = entry.file;
  op.offset = offset;
  op.bytes = bytes;
  op.data = const_cast<uint8_t*>(data);  // a write's is only read
  op.done = done;
  op.covers = entry.file->next_sequence;
  asked_.push_back(std::move(op));
  Moment();
}

void SimDisk::Read(DiskFileId file, uint64_t offset, MutableBytes to, Completion* done) {
  Begin(Kind::kRead, file, offset, to.data(), to.size(), done);
}

void SimDisk::Write(DiskFileId file, uint64_t offset, Bytes from, Completion* done) {
  Begin(Kind::kWrite, file, offset, from.data(), from.size(), done);
}

void SimDisk::WriteThrough(DiskFileId file, uint64_t offset, Bytes from, Completion* done) {
  MAYFLY_CHECK(dead_ || facts().writes_through);
  Begin(Kind::kWriteThrough, file, offset, from.data(), from.size(), done);
}

void SimDisk::Flush(DiskFileId file, Completion* done) { Begin(Kind::kFlush, file, 0, nullptr, 0, done); }

void SimDisk::Discard(DiskFileId file, uint64_t offset, uint64_t bytes, Completion* done) {
  Begin(Kind::kDiscard, file, offset, nullptr, bytes, done);
}

void SimDisk::Register(MutableBytes region) {
  if (dead_) return;
  MAYFLY_CHECK((region.size() | reinterpret_cast<uintptr_t>(region.data())) % kBlockBytes == 0);
  MAYFLY_CHECK(registered_.emplace(region.data(), region.size()).second);
}

void SimDisk::Unregister(MutableBytes region) {
  if (dead_) return;
  const auto found = registered_.find(region.data());
  MAYFLY_CHECK(found != registered_.end() && found->second == region.size());
  for (const Op& op : asked_) MAYFLY_CHECK(!Overlap(op, region));
  for (const Op& op : flying_) MAYFLY_CHECK(!Overlap(op, region));
  for (const Op& op : ready_) MAYFLY_CHECK(!Overlap(op, region));
  registered_.erase(found);
}

bool SimDisk::Overlap(const Op& op, Bytes region) {
  return op.data != nullptr && op.data < region.data() + region.size() && region.data() < op.data + op.bytes;
}

MutableBytes SimDisk::Map(DiskFileId id) {
  if (dead_ || !platter_.options_.maps) return {};
  const Entry& entry = EntryOf(id);
  SimPlatter::File& file = *entry.file;
  if (!entry.writable || file.now.bytes == 0 || file.now.bytes % kBlockBytes != 0) return {};
  if (file.mapped == nullptr) {
    file.mapped = std::make_unique<BlockBuffer>(file.now.bytes);
    SimPlatter::GiveMapped(file);
  }
  return file.mapped->span();
}

bool SimDisk::IsRegistered(Bytes memory) const {
  auto after = registered_.upper_bound(memory.data());
  if (after == registered_.begin()) return false;
  const auto& [data, bytes] = *std::prev(after);
  return memory.data() + memory.size() <= data + bytes;
}

Nanos SimDisk::NextAt() const {
  if (!asked_.empty()) return clock_.Now();
  Nanos next = kNever;
  for (const Op& op : flying_) next = std::min(next, op.at);
  return next;
}

void SimDisk::StartAsked() {
  const SimDiskFaults& faults = platter_.faults;
  MAYFLY_CHECK(faults.latency_min <= faults.latency_max);
  for (Op& op : asked_) {
    op.at = clock_.Now() + faults.latency_min + platter_.random_.Below(faults.latency_max - faults.latency_min + 1);
    op.tie = platter_.random_.U64();
    if (op.kind != Kind::kRead && op.data != nullptr && op.tie % 2 == 0) op.early.assign(op.data, op.data + op.bytes);
    flying_.push_back(std::move(op));
  }
  asked_.clear();
}

void SimDisk::TakeReady() {
  const Nanos now = clock_.Now();
  for (size_t i = 0; i < flying_.size();) {
    if (flying_[i].at > now) {
      ++i;
      continue;
    }
    ready_.push_back(std::move(flying_[i]));
    flying_.erase(flying_.begin() + static_cast<ptrdiff_t>(i));
  }
  std::sort(ready_.begin(), ready_.end(),
            [](const Op& a, const Op& b) { return std::pair(a.at, a.tie) < std::pair(b.at, b.tie); });
}

bool SimDisk::Poll() {
  if (dead_ || pending_ == 0) return false;
  const bool started = !asked_.empty();
  TakeReady();
  StartAsked();
  const bool ended = !ready_.empty();
  while (!ready_.empty()) {  // a crash inside a completion empties it
    Op op = std::move(ready_.front());
    ready_.pop_front();
    const Status status = End(op);
    --pending_;
    --entries_[op.index].under_way;
    Moment();
    op.done->fn(op.done, status);
  }
  return started || ended;
}

Status SimDisk::End(Op& op) {
  switch (op.kind) {
    case Kind::kRead:
      return EndRead(op);
    case Kind::kFlush:
      return EndFlush(op);
    case Kind::kWriteThrough:
      return EndThrough(op);
    case Kind::kWrite:
    case Kind::kDiscard:
      return EndChange(op);
  }
  return {};
}

Status SimDisk::EndRead(const Op& op) {
  if (platter_.random_.PerMille(platter_.faults.read_errors)) return Code::kIo;
  SimPlatter::TakeMapped(*op.file);
  const SimPlatter::Image& image = op.file->now;
  if (op.offset + op.bytes > image.bytes) return Code::kCorrupt;
  for (uint64_t at = 0; at < op.bytes; at += kBlockBytes) {
    const SimPlatter::BlockPtr block = SimPlatter::BlockOf(image, (op.offset + at) / kBlockBytes);
    if (block == nullptr) std::memset(op.data + at, 0, kBlockBytes);
    if (block != nullptr) std::memcpy(op.data + at, block->data(), kBlockBytes);
  }
  return {};
}

SimPlatter::Change SimDisk::ChangeOf(const Op& op) {
  SimPlatter::Change change;
  change.first_block = op.offset / kBlockBytes;
  change.blocks.resize(op.bytes / kBlockBytes);
  change.extends = op.kind != Kind::kDiscard;
  if (op.kind == Kind::kDiscard) return change;
  for (size_t i = 0; i < change.blocks.size(); ++i) {
    auto block = std::make_shared<SimPlatter::Block>();
    const uint8_t* const data = op.early.empty() ? op.data : op.early.data();
    std::memcpy(block->data(), data + i * kBlockBytes, kBlockBytes);
    change.blocks[i] = std::move(block);
  }
  return change;
}

void SimDisk::Record(SimPlatter::File& file, SimPlatter::Change change) {
  change.sequence = file.next_sequence++;
  SimPlatter::TakeMapped(file);
  SimPlatter::Apply(file.now, change);
  SimPlatter::GiveMapped(file);
  file.unflushed.push_back(std::move(change));
}

Status SimDisk::EndChange(const Op& op) {
  SimPlatter::File& file = *op.file;
  SimPlatter::Change change = ChangeOf(op);
  if (op.kind == Kind::kDiscard) {
    const uint64_t end = std::min(change.first_block + change.blocks.size(), BlocksOf(file.now.bytes));
    if (end <= change.first_block) return {};
    change.blocks.resize(end - change.first_block);
    for (uint64_t number = change.first_block; number < end; ++number) file.holes.insert(number);
    Record(file, std::move(change));
    return {};
  }
  if (!platter_.Take(file, op.offset, op.bytes)) return Code::kNoSpace;
  if (platter_.random_.PerMille(platter_.faults.write_errors)) {
    if (platter_.Suffer(file.now, change)) Record(file, std::move(change));
    return Code::kIo;
  }
  Record(file, std::move(change));
  return {};
}

Status SimDisk::EndThrough(const Op& op) {
  SimPlatter::File& file = *op.file;
  SimPlatter::Change change = ChangeOf(op);
  if (!platter_.Take(file, op.offset, op.bytes)) return Code::kNoSpace;
  const bool fails = platter_.random_.PerMille(platter_.faults.write_errors) ||
                     platter_.random_.PerMille(platter_.faults.flush_errors);
  if (fails) {
    if (!platter_.Suffer(file.now, change)) return Code::kIo;
    Record(file, std::move(change));
    if (platter_.random_.Below(2) == 0) file.unflushed.pop_back();  // K5: never durable, whatever comes
    return Code::kIo;
  }
  Record(file, change);
  if (platter_.faults.lose_flushes) return {};
  file.unflushed.pop_back();
  // What the device had of the same blocks before does not come after it.
  std::erase_if(file.unflushed, [&](const SimPlatter::Change& before) {
    const bool apart = before.first_block + before.blocks.size() <= change.first_block ||
                       change.first_block + change.blocks.size() <= before.first_block;
    if (!apart) SimPlatter::Apply(file.durable, before);
    return !apart;
  });
  SimPlatter::Apply(file.durable, change);
  return {};
}

Status SimDisk::EndFlush(const Op& op) {
  SimPlatter::File& file = *op.file;
  const bool fails = platter_.random_.PerMille(platter_.faults.flush_errors);
  if (platter_.faults.lose_flushes && !fails) return {};
  while (!file.unflushed.empty() && file.unflushed.front().sequence < op.covers) {
    // K5: what a failed one leaves behind, no later one will make durable.
    if (!fails || platter_.random_.Below(2) == 0) SimPlatter::Apply(file.durable, file.unflushed.front());
    file.unflushed.pop_front();
  }
  return fails ? Code::kIo : Code::kOk;
}

// `op` was under way when the process ended.
void SimDisk::Interrupt(const Op& op) {
  SimPlatter::File& file = *op.file;
  if (op.kind == Kind::kFlush && platter_.random_.Below(2) == 0) {
    SimDiskFaults none;
    std::swap(none, platter_.faults);
    (void)EndFlush(op);
    std::swap(none, platter_.faults);
  }
  if (op.kind == Kind::kDiscard && platter_.random_.Below(2) == 0) (void)EndChange(op);
  if (op.kind != Kind::kWrite && op.kind != Kind::kWriteThrough) return;
  SimPlatter::Change change = ChangeOf(op);
  if (!platter_.Suffer(file.now, change) || !platter_.Take(file, op.offset, op.bytes)) return;
  Record(file, std::move(change));
}

void SimDisk::Crash(bool power) {
  if (std::exchange(dead_, true)) return;
  std::vector<Op> under_way(std::make_move_iterator(ready_.begin()), std::make_move_iterator(ready_.end()));
  for (std::vector<Op>* ops : {&flying_, &asked_}) {
    std::move(ops->begin(), ops->end(), std::back_inserter(under_way));
    ops->clear();
  }
  ready_.clear();
  pending_ = 0;
  for (const Op& op : under_way) never_.push_back(op.done);
  while (!under_way.empty()) {  // K6
    const auto next = under_way.begin() + static_cast<ptrdiff_t>(platter_.random_.Below(under_way.size()));
    Interrupt(*next);
    under_way.erase(next);
  }
  for (Entry& entry : entries_) {
    if (entry.file != nullptr && entry.writable) entry.file->writer = false;
    entry = {};
  }
  if (power) platter_.CutPower();
}

}  // namespace mayfly
