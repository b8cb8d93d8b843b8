// Is the history of one small directory tree linearizable: can its operations be put in an order, each between its
// start and its end, in which a tree held by one process would have given the same results? Searched as Wing and Gong
// did, with the states that were tried remembered. An operation on paths is one moment: its walks, all that it finds
// and what it changes, also of a rename's two paths, and its errors too. Three take effect in two steps, as they do in
// Linux and as nobody promises otherwise: stat and truncate find the object, then look at its size and links or cut it;
// link finds the file, then makes the name (it may be a file whose last name has gone in between: ENOENT).
#pragma once

#include <algorithm>
#include <bitset>
#include <cerrno>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "model_record.h"

namespace model {

constexpr size_t kItemsMax = 256;
enum class Verdict { kGood, kBad, kUndecided };

// A part of an operation that takes effect at one moment.
struct Item {
  int64_t start = 0, end = 0;
  const Record* record = nullptr;
  int stage = 0;
  int after = -1;  // the item that comes first
};

// By start; the later stages of an operation (of `what` only, if it is given) come after its first.
inline void SortItems(std::vector<Item>* items, std::optional<Do> what = std::nullopt) {
  std::stable_sort(items->begin(), items->end(), [](const Item& a, const Item& b) { return a.start < b.start; });
  for (Item& item : *items) {
    if (item.stage == 0 || (what && item.record->what != *what)) continue;
    for (size_t k = 0; k < items->size(); ++k) {
      if ((*items)[k].record == item.record && (*items)[k].stage == 0) item.after = static_cast<int>(k);
    }
  }
}

// Searches an order of `items` (sorted by start). State: Apply(item) says whether the item's result fits, and then is
// the state after it; Hash().
template <class State>
class Linearizer {
 public:
  explicit Linearizer(const std::vector<Item>& items) : items_(items) {}
  Verdict Search(const State& initial) {
    if (items_.size() > kItemsMax) return Verdict::kUndecided;
    const bool found = Go(initial);
    return found ? Verdict::kGood : steps_ >= kStepsMax ? Verdict::kUndecided : Verdict::kBad;
  }
  // The most items that could be put in order, for the report.
  size_t deepest() const { return deepest_; }

 private:
  static constexpr uint64_t kStepsMax = 3'000'000;

  bool Go(const State& state) {
    const size_t count = done_.count();
    deepest_ = std::max(deepest_, count);
    if (count == items_.size()) return true;
    if (++steps_ >= kStepsMax) return false;
    if (!tried_.insert(state.Hash() ^ Mix(std::hash<std::bitset<kItemsMax>>{}(done_))).second) return false;
    int64_t first_end = INT64_MAX;
    for (size_t i = 0; i < items_.size() && items_[i].start <= first_end; ++i) {
      if (!done_[i]) first_end = std::min(first_end, items_[i].end);
    }
    for (size_t i = 0; i < items_.size() && items_[i].start <= first_end; ++i) {
      if (done_[i] || (items_[i].after >= 0 && !done_[static_cast<size_t>(items_[i].after)])) continue;
      State next = state;
      if (!next.Apply(items_[i])) continue;
      done_[i] = true;
      if (Go(next)) return true;
      done_[i] = false;
    }
    return false;
  }

  const std::vector<Item>& items_;
  std::bitset<kItemsMax> done_;
  std::unordered_set<uint64_t> tried_;
  uint64_t steps_ = 0;
  size_t deepest_ = 0;
};

// The tree. Names are 0 (a) and 1 (b).
class NamesState {
 public:
  NamesState() { nodes_.push_back(Node{kDirectory}); }

