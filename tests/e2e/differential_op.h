// One operation of a random sequence, complete in itself: any subset of a sequence can be run again, which is what
// shrinking does. Paths are bytes; a descriptor is named by its slot.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <string>
#include <utility>
#include <vector>

namespace differential {

enum class Kind : uint8_t {
  // by slot
  kOpen,
  kClose,
  kRead,
  kWrite,
  kPread,
  kPwrite,
  kSeek,
  kFsync,
  kFtruncate,
  kFallocate,
  // by target: a slot, or a path with its last symlink followed or not
  kStat,
  kChmod,
  kChown,
  kUtimens,
  kGetXattr,
  kSetXattr,
  kListXattr,
  kRemoveXattr,
  // by path
  kAccess,
  kTruncate,
  kUnlink,
  kMkdir,
  kRmdir,
  kRename,
  kLink,
  kSymlink,
  kReadlink,
  kCreate,  // open(O_CREAT) and close
  kReaddir,
  // directory streams, by slot
  kDirOpen,
  kDirStep,
  kDirSeek,
  kDirClose,
  // the whole tree and every descriptor
  kCompare,
};
inline const char* NameOf(Kind kind) {
  static const char* const names[] = {
      "open",      "close",    "read",    "write",   "pread",   "pwrite",   "lseek",    "fsync",     "ftruncate",
      "fallocate", "stat",     "chmod",   "chown",   "utimens", "getxattr", "setxattr", "listxattr", "removexattr",
      "access",    "truncate", "unlink",  "mkdir",   "rmdir",   "rename",   "link",     "symlink",   "readlink",
      "create",    "readdir",  "diropen", "dirstep", "dirseek", "dirclose", "compare"};
  return names[static_cast<int>(kind)];
}

constexpr int kSlots = 6;     // descriptors
constexpr int kDirSlots = 2;  // directory streams

struct Op {
  Kind kind = Kind::kCompare;
  uint32_t id = 0;     // position in the sequence; makes the bytes that it writes
  int actor = 0;       // which client, and whose rights; slots keep the one that opened them
  int observer = 0;    // the actor that looks afterwards
  bool quiet = false;  // nobody looks afterwards
  bool batch = false;  // through the batch interface, where there is one
  bool by_slot = false;
  bool follow = true;
  int slot = 0;
  int flags = 0;  // of open, access (the mode), rename, lseek (whence), fallocate (the mode), setxattr
  unsigned mode = 0;
  uint32_t uid = 0, gid = 0;
  int64_t offset = 0, bytes = 0;
  int parts = 1;  // of a vectored read or write
  timespec times[2] = {};
  bool null_times = false;
  std::string path, other;  // `other`: the second path, a symlink's target, an xattr's name
  std::string value;        // of an xattr
};

inline std::string Quote(const std::string& bytes) {
  if (bytes.size() > 300) {
    return Quote(bytes.substr(0, 24)) + "..." + Quote(bytes.substr(bytes.size() - 24)) + "[" +
           std::to_string(bytes.size()) + "]";
  }
  std::string out = "\"";
  for (const unsigned char c : bytes) {
    char hex[8];
    if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
      out += static_cast<char>(c);
    } else {
      std::snprintf(hex, sizeof hex, "\\x%02x", c);
      out += hex;
    }
  }
  return out + "\"";
}

inline std::string OpenFlagsText(int flags) {
  static const std::pair<int, const char*> names[] = {{O_CREAT, "CREAT"},         {O_EXCL, "EXCL"},
                                                      {O_TRUNC, "TRUNC"},         {O_APPEND, "APPEND"},
                                                      {O_DIRECTORY, "DIRECTORY"}, {O_NOFOLLOW, "NOFOLLOW"}};
  std::string text = (flags & O_ACCMODE) == O_RDONLY ? "RDONLY" : (flags & O_ACCMODE) == O_WRONLY ? "WRONLY" : "RDWR";
  for (const auto& [bit, name] : names) {
    if ((flags & bit) != 0) text += std::string("|") + name;
  }
  return text;
}

inline std::string TimeText(const timespec& t) {
  if (t.tv_nsec == UTIME_NOW) return "now";
  if (t.tv_nsec == UTIME_OMIT) return "omit";
  return std::to_string(t.tv_sec) + "." + std::to_string(t.tv_nsec);
}

