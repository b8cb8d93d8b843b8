// Executes operations on one side: keeps its descriptors and streams, looks at what an operation may have touched, and
// reads the whole tree back. What it returns is comparable between sides: no descriptor, inode or clock time in it.
#pragma once

#include <array>
#include <map>
#include <string>
#include <vector>

#include "differential_side.h"

namespace differential {

// One look at one object.
struct Seen {
  std::string what;
  int64_t result = 0;
  struct stat st = {};
};

inline std::string TypeText(mode_t mode) {
  return S_ISREG(mode) ? "file" : S_ISDIR(mode) ? "dir" : S_ISLNK(mode) ? "symlink" : "other";
}

// Without what the two may differ in: inode numbers, blocks, the size of directories, times.
inline std::string StatText(const struct stat& st) {
  char text[160];
  std::snprintf(text, sizeof text, "%s %04o nlink %lu owner %d:%d", TypeText(st.st_mode).c_str(), st.st_mode & 07777,
                static_cast<unsigned long>(st.st_nlink), static_cast<int>(st.st_uid), static_cast<int>(st.st_gid));
  return std::string(text) + (S_ISDIR(st.st_mode) ? "" : " size " + std::to_string(st.st_size));
}

inline std::string SeenText(const Seen& seen) {
  return seen.what + ": " + (seen.result < 0 ? ErrnoText(seen.result) : StatText(seen.st));
}

// "a/b" of "a/b/c"; "." where there is none.
inline std::string ParentOf(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// "c" of it.
inline std::string NameOfLast(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path.substr(path.rfind('/') + 1);
}

// What a whole side looks like: a line for each object, and looks for the times.
struct Tree {
  std::vector<std::pair<std::string, std::string>> lines;
  std::vector<Seen> seen;
};

class Runner {
 public:
  explicit Runner(Side& side) : side_(side) {}
  Side& side() { return side_; }

  // An empty root, no descriptors; "" or what went wrong.
  std::string Reset(mode_t umask, bool privileged);
  Outcome Execute(const Op& op);
  // What `op` may have touched, as op.observer sees it now.
  std::vector<Seen> Observe(const Op& op);
  Tree ReadTree(int actor);

  struct StreamSlot {
    std::unique_ptr<Stream> stream;
    std::vector<std::string> names;  // as returned
    std::vector<uint64_t> cookies;
    bool ended = false;
  };
  StreamSlot& stream(int slot) { return streams_[static_cast<size_t>(slot)]; }
  bool open(int slot) const { return slots_[static_cast<size_t>(slot)].fd >= 0; }

 private:
  struct Slot {
    int fd = -1;
    int actor = 0;
  };
  Slot& slot(const Op& op) { return slots_[static_cast<size_t>(op.slot)]; }
  Outcome OnSlot(const Op& op);
  Outcome OnTarget(const Op& op);
  Outcome OnPath(const Op& op);
  Outcome OnStream(const Op& op);
  Outcome OpenSlot(const Op& op);
  Outcome ReadSome(const Op& op, int fd);
  Outcome GetXattr(const Target& target, const std::string& name, int64_t room);
  Outcome ListXattrs(const Target& target, int64_t room);
  Outcome List(const std::string& path, std::vector<Listed>* entries);
  std::string RemoveAll(const std::string& dir);
  void Walk(const std::string& dir, Tree* tree);
  std::string Extras(const Target& target);
  std::string Content(int fd, bool readable);

  Side& side_;
  std::array<Slot, kSlots> slots_;
  std::array<StreamSlot, kDirSlots> streams_;
};

inline std::string Runner::Reset(mode_t umask, bool privileged) {
  std::string failure;
  side_.Run([&] {
    for (StreamSlot& stream : streams_) stream = {};
    for (Slot& slot : slots_) {
      if (slot.fd >= 0) side_.Close(slot.fd);
      slot = {};
    }
    side_.Act(0);
    side_.SetUmask(umask);
    const Target root = {"."};
    if (privileged) side_.Chown(root, 0, 0);
    side_.OpenRoot();
    failure = RemoveAll(".");
    char list[4096];
    const int64_t bytes = side_.ListXattr(root, list, sizeof list);
    for (int64_t at = 0; at < bytes; at += static_cast<int64_t>(std::strlen(list + at)) + 1) {
      side_.RemoveXattr(root, list + at);
    }
    Seen seen;
    seen.result = side_.Stat(root, &seen.st);
    if (failure.empty() && (seen.result != 0 || seen.st.st_nlink != 2)) {
      failure = "the root of the emptied tree: " + SeenText(seen);
    }
  });
  return failure.empty() ? "" : side_.name() + ": " + failure;
}

inline std::string Runner::RemoveAll(const std::string& dir) {
  std::vector<Listed> entries;
  const Outcome listed = List(dir, &entries);
  if (listed.value < 0) return "list " + Quote(dir) + ": " + ErrnoText(listed.value);
  for (const Listed& entry : entries) {
    const std::string path = dir + "/" + entry.name;
    int64_t result = 0;
    if (S_ISDIR(entry.attributes.st_mode)) {
      side_.Chmod({path}, 0700);
      if (const std::string failure = RemoveAll(path); !failure.empty()) return failure;
      result = side_.Rmdir(path);
    } else {
      result = side_.Unlink(path);
    }
    if (result != 0) return "remove " + Quote(path) + ": " + ErrnoText(result);
  }
  return "";
}

inline Outcome Runner::Execute(const Op& op) {
  Outcome outcome;
  side_.Run([&] {
    side_.Act(op.actor);
    if (op.batch) side_.UseBatch();
    if (op.kind <= Kind::kFallocate) {
      outcome = OnSlot(op);
    } else if (op.kind <= Kind::kRemoveXattr) {
      outcome = OnTarget(op);
    } else if (op.kind <= Kind::kReaddir) {
      outcome = OnPath(op);
    } else if (op.kind <= Kind::kDirClose) {
      outcome = OnStream(op);
    }
  });
  return outcome;
}

inline Outcome Runner::OpenSlot(const Op& op) {
  Outcome outcome;
  if (slot(op).fd >= 0) {
    side_.Act(slot(op).actor);
    outcome.text = "close " + ErrnoText(side_.Close(slot(op).fd));
    side_.Act(op.actor);
  }
  slot(op) = {};
  const int64_t fd = side_.Open(op.path, op.flags, op.mode);
  outcome.value = fd < 0 ? fd : 0;
  if (fd >= 0) slot(op) = {static_cast<int>(fd), op.actor};
  return outcome;
}

inline Outcome Runner::ReadSome(const Op& op, int fd) {
  constexpr size_t kGuard = 16;
  std::string data(static_cast<size_t>(op.bytes) + kGuard, '\xee');
  Outcome outcome;
  outcome.value = op.kind == Kind::kRead
                      ? side_.Read(fd, data.data(), static_cast<size_t>(op.bytes))
                      : side_.Pread(fd, data.data(), static_cast<size_t>(op.bytes), op.offset, op.parts);
  if (outcome.value < 0) return outcome;
  if (outcome.value > op.bytes || data.find_first_not_of('\xee', static_cast<size_t>(op.bytes)) != std::string::npos) {
    return {-EBADMSG, "more than was asked for"};
  }
  outcome.text = data.substr(0, static_cast<size_t>(outcome.value));
  return outcome;
}

inline Outcome Runner::OnSlot(const Op& op) {
  if (op.kind == Kind::kOpen) return OpenSlot(op);
  const int fd = slot(op).fd;
  if (fd < 0) return {-EBADF, "no descriptor"};
  side_.Act(slot(op).actor);
  const std::string data =
      op.kind == Kind::kWrite || op.kind == Kind::kPwrite ? Pattern(op.id, static_cast<size_t>(op.bytes)) : "";
  switch (op.kind) {
    case Kind::kClose:
      slot(op) = {};
      return {side_.Close(fd)};
    case Kind::kRead:
    case Kind::kPread:
      return ReadSome(op, fd);
    case Kind::kWrite:
      return {side_.Write(fd, data.data(), data.size())};
    case Kind::kPwrite:
      return {side_.Pwrite(fd, data.data(), data.size(), op.offset, op.parts)};
    case Kind::kSeek:
      return {side_.Seek(fd, op.offset, op.flags)};
    case Kind::kFsync:
      return {side_.Fsync(fd)};
    case Kind::kFtruncate:
      return {side_.Truncate({"", true, fd}, op.offset)};
    case Kind::kFallocate:
      return {side_.Fallocate(fd, op.flags, op.offset, op.bytes)};
    default:
      return {-ENOSYS};
  }
}

inline Outcome Runner::GetXattr(const Target& target, const std::string& name, int64_t room) {
  std::string value(static_cast<size_t>(room), '\0');
  Outcome outcome;
  outcome.value = side_.GetXattr(target, name, value.data(), value.size());
  if (outcome.value > 0 && room > 0) outcome.text = value.substr(0, static_cast<size_t>(outcome.value));
  return outcome;
}

// The names sorted: their order is nobody's promise.
inline Outcome Runner::ListXattrs(const Target& target, int64_t room) {
  std::string list(static_cast<size_t>(room), '\0');
  Outcome outcome;
  outcome.value = side_.ListXattr(target, list.data(), list.size());
  std::set<std::string> names;
  for (int64_t at = 0; room > 0 && at < outcome.value;) {
    const std::string name = list.c_str() + at;
    names.insert(name);
    at += static_cast<int64_t>(name.size()) + 1;
  }
  for (const std::string& name : names) outcome.text += Quote(name) + " ";
  return outcome;
}

inline Outcome Runner::OnTarget(const Op& op) {
  Target target = {op.path, op.follow};
  if (op.by_slot) {
    if (slot(op).fd < 0) return {-EBADF, "no descriptor"};
    target.fd = slot(op).fd;
    side_.Act(slot(op).actor);
  }
  switch (op.kind) {
    case Kind::kStat: {
      Seen seen;
      seen.result = side_.Stat(target, &seen.st);
      return {seen.result, SeenText(seen)};
    }
    case Kind::kChmod:
      return {side_.Chmod(target, op.mode)};
    case Kind::kChown:
      return {side_.Chown(target, op.uid, op.gid)};
    case Kind::kUtimens:
      return {side_.Utimens(target, op.null_times ? nullptr : op.times)};
    case Kind::kGetXattr:
      return GetXattr(target, op.other, op.bytes);
    case Kind::kSetXattr:
      return {side_.SetXattr(target, op.other, op.value, op.flags)};
    case Kind::kListXattr:
      return ListXattrs(target, op.bytes);
    case Kind::kRemoveXattr:
      return {side_.RemoveXattr(target, op.other)};
    default:
      return {-ENOSYS};
  }
}

// Sorted by name; fails with EBADMSG if one comes twice.
inline Outcome Runner::List(const std::string& path, std::vector<Listed>* entries) {
  Outcome outcome;
  const std::unique_ptr<Stream> stream = side_.OpenDir(path, &outcome.value);
  if (stream == nullptr) return outcome;
  std::map<std::string, Listed> sorted;
  Listed entry;
  int dots = 0;
  while ((outcome.value = stream->Next(&entry)) == 1) {
    if (entry.name == "." || entry.name == "..") {
      ++dots;
      continue;
    }
    if (!sorted.emplace(entry.name, entry).second) return {-EBADMSG, "twice in one listing: " + Quote(entry.name)};
  }
  if (outcome.value == 0 && dots != 2) return {-EBADMSG, "not one . and one .."};
  for (auto& [name, listed] : sorted) entries->push_back(std::move(listed));
  return outcome;
}

inline Outcome Runner::OnPath(const Op& op) {
  switch (op.kind) {
    case Kind::kAccess:
      return {side_.Access(op.path, op.flags, op.follow)};
    case Kind::kTruncate:
      return {side_.Truncate({op.path}, op.offset)};
    case Kind::kUnlink:
      return {side_.Unlink(op.path)};
    case Kind::kMkdir:
      return {side_.Mkdir(op.path, op.mode)};
    case Kind::kRmdir:
      return {side_.Rmdir(op.path)};
    case Kind::kRename:
      return {side_.Rename(op.path, op.other, static_cast<unsigned>(op.flags))};
    case Kind::kLink:
      return {side_.Link(op.path, op.other)};
    case Kind::kSymlink:
      return {side_.Symlink(op.path, op.other)};
    case Kind::kCreate:
      return {side_.Create(op.path, op.flags, op.mode)};
    case Kind::kReadlink: {
      std::string target(static_cast<size_t>(op.bytes), '\0');
      const int64_t bytes = side_.Readlink(op.path, target.data(), target.size());
      return {bytes, Quote(target.substr(0, static_cast<size_t>(std::max<int64_t>(bytes, 0))))};
    }
    case Kind::kReaddir: {
      std::vector<Listed> entries;
      Outcome outcome = List(op.path, &entries);
      for (const Listed& entry : entries) outcome.text += Quote(entry.name) + " " + StatText(entry.attributes) + "\n";
      return outcome;
    }
    default:
      return {-ENOSYS};
  }
}

inline Outcome Runner::OnStream(const Op& op) {
  StreamSlot& at = stream(op.slot);
  if (op.kind == Kind::kDirOpen) {
    at = {};
    Outcome outcome;
    at.stream = side_.OpenDir(op.path, &outcome.value);
    return outcome;
  }
  if (at.stream == nullptr) return {-EBADF, "no stream"};
  if (op.kind == Kind::kDirClose) {
    at = {};
    return {};
  }
  if (op.kind == Kind::kDirSeek) {
    const size_t index = std::min(static_cast<size_t>(op.bytes), at.names.size());
    const Outcome outcome = {at.stream->Seek(index == 0 ? 0 : at.cookies[index - 1])};
    at.names.resize(index);
    at.cookies.resize(index);
    at.ended = false;
    return outcome;
  }
  for (int64_t i = 0; i < op.bytes && !at.ended; ++i) {
    Listed entry;
    const int64_t result = at.stream->Next(&entry);
    if (result == 0) at.ended = true;
    if (result == -ENOENT) continue;  // the reference asked for its attributes too late
    if (result < 0) return {result};
    if (result == 0) break;
    at.names.push_back(entry.name);
    at.cookies.push_back(entry.cookie);
  }
  return {};
}

inline std::vector<Seen> Runner::Observe(const Op& op) {
  std::vector<Seen> all;
  const auto look = [&](const std::string& what, const Target& target) {
    Seen seen;
    seen.what = what;
    seen.result = side_.Stat(target, &seen.st);
    all.push_back(seen);
    return seen.result == 0 && S_ISLNK(seen.st.st_mode);
  };
  const auto look_at_path = [&](const std::string& path) {
    if (look("lstat " + Quote(path), {path, false})) look("stat " + Quote(path), {path, true});
    look("stat " + Quote(ParentOf(path)), {ParentOf(path), true});
  };
  side_.Run([&] {
    side_.Act(op.observer);
    const bool by_slot = op.kind <= Kind::kFallocate || op.by_slot;
    if (by_slot && slot(op).fd >= 0) look("fstat fd" + std::to_string(op.slot), {"", true, slot(op).fd});
    if (op.kind == Kind::kOpen || (!by_slot && op.kind != Kind::kSymlink && op.kind <= Kind::kReaddir)) {
      look_at_path(op.path);
    }
    if (op.kind == Kind::kRename || op.kind == Kind::kLink || op.kind == Kind::kSymlink) look_at_path(op.other);
  });
  return all;
}

// The map of data and holes, and the bytes: all of a small file, the data of a large one.
inline std::string Runner::Content(int fd, bool readable) {
  struct stat st = {};
  if (const int64_t result = side_.Stat({"", true, fd}, &st); result < 0) return ErrnoText(result);
  if (!S_ISREG(st.st_mode)) return "";
  const int64_t position = side_.Seek(fd, 0, SEEK_CUR);
  std::string map = " position " + ErrnoText(position) + " data", bytes;
  const auto read = [&](int64_t from, int64_t to) {
    std::string piece(100'003, '\0');
    while (readable && from < to) {
      const size_t want = std::min(piece.size(), static_cast<size_t>(to - from));
      const int64_t got = side_.Pread(fd, piece.data(), want, from, 1);
      if (got <= 0) {
        bytes += "[read at " + std::to_string(from) + ": " + ErrnoText(got) + "]";
        return;
      }
      bytes.append(piece, 0, static_cast<size_t>(got));
      from += got;
    }
  };
  constexpr int64_t kSmall = 2 << 20;
  int64_t at = 0;
  for (int segments = 0; at < st.st_size && segments < 64; ++segments) {
    const int64_t data = side_.Seek(fd, at, SEEK_DATA);
    const int64_t hole = data < 0 ? data : side_.Seek(fd, data, SEEK_HOLE);
    map += " [" + ErrnoText(data) + "," + ErrnoText(hole) + ")";
    if (hole <= at) break;
    if (st.st_size > kSmall) read(data, hole);
    at = hole;
  }
  if (st.st_size <= kSmall) read(0, st.st_size);
  side_.Seek(fd, position, SEEK_SET);
  return map + "\n" + bytes;
}

inline std::string Runner::Extras(const Target& target) {
  std::string text;
  char list[8192];
  const int64_t bytes = side_.ListXattr(target, list, sizeof list);
  std::set<std::string> names;
  for (int64_t at = 0; at < bytes; at += static_cast<int64_t>(std::strlen(list + at)) + 1) names.insert(list + at);
  if (bytes < 0) text += " listxattr " + ErrnoText(bytes);
  for (const std::string& name : names) {
    const Outcome value = GetXattr(target, name, 65536);
    text += " " + Quote(name) + "=" + ErrnoText(value.value) + Quote(value.text);
  }
  return text;
}

inline void Runner::Walk(const std::string& dir, Tree* tree) {
  std::vector<Listed> entries;
  const Outcome listed = List(dir, &entries);
  if (listed.value < 0) tree->lines.emplace_back(dir, "list: " + ErrnoText(listed.value) + " " + listed.text);
  for (const Listed& entry : entries) {
    const std::string path = dir + "/" + entry.name;
    Seen seen;
    seen.what = "lstat " + Quote(path);
    seen.result = side_.Stat({path, false}, &seen.st);
    std::string text = seen.result < 0 ? ErrnoText(seen.result) : StatText(seen.st);
    if (text != StatText(entry.attributes)) text += " (listed as " + StatText(entry.attributes) + ")";
    tree->seen.push_back(seen);
    text += Extras({path, false});
    if (S_ISLNK(entry.attributes.st_mode)) {
      char target[4097];
      const int64_t bytes = side_.Readlink(path, target, sizeof target);
      text += " -> " + (bytes < 0 ? ErrnoText(bytes) : Quote(std::string(target, static_cast<size_t>(bytes))));
    } else if (S_ISREG(entry.attributes.st_mode)) {
      const int64_t fd = side_.Open(path, O_RDONLY | O_NOFOLLOW, 0);
      text += fd < 0 ? " open: " + ErrnoText(fd) : Content(static_cast<int>(fd), true);
      if (fd >= 0) side_.Close(static_cast<int>(fd));
    }
    tree->lines.emplace_back(path, text);
    if (S_ISDIR(entry.attributes.st_mode)) Walk(path, tree);
  }
}

inline Tree Runner::ReadTree(int actor) {
  Tree tree;
  side_.Run([&] {
    side_.Act(actor);
    Seen root;
    root.what = "stat /";
    root.result = side_.Stat({"."}, &root.st);
    tree.seen.push_back(root);
    tree.lines.emplace_back(".", SeenText(root) + Extras({"."}));
    Walk(".", &tree);
    for (size_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i].fd < 0) continue;
      const int fd = slots_[i].fd;
      Seen seen;
      seen.what = "fstat fd" + std::to_string(i);
      seen.result = side_.Stat({"", true, fd}, &seen.st);
      char byte = 0;
      const bool readable = side_.Pread(fd, &byte, 1, 0, 1) >= 0;
      tree.seen.push_back(seen);
      tree.lines.emplace_back("fd" + std::to_string(i),
                              SeenText(seen) + (readable ? " readable" : "") + Content(fd, readable));
    }
  });
  return tree;
}

}  // namespace differential