  bool Apply(const Item& item) {
    const Record& r = *item.record;
    switch (r.what) {
      case Do::kStat:
        return item.stage == 0 ? StatFind(r) : StatLook(r);
      case Do::kTruncate:
        return item.stage == 0 ? Hold(r) : TruncateHeld(r);
      case Do::kLink:
        return item.stage == 0 ? Hold(r) : LinkHeld(r);
      case Do::kMkdir:
        return r.result == Mkdir(r.path);
      case Do::kRmdir:
        return r.result == Rmdir(r.path);
      case Do::kUnlink:
        return r.result == Unlink(r.path);
      case Do::kCreate:
      case Do::kOpenCreate:
      case Do::kOpen:
        return Open(r);
      case Do::kRename:
      case Do::kNoReplace:
      case Do::kExchange:
        return r.result == Rename(r);
      default:
        return OnFile(r);
    }
  }

  uint64_t Hash() const {
    uint64_t hash = HashFrom(0, 1);
    std::vector<uint64_t> loose;
    for (const Node& node : nodes_) {
      if (node.type == kFile && node.nlink == 0) loose.push_back(HashOf(node));
    }
    std::sort(loose.begin(), loose.end());
    for (uint64_t one : loose) hash = Mix(hash ^ one);
    for (const auto& [op, object] : held_) hash = Mix(hash ^ (uint64_t{op} << 32 | static_cast<uint32_t>(object)));
    return hash;
  }

 private:
  static constexpr uint8_t kFile = 1, kDirectory = 2;
  struct Node {
    uint8_t type = 0;
    int nlink = 1;
    uint64_t inode = 0;  // 0: nobody has seen it yet
    int64_t size = 0;
    std::array<int, 2> child = {-1, -1};
  };
  struct Place {
    int64_t error = 0;
    int dir = 0;
    size_t name = 0;
  };

  static uint64_t HashOf(const Node& node) {
    return Mix(node.inode ^ Mix(static_cast<uint64_t>(node.size) ^ static_cast<uint64_t>(node.nlink) << 48 ^
                                uint64_t{node.type} << 60));
  }
  uint64_t HashFrom(int at, uint64_t hash) const {
    const Node& node = nodes_[static_cast<size_t>(at)];
    hash = Mix(hash ^ HashOf(node));
    for (int child : node.child) hash = child < 0 ? Mix(hash + 1) : HashFrom(child, hash);
    return hash;
  }
  Node& At(int object) { return nodes_[static_cast<size_t>(object)]; }
  int& Child(const Place& place) { return At(place.dir).child[place.name]; }

  Place Find(uint8_t path) {
    const std::string& text = Paths()[path];
    Place place;
    for (size_t at = 0;; at += 2) {
      place.name = static_cast<size_t>(text[at] - 'a');
      if (at + 1 == text.size()) return place;
      const int next = Child(place);
      if (next < 0) return {-ENOENT};
      if (At(next).type != kDirectory) return {-ENOTDIR};
      place.dir = next;
    }
  }
  bool Empty(int dir) { return At(dir).child[0] < 0 && At(dir).child[1] < 0; }
  int Make(uint8_t type, uint64_t inode) {
    Node node;
    node.type = type;
    node.inode = inode;
    nodes_.push_back(node);
    return static_cast<int>(nodes_.size()) - 1;
  }
  // Whether the object may be the one that showed this inode number.
  bool Is(int object, uint64_t inode) {
    Node& node = At(object);
    if (node.inode == inode) return true;
    if (node.inode != 0) return false;
    for (const Node& other : nodes_) {
      if (other.inode == inode) return false;
    }
    node.inode = inode;
    return true;
  }
  int ByInode(uint64_t inode) {
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (nodes_[i].inode == inode) return static_cast<int>(i);
    }
    return -1;
  }