inline std::string TargetText(const Op& op) {
  if (op.by_slot) return "fd" + std::to_string(op.slot);
  return Quote(op.path) + (op.follow ? "" : " nofollow");
}

inline std::string Arguments(const Op& op) {
  char octal[16];
  std::snprintf(octal, sizeof octal, "%04o", op.mode);
  const std::string fd = "fd" + std::to_string(op.slot), dir = "dir" + std::to_string(op.slot);
  const std::string bytes = std::to_string(op.bytes), at = " at " + std::to_string(op.offset);
  const std::string parts = op.parts > 1 ? " in " + std::to_string(op.parts) + " parts" : "";
  const std::string flags = std::to_string(op.flags);
  switch (op.kind) {
    case Kind::kOpen:
      return fd + " " + Quote(op.path) + " " + OpenFlagsText(op.flags) + " " + octal;
    case Kind::kClose:
    case Kind::kFsync:
      return fd;
    case Kind::kRead:
    case Kind::kWrite:
      return fd + " " + bytes;
    case Kind::kPread:
    case Kind::kPwrite:
      return fd + " " + bytes + at + parts;
    case Kind::kSeek:
      return fd + at + " whence " + flags;
    case Kind::kFtruncate:
      return fd + at;
    case Kind::kFallocate:
      return fd + " mode " + flags + " " + bytes + at;
    case Kind::kStat:
    case Kind::kListXattr:
      return TargetText(op) + (op.kind == Kind::kListXattr ? " room " + bytes : "");
    case Kind::kChmod:
      return TargetText(op) + " " + octal;
    case Kind::kChown:
      return TargetText(op) + " " + std::to_string(int32_t(op.uid)) + ":" + std::to_string(int32_t(op.gid));
    case Kind::kUtimens:
      return TargetText(op) + (op.null_times ? " null" : " " + TimeText(op.times[0]) + " " + TimeText(op.times[1]));
    case Kind::kGetXattr:
      return TargetText(op) + " " + Quote(op.other) + " room " + bytes;
    case Kind::kSetXattr:
      return TargetText(op) + " " + Quote(op.other) + " = " + Quote(op.value) + " flags " + flags;
    case Kind::kRemoveXattr:
      return TargetText(op) + " " + Quote(op.other);
    case Kind::kAccess:
      return TargetText(op) + " mode " + flags;
    case Kind::kTruncate:
      return Quote(op.path) + at;
    case Kind::kUnlink:
    case Kind::kRmdir:
    case Kind::kReaddir:
      return Quote(op.path);
    case Kind::kMkdir:
      return Quote(op.path) + " " + octal;
    case Kind::kCreate:
      return Quote(op.path) + " " + octal + ((op.flags & O_EXCL) != 0 ? " EXCL" : "");
    case Kind::kRename:
      return Quote(op.path) + " -> " + Quote(op.other) + " flags " + flags;
    case Kind::kLink:
      return Quote(op.path) + " <- " + Quote(op.other);
    case Kind::kSymlink:
      return Quote(op.other) + " -> " + Quote(op.path);
    case Kind::kReadlink:
      return Quote(op.path) + " room " + bytes;
    case Kind::kDirOpen:
      return dir + " " + Quote(op.path);
    case Kind::kDirStep:
    case Kind::kDirSeek:
      return dir + " " + bytes;
    case Kind::kDirClose:
      return dir;
    case Kind::kCompare:
      return "";
  }
  return "";
}

inline std::string Describe(const Op& op) {
  return "#" + std::to_string(op.id) + " client" + std::to_string(op.actor) + " " + NameOf(op.kind) + " " +
         Arguments(op) + (op.batch ? " (batch)" : "") + (op.quiet ? " (quiet)" : "");
}

// What a call returned: its value, or -errno; and what it gave besides, made comparable.
struct Outcome {
  int64_t value = 0;
  std::string text;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

inline std::string ErrnoText(int64_t value) {
  if (value >= 0) return std::to_string(value);
  const char* name = strerrorname_np(static_cast<int>(-value));
  return name != nullptr ? name : std::to_string(value);
}

// The bytes that operation `id` writes: never zero, so that they differ from a hole.
inline std::string Pattern(uint32_t id, size_t bytes) {
  std::string data(bytes, '\0');
  for (size_t i = 0; i < bytes; ++i) data[i] = static_cast<char>(1 + (id * 37 + i * 11 + (i >> 8) * 5) % 255);
  return data;
}

}  // namespace differential
