// The directories that one lane has walked and whose user may search them: (parent, name) -> inode.
// Invariants  C1  all entries belong to one namespace generation; a newer one empties the cache.
//             C2  only answers to look-ups are in it: a shard counts an entry as exposed when it answers one, and only
//                 exposed directories cost a generation when they move, go, or change their rights.
//             C3  the last way is one that the entries gave, and as true as they are.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/inlined_vector.h>

#include <string>
#include <string_view>

#include "base/ids.h"

namespace mayfly {

// A name in a directory, as a key of a hash map that is looked up by views.
struct NameView {
  InodeId parent;
  std::string_view name;
};
struct NameKey {
  InodeId parent;
  std::string name;
  operator NameView() const { return {parent, name}; }  // NOLINT: looked up by views
};
struct NameHash {
  using is_transparent = void;
  size_t operator()(const NameView& v) const { return absl::HashOf(v.parent, v.name); }
};
struct NameEqual {
  using is_transparent = void;
  bool operator()(const NameView& a, const NameView& b) const { return a.parent == b.parent && a.name == b.name; }
};

class PathCache {
 public:
  static constexpr size_t kEntriesMax = 1u << 17;  // about 12 MiB; then it starts again

  Generation generation() const { return generation_; }
  // C1
  void Enter(Generation now) {
    if (now <= generation_) return;
    Clear();
    generation_ = now;
  }
  void Clear() {
    entries_.clear();
    way_.to.clear();
    root_searchable_ = false;
  }
  // Invalid if it is not known.
  InodeId Find(InodeId parent, std::string_view name) const {
    auto found = entries_.find(NameView{parent, name});
    return found == entries_.end() ? InodeId() : found->second;
  }
  // `of`: the generation under which the answer was given; an older one's is of no use any more.
  void Insert(Generation of, InodeId parent, std::string_view name, InodeId dir) {
    if (of != generation_) return;
    if (entries_.size() >= kEntriesMax) entries_.clear();
    entries_.insert_or_assign(NameKey{parent, std::string(name)}, dir);
  }
  // Many paths in a row are of one directory: the way to it is looked up once. `to`: all of a path that stands before
  // its last component; the directories from the root on that it leads through, which the user may search. Null: it is
  // not the last that was set.
  using Directories = absl::InlinedVector<InodeId, 12>;
  const Directories* WayTo(std::string_view to) const { return !to.empty() && way_.to == to ? &way_.through : nullptr; }
  // The way to be filled in; null if it is known already, or too long to be worth it.
  Directories* SetWay(Generation of, std::string_view to) {
    constexpr size_t kBytesMax = 1024;
    if (of != generation_ || to.size() > kBytesMax || way_.to == to) return nullptr;
    way_.to = to;
    way_.through.clear();
    return &way_.through;
  }
  // The root has no parent to be looked up in.
  bool root_searchable() const { return root_searchable_; }
  void SetRootSearchable(Generation of) { root_searchable_ = root_searchable_ || of == generation_; }
  size_t size() const { return entries_.size(); }

 private:
  Generation generation_;
  bool root_searchable_ = false;
  absl::flat_hash_map<NameKey, InodeId, NameHash, NameEqual> entries_;
  struct Way {
    std::string to;
    Directories through;
  };
  Way way_;  // C3
};

}  // namespace mayfly