  int64_t Mkdir(uint8_t path) {
    const Place place = Find(path);
    if (place.error != 0) return place.error;
    if (Child(place) >= 0) return -EEXIST;
    const int made = Make(kDirectory, 0);
    Child(place) = made;
    return 0;
  }
  int64_t Rmdir(uint8_t path) {
    const Place place = Find(path);
    if (place.error != 0) return place.error;
    const int object = Child(place);
    if (object < 0) return -ENOENT;
    if (At(object).type != kDirectory) return -ENOTDIR;
    if (!Empty(object)) return -ENOTEMPTY;
    Child(place) = -1;
    return 0;
  }
  int64_t Unlink(uint8_t path) {
    const Place place = Find(path);
    if (place.error != 0) return place.error;
    const int object = Child(place);
    if (object < 0) return -ENOENT;
    if (At(object).type == kDirectory) return -EISDIR;
    --At(object).nlink;
    Child(place) = -1;
    return 0;
  }
  bool Open(const Record& r) {
    const Place place = Find(r.path);
    if (place.error != 0) return r.result == place.error;
    const int object = Child(place);
    if (object < 0) {
      if (r.what == Do::kOpen) return r.result == -ENOENT;
      if (r.result != 0 || ByInode(r.inode) >= 0) return false;
      const int made = Make(kFile, r.inode);
      Child(place) = made;
      return true;
    }
    if (r.what == Do::kCreate) return r.result == -EEXIST;
    if (At(object).type == kDirectory) return r.result == -EISDIR;
    return r.result == 0 && At(object).inode == r.inode;
  }
  bool Below(int object, int top) {
    if (object == top) return true;
    for (int child : At(top).child) {
      if (child >= 0 && Below(object, child)) return true;
    }
    return false;
  }
  int64_t Rename(const Record& r) {
    const Place from = Find(r.path);
    if (from.error != 0) return from.error;
    const Place to = Find(r.other);
    if (to.error != 0) return to.error;
    const int source = Child(from), target = Child(to);
    const bool exchange = r.what == Do::kExchange;
    if (source < 0) return -ENOENT;
    if (r.what == Do::kNoReplace && target >= 0) return -EEXIST;
    if (exchange && target < 0) return -ENOENT;
    if (At(source).type == kDirectory && Below(to.dir, source)) return -EINVAL;
    if (target >= 0 && At(target).type == kDirectory && Below(from.dir, target)) return exchange ? -EINVAL : -ENOTEMPTY;
    if (source == target) return 0;
    if (target >= 0 && !exchange) {
      const bool is = At(source).type == kDirectory, there = At(target).type == kDirectory;
      if (is && !there) return -ENOTDIR;
      if (!is && there) return -EISDIR;
      if (there && !Empty(target)) return -ENOTEMPTY;
      --At(target).nlink;
    }
    Child(from) = exchange ? target : -1;
    Child(to) = source;
    return 0;
  }

  bool StatFind(const Record& r) {
    const Place place = Find(r.path);
    if (place.error != 0) return r.result == place.error;
    const int object = Child(place);
    if (object < 0) return r.result == -ENOENT;
    return r.result == 0 && At(object).type == r.type && Is(object, r.inode);
  }
  bool StatLook(const Record& r) {
    const int object = r.result == 0 ? ByInode(r.inode) : -1;
    return r.result != 0 || r.type == kDirectory || Looks(object, r);
  }
  bool Looks(int object, const Record& r) {
    return object >= 0 && At(object).size == r.size && At(object).nlink == static_cast<int>(r.nlink);
  }
  // The first step of an operation on what a path names: which object that is.
  bool Hold(const Record& r) {
    const Place place = Find(r.path);
    const int object = place.error == 0 ? Child(place) : -1;
    if (object < 0) return r.result == (place.error != 0 ? place.error : -ENOENT);
    held_.emplace_back(r.op, object);
    std::sort(held_.begin(), held_.end());
    return true;
  }
  int Take(const Record& r) {
    const auto found = std::find_if(held_.begin(), held_.end(), [&](const auto& held) { return held.first == r.op; });
    if (found == held_.end()) return -1;
    const int object = found->second;
    held_.erase(found);
    return object;
  }
  bool TruncateHeld(const Record& r) {
    const int object = Take(r);
    if (object < 0) return true;
    if (At(object).type == kDirectory) return r.result == -EISDIR;
    At(object).size = r.bytes;
    return r.result == 0;
  }
  bool LinkHeld(const Record& r) {
    const int object = Take(r);
    if (object < 0) return true;
    const Place place = Find(r.other);
    if (place.error != 0) return r.result == place.error;
    if (Child(place) >= 0) return r.result == -EEXIST;
    if (At(object).type == kDirectory) return r.result == -EPERM;
    if (At(object).nlink == 0) return r.result == -ENOENT;
    ++At(object).nlink;
    Child(place) = object;
    return r.result == 0;
  }
  bool OnFile(const Record& r) {
    const int object = ByInode(r.inode);
    if (object < 0 || r.result < 0) return false;
    Node& node = At(object);
    switch (r.what) {
      case Do::kWrite:
        node.size = std::max(node.size, r.offset + r.result);
        return r.result == r.bytes;
      case Do::kAppend:
        node.size += r.bytes;
        return r.result == r.bytes && r.size == node.size;
      case Do::kFdTruncate:
        node.size = r.bytes;
        return true;
      default:
        return Looks(object, r);
    }
  }

