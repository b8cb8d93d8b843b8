#include "inspect/salvage.h"

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "flush/text.h"
#include "inspect/salvage_file.h"
#include "meta/namespace_look.h"

namespace mayfly {
namespace {

using flush_internal::JoinPath;
using salvage_internal::AttributesOf;
using salvage_internal::EndsAll;
using salvage_internal::FileSaver;
using salvage_internal::SavedFile;

constexpr size_t kNameBytesMax = 255;
constexpr std::string_view kPartialEnding = ".partial", kLostAndFound = "lost+found";

struct Child {
  std::string name;
  InodeId inode;
  FileType type = FileType::kNone;
};
using Children = std::vector<Child>;  // by name

bool IsTaken(const Children& children, std::string_view name) {
  const auto before = [](const Child& child, std::string_view other) { return child.name < other; };
  const auto at = std::lower_bound(children.begin(), children.end(), name, before);
  return at != children.end() && at->name == name;
}

// NAME.partial, or what comes nearest: names have an end, and somebody may have called a file so.
std::string PartialName(const Children& siblings, const std::string& name) {
  for (uint32_t i = 0;; ++i) {
    const std::string ending = i == 0 ? std::string(kPartialEnding) : fmt::format("{}.{}", kPartialEnding, i);
    std::string partial = name.substr(0, kNameBytesMax - ending.size()) + ending;
    if (!IsTaken(siblings, partial)) return partial;
  }
}

std::string NumberName(InodeId id) { return fmt::format("{}-{}", id.home().value, id.sequence()); }

class Walk {
 public:
  Walk(const SalvageInput& input, SalvageSink* sink) : input_(input), sink_(*sink), saver_(&input) {}

  Outcome<SalvageCounts> Run() {
    if (Tree(input_.root, "") && Lost()) return counts_;
    return *failed_;
  }

 private:
  struct Frame {
    InodeId dir;
    std::string path;
    Children subdirectories;
    size_t next = 0;
  };
  // Of an inode with several names.
  struct First {
    SavedFile saved;
    FileType type = FileType::kFile;
  };

  bool Fail(const PfsStatus& status);
  void Report(Loss loss);
  void Note(const flush_internal::Refusals& refusals);
  const Inode* Find(InodeId id) const {
    return saver_.Has(id.home()) ? input_.shards[id.home().value].tables->names().FindInode(id) : nullptr;
  }

  // False: the target takes no more, see failed_.
  bool Tree(InodeId dir, const std::string& path);
  bool Enter(InodeId dir, const std::string& path, std::vector<Frame>* frames);
  bool Leave(const Frame& frame);
  bool Entry(const Child& child, const std::string& path, const Children& siblings);
  bool Account(const Child& child, const std::string& path, SavedFile saved, bool linked);
  Children ChildrenOf(InodeId dir) const;
  void NoteIfIncomplete(InodeId dir, const std::string& path);

  bool Lost();
  std::vector<InodeId> LostDirectories() const;
  std::vector<InodeId> LostFiles() const;
  bool MakeLostAndFound();

