// Checks the history of one file that several clients write, append to, truncate, read and stat at once.
//   sizes   without truncation: at least the end of every write that was acknowledged before, at most the end of every
//           write that began before the answer, never shrinking. With truncation: there is an order of the operations
//           that explains every size. A write over several chunks (on tmpfs: pages) may show piece by piece.
//   bytes   each block of 64 bytes that was read is zeros or one write's block at that place; the write began before
//           the read ended, and was not certainly overwritten before the read began; two reads, one after the other, do
//           not see two writes, one after the other, the wrong way round.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "model_names.h"

namespace model {

// The size of a file, for the search of an order.
class SizeState {
 public:
  explicit SizeState(int64_t step) : step_(step) {}
  bool Apply(const Item& item) {
    const Record& r = *item.record;
    switch (r.what) {
      case Do::kDataWrite:
        Grow(r.offset, r.offset + r.result, item.stage);
        return true;
      case Do::kDataAppend:
        if (item.stage == 0 && r.size - r.result != size_) return false;
        Grow(r.size - r.result, r.size, item.stage);
        return true;
      case Do::kDataTruncate:
        size_ = r.bytes;
        return true;
      default:
        return r.size == size_;
    }
  }
  uint64_t Hash() const { return Mix(static_cast<uint64_t>(size_)); }
  // What a write is made of, as far as others can see: parts of one chunk, or one page where that is so.
  static int64_t Pieces(int64_t from, int64_t to, int64_t step) { return (to - 1) / step - from / step + 1; }

 private:
  void Grow(int64_t from, int64_t to, int64_t piece) {
    size_ = std::max(size_, std::min((from / step_ + piece + 1) * step_, to));
  }
  int64_t step_;
  int64_t size_ = 0;
};

class DataChecker {
 public:
  // `step`: as far as a write goes in one step.
  DataChecker(const std::vector<Record>& records, int64_t step) : records_(records), step_(step) {
    for (size_t i = 0; i < records_.size(); ++i) {
      const Record& r = records_[i];
      if (r.what == Do::kRun) continue;
      if (r.result < 0) wrong_ += "failed: " + Line(r);
      if (r.what == Do::kDataWrite || r.what == Do::kDataAppend) {
        if (r.result != r.bytes) wrong_ += "not all of it was written: " + Line(r);
        writes_.push_back({r.start, r.end, Offset(r), Offset(r) + r.result, r.op, &r});
        by_op_[r.op] = writes_.size() - 1;
      } else if (r.what == Do::kDataTruncate) {
        writes_.push_back({r.start, r.end, r.bytes, kFileBytes * 4, 0, &r});
        truncated_ = true;
      }
    }
  }

  std::string Check(uint64_t* undecided) {
    if (wrong_.empty()) {
      if (truncated_) {
        SearchSizes(undecided);
      } else {
        BoundSizes();
        CheckAppends();
      }
    }
    if (wrong_.empty()) CheckBlocks();
    if (wrong_.empty()) return "";
    std::vector<const Record*> sorted;
    for (const Record& record : records_) sorted.push_back(&record);
    std::stable_sort(sorted.begin(), sorted.end(), [](auto* a, auto* b) { return a->start < b->start; });
    for (const Record* record : sorted) wrong_ += "  " + Line(*record);
    return wrong_;
  }

 private:
  struct Write {
    int64_t start, end;  // time
    int64_t from, to;    // bytes; a truncation makes zeros of all behind the new end
    uint32_t op;         // 0: zeros
    const Record* record;
  };
  // One block as one read saw it.
  struct Look {
    int64_t start, end;
    uint32_t op;
    const Record* read;
  };

  static int64_t Offset(const Record& r) { return r.what == Do::kDataAppend ? r.size - r.result : r.offset; }
  std::string Line(const Record& r) const { return Text(r, records_.front().start) + "\n"; }

  void SearchSizes(uint64_t* undecided) {
    std::vector<Item> items;
    for (const Record& r : records_) {
      if (r.what == Do::kDataRead || r.what == Do::kRun) continue;
      const bool writes = r.what == Do::kDataWrite || r.what == Do::kDataAppend;
      const int64_t pieces = writes ? SizeState::Pieces(Offset(r), Offset(r) + r.result, step_) : 1;
      for (int piece = 0; piece < pieces; ++piece) items.push_back({r.start, r.end, &r, piece, -1});
    }
    SortItems(&items, Do::kDataAppend);
    const Verdict verdict = Linearizer<SizeState>(items).Search(SizeState(step_));
    if (verdict == Verdict::kUndecided) ++*undecided;
    if (verdict == Verdict::kBad) wrong_ += "no order of these operations explains the sizes:\n";
  }

