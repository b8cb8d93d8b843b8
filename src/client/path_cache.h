// The directories that one lane has walked: (parent, name) -> inode, and whether this lane's user may search it.
// Invariants  C1  all entries belong to one namespace generation; a newer one empties the cache.
//             C2  only answers to look-ups are in it: a shard counts an entry as exposed when it answers one, and only
//                 exposed directories cost a generation when they move, go, or change their rights.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"

namespace mayfly {

class PathCache {
 public:
  static constexpr size_t kEntriesMax = 1u << 17;  // about 12 MiB; then it starts again

  struct Dir {
    InodeId inode;
    bool searchable = false;
  };

  Generation generation() const { return generation_; }
  // C1
  void Enter(Generation now) {
    if (now <= generation_) return;
    Clear();
    generation_ = now;
  }
  void Clear() {
    entries_.clear();
    root_.reset();
  }
  // Null if it is not known. Valid until the next Insert.
  const Dir* Find(InodeId parent, std::string_view name) const {
    auto found = entries_.find(View{parent, name});
    return found == entries_.end() ? nullptr : &found->second;
  }
  // `of`: the generation under which the answer was given; an older one's is of no use any more.
  void Insert(Generation of, InodeId parent, std::string_view name, Dir dir) {
    if (of != generation_) return;
    if (entries_.size() >= kEntriesMax) entries_.clear();
    entries_.insert_or_assign(Key{parent, std::string(name)}, dir);
  }
  // The root has no parent to be looked up in.
  const std::optional<Dir>& root() const { return root_; }
  void SetRoot(Generation of, Dir dir) {
    if (of == generation_) root_ = dir;
  }
  size_t size() const { return entries_.size(); }

 private:
  struct View {
    InodeId parent;
    std::string_view name;
  };
  struct Key {
    InodeId parent;
    std::string name;
    operator View() const { return {parent, name}; }  // NOLINT: looked up by views
  };
  struct Hash {
    using is_transparent = void;
    size_t operator()(const View& v) const { return absl::HashOf(v.parent, v.name); }
  };
  struct Equal {
    using is_transparent = void;
    bool operator()(const View& a, const View& b) const { return a.parent == b.parent && a.name == b.name; }
  };

  Generation generation_;
  std::optional<Dir> root_;
  absl::flat_hash_map<Key, Dir, Hash, Equal> entries_;
};

}  // namespace mayfly