  const SalvageInput& input_;
  SalvageSink& sink_;
  FileSaver saver_;
  SalvageCounts counts_;
  std::optional<Failure> failed_;
  absl::flat_hash_set<InodeId> reached_;
  absl::flat_hash_map<InodeId, First> firsts_;
  std::string lost_and_found_;  // below the target; empty: not made
};

bool Walk::Fail(const PfsStatus& status) {
  failed_ =
      mayfly::Fail(status.code, "the target cannot take more: {}; salvage to another, empty directory", status.why);
  return false;
}

void Walk::Report(Loss loss) {
  switch (loss.kind) {
    case LossKind::kPartial:
      ++counts_.partial;
      break;
    case LossKind::kAbsent:
      ++counts_.absent;
      break;
    case LossKind::kIncomplete:
      ++counts_.incomplete;
      break;
    case LossKind::kLost:
      ++counts_.lost;
      break;
  }
  sink_.OnLoss(loss);
}

void Walk::Note(const flush_internal::Refusals& refusals) {
  counts_.refused += refusals.count;
  for (const std::string& sentence : refusals.sentences) sink_.OnRefusal(sentence);
}

// ---- the tree ----

// Depth first, without recursion: names may be nested as deep as memory goes.
bool Walk::Tree(InodeId dir, const std::string& path) {
  std::vector<Frame> frames;
  if (!Enter(dir, path, &frames)) return false;
  while (!frames.empty()) {
    Frame& frame = frames.back();
    if (frame.next < frame.subdirectories.size()) {
      const Child& child = frame.subdirectories[frame.next++];
      const std::string below = JoinPath(frame.path, child.name);
      if (!Enter(child.inode, below, &frames)) return false;
    } else {
      if (!Leave(frame)) return false;
      frames.pop_back();
    }
  }
  return true;
}

// Makes the directory and all that is in it but directories, which the new frame has.
bool Walk::Enter(InodeId dir, const std::string& path, std::vector<Frame>* frames) {
  if (!reached_.insert(dir).second) {
    Report(
        {.kind = LossKind::kAbsent, .inode = dir, .path = path, .why = "the directory is there by another name too"});
    return true;
  }
  if (!path.empty()) {
    bool created = false;
    const PfsStatus made = input_.target->MakeDirectory(path, &created);
    if (!made.ok() && EndsAll(made.code)) return Fail(made);
    if (!made.ok()) {
      Report({.kind = LossKind::kAbsent, .inode = dir, .path = path, .why = made.why});
      return true;
    }
  }
  ++counts_.directories;
  NoteIfIncomplete(dir, path);
  Children children = ChildrenOf(dir);
  Frame frame;
  frame.dir = dir;
  frame.path = path;
  for (const Child& child : children) {
    const Inode* inode = Find(child.inode);
    if ((inode != nullptr ? inode->type : child.type) == FileType::kDirectory) {
      frame.subdirectories.push_back(child);
    } else if (!Entry(child, path, children)) {
      return false;
    }
  }
  frames->push_back(std::move(frame));
  return true;
}

Children Walk::ChildrenOf(InodeId dir) const {
  Children children;
  for (const SalvageShard& shard : input_.shards) {
    if (shard.tables == nullptr) continue;
    NamespaceLook(shard.tables->names())
        .ForEachEntry(dir, [&children](std::string_view name, InodeId inode, FileType type) {
          children.push_back({std::string(name), inode, type});
        });
  }
  std::sort(children.begin(), children.end(), [](const Child& a, const Child& b) { return a.name < b.name; });
  const auto same = [](const Child& a, const Child& b) { return a.name == b.name; };
  children.erase(std::unique(children.begin(), children.end(), same), children.end());
  return children;
}

void Walk::NoteIfIncomplete(InodeId dir, const std::string& path) {
  std::vector<ShardId> missing;
  std::string why;
  if (const Inode* inode = Find(dir); inode != nullptr && inode->extra != nullptr) {
    for (const ShardId shard : inode->extra->shards) {
      if (!saver_.Has(shard)) missing.push_back(shard);
    }
    if (missing.empty()) return;
    why = "names in it were on " + saver_.MembersOf(missing);
  } else if (!saver_.Has(dir.home())) {
    why = fmt::format("which members had names in it was known to {} alone", saver_.MembersOf({dir.home()}));
  } else {
    why = "its inode is not in the journal of its member";
  }
  Report({.kind = LossKind::kIncomplete, .inode = dir, .path = path, .saved_as = path, .why = std::move(why)});
}

// Owner, mode, times last, when nothing is put into it any more.
bool Walk::Leave(const Frame& frame) {
  if (frame.path.empty() && !input_.target_made) {
    const PfsStatus synced = flush_internal::SyncDirectory(*input_.target, "");
    return synced.ok() || Fail(synced);
  }
  flush_internal::Attributes attributes;
  const Inode* inode = Find(frame.dir);
  std::vector<DirPartReply> parts;
  const DirRights* rights = nullptr;
  for (const SalvageShard& shard : input_.shards) {
    if (shard.tables == nullptr || !shard.tables->names().Joined(frame.dir)) continue;
    parts.push_back(shard.tables->names().PartOf(frame.dir));
    const DirRights* here = shard.tables->names().Rights(frame.dir);
    if (rights == nullptr || here->version > rights->version) rights = here;
  }
  if (inode != nullptr) {
    const Attr attr = input_.shards[frame.dir.home().value].tables->names().AttrOfDirectory(*inode, parts);
    attributes = AttributesOf(*inode, attr.mtime);
  } else if (rights != nullptr && rights->version != 0) {
    attributes.permissions = rights->permissions;
    attributes.uid = rights->uid;
    attributes.gid = rights->gid;
    for (const DirPartReply& part : parts) attributes.mtime = std::max(attributes.mtime, part.mtime);
    attributes.atime = attributes.mtime;
  } else {
    const PfsStatus synced = flush_internal::SyncDirectory(*input_.target, frame.path);
    return synced.ok() || Fail(synced);
  }
  const flush_internal::Finished finished = flush_internal::FinishDirectory(*input_.target, frame.path, attributes);
  Note(finished.refusals);
  return finished.status.ok() || Fail(finished.status);
}

// ---- files and symlinks ----

bool Walk::Entry(const Child& child, const std::string& path, const Children& siblings) {
  reached_.insert(child.inode);
  const std::string name = JoinPath(path, child.name);
  const std::string partial = JoinPath(path, PartialName(siblings, child.name));
  const Inode* inode = Find(child.inode);
  if (inode == nullptr && saver_.Has(child.inode.home())) {
    SavedFile saved;
    saved.why = "its inode is not in the journal of its member";
    return Account(child, name, std::move(saved), false);
  }
  if (inode == nullptr && child.type == FileType::kSymlink) {
    SavedFile saved;
    saved.why = "the symbolic link's target was on " + saver_.MembersOf({child.inode.home()});
    return Account(child, name, std::move(saved), false);
  }
  const auto first = firsts_.find(child.inode);
  if (first != firsts_.end() && !first->second.saved.saved_as.empty()) {
    SavedFile again = first->second.saved;
    const std::string& to = again.whole() ? name : partial;
    const PfsStatus linked = saver_.Link(again.saved_as, to);
    if (linked.ok()) {
      again.saved_as = to;
      again.bytes = 0;
      again.refusals = {};
      return Account(child, name, std::move(again), true);
    }
    if (EndsAll(linked.code)) return Fail(linked);
    flush_internal::Refusals refusals;  // a copy instead
    refusals.Add(linked);
    Note(refusals);
  }
  SavedFile saved = inode != nullptr && inode->type == FileType::kSymlink
                        ? saver_.SaveSymlink(*inode, name)
                        : saver_.Save(child.inode, inode, name, partial);
  if (inode == nullptr || inode->nlink > 1) {
    firsts_[child.inode] = {saved, inode != nullptr ? inode->type : FileType::kFile};
  }
  return Account(child, name, std::move(saved), false);
}

bool Walk::Account(const Child& child, const std::string& path, SavedFile saved, bool linked) {
  if (!saved.status.ok() && EndsAll(saved.status.code)) return Fail(saved.status);
  if (!saved.status.ok()) saved.why = saved.status.why;
  Note(saved.refusals);
  counts_.bytes += saved.bytes;
  if (linked) ++counts_.linked;
  if (saved.whole()) {
    const Inode* inode = Find(child.inode);
    const FileType type = inode != nullptr ? inode->type : FileType::kFile;
    ++(type == FileType::kSymlink ? counts_.symlinks : counts_.files);
    sink_.OnWhole({child.inode, type, path, saved.size});
  } else {
    Loss loss;
    loss.kind = saved.saved_as.empty() ? LossKind::kAbsent : LossKind::kPartial;
    loss.inode = child.inode;
    loss.path = path;
    loss.saved_as = std::move(saved.saved_as);
    loss.gaps = std::move(saved.gaps);
    loss.more_behind = saved.more_behind;
    loss.why = std::move(saved.why);
    if (loss.why.empty()) loss.why = "its bytes do not match their checksums, or are not there";
    Report(std::move(loss));
  }
  sink_.OnProgress(counts_);
  return true;
}

// ---- what has no way from the root ----

bool Walk::MakeLostAndFound() {
  for (uint32_t i = 0; lost_and_found_.empty(); ++i) {
    std::string name = i == 0 ? std::string(kLostAndFound) : fmt::format("{}-{}", kLostAndFound, i);
    PfsAttr attr;
    if (input_.target->Stat(name, &attr).ok()) continue;  // the session has one of its own
    bool created = false;
    const PfsStatus made = input_.target->MakeDirectory(name, &created);
    if (!made.ok()) return Fail(made);
    lost_and_found_ = std::move(name);
  }
  return true;
}

bool Walk::Lost() {
  for (const InodeId dir : LostDirectories()) {
    if (reached_.contains(dir)) continue;
    if (!MakeLostAndFound()) return false;
    const std::string path = JoinPath(lost_and_found_, NumberName(dir));
    Report({.kind = LossKind::kLost,
            .inode = dir,
            .path = path,
            .saved_as = path,
            .why = "the name of this directory is not known, nor where it was"});
    if (!Tree(dir, path)) return false;
  }
  for (const InodeId file : LostFiles()) {
    if (!MakeLostAndFound()) return false;
    const Child child{NumberName(file), file, FileType::kFile};
    const uint64_t losses = counts_.partial + counts_.absent;
    if (!Entry(child, lost_and_found_, {})) return false;
    if (counts_.partial + counts_.absent != losses) continue;
    const std::string path = JoinPath(lost_and_found_, child.name);
    Report({.kind = LossKind::kLost,
            .inode = file,
            .path = path,
            .saved_as = path,
            .why = "the name of this file is not known, nor where it was"});
  }
  if (lost_and_found_.empty()) return true;
  for (const std::string& directory : {lost_and_found_, std::string()}) {
    const PfsStatus synced = flush_internal::SyncDirectory(*input_.target, directory);
    if (!synced.ok()) return Fail(synced);
  }
  return true;
}

// In this order: those that no other lost directory names, by number; then the rest, which is none unless names run in
// a circle.
std::vector<InodeId> Walk::LostDirectories() const {
  std::vector<InodeId> all;
  absl::flat_hash_set<InodeId> named;
  for (const SalvageShard& shard : input_.shards) {
    if (shard.tables == nullptr) continue;
    Namespace& names = shard.tables->names();
    names.ForEachInode([&](Inode& inode) {
      const bool there = inode.type == FileType::kDirectory && inode.nlink != 0;
      if (there && !reached_.contains(inode.id)) all.push_back(inode.id);
    });
    const NamespaceLook look(names);
    for (const InodeId dir : look.Parts()) {
      if (reached_.contains(dir)) continue;
      bool empty = true;
      look.ForEachEntry(dir, [&](std::string_view, InodeId inode, FileType type) {
        empty = false;
        if (type == FileType::kDirectory) named.insert(inode);
      });
      if (!empty) all.push_back(dir);
    }
  }
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  std::stable_partition(all.begin(), all.end(), [&named](InodeId dir) { return !named.contains(dir); });
  return all;
}

std::vector<InodeId> Walk::LostFiles() const {
  std::vector<InodeId> all;
  for (const SalvageShard& shard : input_.shards) {
    if (shard.tables == nullptr) continue;
    shard.tables->names().ForEachInode([&](Inode& inode) {
      const bool there = inode.type != FileType::kDirectory && inode.nlink != 0;
      if (there && !reached_.contains(inode.id)) all.push_back(inode.id);
    });
    const StoreLook look(&shard.tables->store());
    shard.tables->store().ForEachFile([&](InodeId file) {
      StoredPiece piece;
      if (reached_.contains(file) || saver_.Has(file.home()) || !look.Next(file, 0, &piece)) return;
      all.push_back(file);
    });
  }
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

}  // namespace

Outcome<SalvageCounts> Salvage(const SalvageInput& input, SalvageSink* sink) {
  MAYFLY_CHECK(input.shards.size() == input.layout->shard_count());
  return Walk(input, sink).Run();
}

}  // namespace mayfly