  void BoundSizes() {
    for (const Record& r : records_) {
      if (r.what == Do::kRun || r.what == Do::kDataWrite) continue;
      int64_t least = 0, most = 0;
      for (const Write& write : writes_) {
        if (write.end < r.start) least = std::max(least, write.to);
        if (write.start < r.end) most = std::max(most, write.to);
      }
      for (const Record& other : records_) {
        if ((other.what == Do::kDataStat || other.what == Do::kDataAppend) && other.end < r.start) {
          least = std::max(least, other.size);
        }
      }
      if (r.what == Do::kDataRead) {
        if (r.result > 0 && r.offset + r.result > most) wrong_ += "reads beyond every write: " + Line(r);
        if (r.result < std::min(r.bytes, least - r.offset)) {
          wrong_ += "ends before " + std::to_string(least) + ": " + Line(r);
        }
      } else if (r.size < least || r.size > most) {
        wrong_ += "size is not between " + std::to_string(least) + " and " + std::to_string(most) + ": " + Line(r);
      }
    }
  }

  // Where nothing is cut, what one append wrote no other may.
  void CheckAppends() {
    std::map<int64_t, const Record*> appends;
    for (const Record& r : records_) {
      if (r.what == Do::kDataAppend && !appends.emplace(Offset(r), &r).second)
        wrong_ += "two appends at one place: " + Line(r);
    }
    const Record* before = nullptr;
    for (const auto& [offset, r] : appends) {
      if (before != nullptr && before->size > offset) wrong_ += "appends overlap: " + Line(*before) + "  " + Line(*r);
      before = r;
    }
  }

  void CheckBlocks() {
    std::map<int64_t, std::vector<Look>> looks;
    const Record* read = nullptr;
    for (const Record& r : records_) {
      if (r.what == Do::kDataRead) read = &r;
      if (r.what != Do::kRun) continue;
      for (int64_t at = 0; at < r.bytes; at += kBlock) {
        const int64_t offset = r.offset + at;
        const auto found = by_op_.find(r.op);
        if (r.op != 0 && (found == by_op_.end() ||
                          Offset(*writes_[found->second].record) + (r.ordinal + at / kBlock) * kBlock != offset)) {
          wrong_ += "at " + std::to_string(offset) + " a block that no write put there: " + Line(r);
          return;
        }
        looks[offset].push_back({read->start, read->end, r.op, read});
      }
    }
    for (const auto& [offset, all] : looks) {
      if (!wrong_.empty()) return;
      CheckBlock(offset, all);
    }
  }

  void CheckBlock(int64_t offset, const std::vector<Look>& looks) {
    std::vector<const Write*> writes;
    for (const Write& write : writes_) {
      if (write.from <= offset && offset < write.to) writes.push_back(&write);
    }
    for (const Look& look : looks) {
      bool possible = look.op == 0 && !Overwritten(writes, INT64_MIN, look.start);
      for (const Write* write : writes) {
        if (write->op != look.op || write->start > look.end) continue;
        possible |= !Overwritten(writes, write->end, look.start);
      }
      if (!possible) {
        wrong_ += "at " + std::to_string(offset) + " op " + std::to_string(look.op) +
                  " is from the past or the future: " + Line(*look.read);
        return;
      }
    }
    for (const Look& first : looks) {
      for (const Look& second : looks) {
        if (first.end >= second.start || first.op == 0 || second.op == 0 || first.op == second.op) continue;
        const Write& newer = writes_[by_op_[first.op]];
        const Write& older = writes_[by_op_[second.op]];
        if (older.end < newer.start) {
          wrong_ += "at " + std::to_string(offset) + " op " + std::to_string(second.op) + " was read again after op " +
                    std::to_string(first.op) + ": " + Line(*second.read);
          return;
        }
      }
    }
  }
  // By a write that began after `after` and ended before `before`.
  static bool Overwritten(const std::vector<const Write*>& writes, int64_t after, int64_t before) {
    return std::any_of(writes.begin(), writes.end(),
                       [&](const Write* write) { return write->start > after && write->end < before; });
  }

  const std::vector<Record>& records_;
  const int64_t step_;
  std::vector<Write> writes_;
  std::map<uint32_t, size_t> by_op_;
  bool truncated_ = false;
  std::string wrong_;
};

}  // namespace model