  std::vector<Node> nodes_;
  std::vector<std::pair<uint32_t, int>> held_;
};

inline std::string Text(const Record& r, int64_t zero) {
  char text[400];
  const auto us = [zero](int64_t t) { return static_cast<double>(t - zero) / 1000; };
  const char* error = r.result < 0 ? strerrorname_np(static_cast<int>(-r.result)) : nullptr;
  std::snprintf(text, sizeof text,
                "%10.1f %10.1f w%u %s %s %s off %lld bytes %lld = %s%lld inode %llx size %lld nlink %u op %u+%u",
                us(r.start), us(r.end), r.worker, NameOf(r.what), Paths()[r.path % kPathCount].c_str(),
                Paths()[r.other % kPathCount].c_str(), static_cast<long long>(r.offset),
                static_cast<long long>(r.bytes), error != nullptr ? error : "", static_cast<long long>(r.result),
                static_cast<unsigned long long>(r.inode), static_cast<long long>(r.size), r.nlink, r.op, r.ordinal);
  return text;
}

struct Searched {
  Verdict verdict = Verdict::kGood;
  size_t deepest = 0, steps = 0;
};
inline Searched SearchNames(const std::vector<const Record*>& records) {
  std::vector<Item> items;
  for (const Record* record : records) {
    items.push_back({record->start, record->end, record, 0, -1});
    if (record->what == Do::kStat || record->what == Do::kTruncate || record->what == Do::kLink) {
      items.push_back({record->start, record->end, record, 1, -1});
    }
  }
  SortItems(&items);
  Linearizer<NamesState> search(items);
  const Verdict verdict = search.Search(NamesState());
  return {verdict, search.deepest(), items.size()};
}

// "" or what is wrong with the history of a cell of names; *undecided counts those that took too long to search.
// `explain`: marks what may be to blame, for which the search is made once more without each operation.
inline std::string CheckNames(const std::vector<Record>& records, uint64_t* undecided, bool explain = false) {
  std::vector<const Record*> sorted;
  for (const Record& record : records) sorted.push_back(&record);
  std::stable_sort(sorted.begin(), sorted.end(), [](auto* a, auto* b) { return a->start < b->start; });
  const Searched searched = SearchNames(sorted);
  if (searched.verdict == Verdict::kUndecided) ++*undecided;
  if (searched.verdict != Verdict::kBad) return "";
  std::string report = "no order of these operations explains their results (at most " +
                       std::to_string(searched.deepest) + " of " + std::to_string(searched.steps) +
                       " steps could be put in order; there is one without any single one that is marked):\n";
  for (const Record* record : sorted) {
    std::vector<const Record*> others;
    if (explain)
      std::copy_if(sorted.begin(), sorted.end(), std::back_inserter(others), [&](auto* r) { return r != record; });
    const bool blamed = explain && SearchNames(others).verdict == Verdict::kGood;
    report += (blamed ? "* " : "  ") + Text(*record, sorted[0]->start) + "\n";
  }
  return report;
}

}  // namespace model
