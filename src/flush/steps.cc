#include "flush/steps.h"

#include <fmt/format.h>

#include <algorithm>

#include "flush/text.h"

namespace mayfly::flush_internal {
namespace {

PfsStatus Failure(Code code, std::string why) {
  PfsStatus status;
  status.code = code;
  status.why = std::move(why);
  return status;
}

// A failure of the door, with the name the user knows in front.
PfsStatus For(const std::string& name, PfsStatus status) {
  if (!status.ok()) status.why = fmt::format("{}: {}", name, status.why);
  return status;
}

// The owner part that `refused` leaves: without the right owner there are no set-id bits.
constexpr uint16_t kSetIds = 06000;

bool IsRefusal(Code code, bool xattr) {
  switch (code) {
    case Code::kPermission:
    case Code::kNotSupported:
    case Code::kInvalid:
      return true;
    case Code::kAccess:
    case Code::kTooBig:
    case Code::kRange:
    case Code::kNoSpace:  // ext4 says so when an inode has no room for more xattrs
      return xattr;
    default:
      return false;
  }
}

// True when owner and group are as wanted.
bool ApplyOwner(uint32_t have_uid, uint32_t have_gid, const Attributes& want, Refusals* refusals, PfsStatus* failure,
                const std::function<PfsStatus(uint32_t uid, uint32_t gid)>& set) {
  if (have_uid == want.uid && have_gid == want.gid) return true;
  PfsStatus both = set(want.uid, want.gid);
  if (both.ok()) return true;
  if (!IsRefusal(both.code, false)) {
    *failure = std::move(both);
    return false;
  }
  // A user may not give files away, but may give them to one of the own groups.
  if (have_gid != want.gid && have_uid != want.uid) (void)set(kKeepOwner, want.gid);
  both.why = fmt::format("owner {}:{} refused: {}", want.uid, want.gid, both.why);
  refusals->Add(std::move(both));
  return false;
}

}  // namespace

void Refusals::Add(PfsStatus status) {
  constexpr size_t kSentencesMax = 8;
  ++count;
  if (sentences.size() < kSentencesMax) sentences.push_back(std::move(status.why));
}

std::string WhyLost(Code code, uint64_t from) {
  if (code == Code::kCorrupt) return fmt::format("its bytes, from {} on, do not match their checksum", from);
  return fmt::format("its bytes, from {} on, cannot be read: {}", from, TextOf(code));
}

PfsStatus WriteStretches(PfsFile& file, const std::vector<Stretch>& stretches, ReadBackParts* parts) {
  for (const Stretch& stretch : stretches) {
    uint64_t at = 0;
    const auto add = [&](uint32_t bytes, uint64_t sum) {
      ReadBackPart part;
      part.offset = stretch.offset + at;
      part.bytes = bytes;
      part.sum = sum;
      parts->push_back(part);
      at += bytes;
    };
    for (const SumPart& known : stretch.sums) {
      if (Checksum(stretch.data.subspan(at, known.bytes)) != known.sum) {
        return Failure(Code::kCorrupt, WhyLost(Code::kCorrupt, stretch.offset + at));
      }
      add(known.bytes, known.sum);
    }
    while (at < stretch.data.size()) {
      const auto bytes = static_cast<uint32_t>(std::min<uint64_t>(kChecksumBlockBytes, stretch.data.size() - at));
      add(bytes, Checksum(stretch.data.subspan(at, bytes)));
    }
    if (PfsStatus status = file.WriteAt(stretch.data, stretch.offset); !status.ok()) return status;
  }
  return {};
}

PfsStatus ReadBack(PfsFile& file, const ReadBackParts& parts) {
  constexpr uint64_t kReadBytes = 1u << 20;
  std::vector<uint8_t> buffer(kReadBytes);
  for (size_t first = 0; first < parts.size();) {
    size_t behind = first;
    uint64_t bytes = 0;
    while (behind < parts.size() && parts[behind].offset == parts[first].offset + bytes &&
           bytes + parts[behind].bytes <= kReadBytes) {
      bytes += parts[behind++].bytes;
    }
    const MutableBytes read = MutableBytes(buffer).subspan(0, bytes);
    if (PfsStatus status = file.ReadAt(read, parts[first].offset); !status.ok()) return status;
    for (uint64_t at = 0; first < behind; at += parts[first++].bytes) {
      if (Checksum(read.subspan(at, parts[first].bytes)) == parts[first].sum) continue;
      return Failure(Code::kIo,
                     fmt::format("the file system gives back other bytes than were written, from {} on; flush again, "
                                 "and if it stays tell its administrators",
                                 parts[first].offset));
    }
  }
  return {};
}

PfsStatus ApplyAttributes(PfsFile& file, const Attributes& attributes, Refusals* refusals) {
  PfsAttr now;
  if (PfsStatus status = file.Stat(&now); !status.ok()) return status;
  PfsStatus failure;
  const bool owned = ApplyOwner(now.uid, now.gid, attributes, refusals, &failure,
                                [&](uint32_t uid, uint32_t gid) { return file.SetOwner(uid, gid); });
  if (!failure.ok()) return failure;
  for (const auto& [name, value] : attributes.xattrs) {
    PfsStatus status = file.SetXattr(name, value);
    if (status.ok()) continue;
    if (!IsRefusal(status.code, true)) return status;
    refusals->Add(std::move(status));
  }
  const uint16_t permissions = owned ? attributes.permissions : attributes.permissions & ~kSetIds;
  for (const bool mode : {true, false}) {
    PfsStatus status = mode ? file.SetMode(permissions) : file.SetTimes(attributes.atime, attributes.mtime);
    if (status.ok()) continue;
    if (!IsRefusal(status.code, false)) return status;
    refusals->Add(std::move(status));
  }
  return {};
}

Finished FinishFile(PfsFile& file, uint64_t size, const Attributes& attributes, const std::string& name) {
  Finished finished;
  const auto run = [&]() -> PfsStatus {
    if (PfsStatus status = file.Truncate(size); !status.ok()) return status;
    if (PfsStatus status = ApplyAttributes(file, attributes, &finished.refusals); !status.ok()) return status;
    if (PfsStatus status = file.Sync(); !status.ok()) return status;
    if (PfsStatus status = file.Stat(&finished.attr); !status.ok()) return status;
    if (finished.attr.size == size) return {};
    return Failure(Code::kIo, fmt::format("the file system shows {} bytes instead of {}", finished.attr.size, size));
  };
  finished.status = For(name, run());
  return finished;
}

Finished WriteSmallFile(PfsRoot& root, const std::string& temporary, const std::string& name,
                        const std::vector<Stretch>& stretches, uint64_t size, const Attributes& attributes) {
  Finished finished;
  std::unique_ptr<PfsFile> file;
  finished.status = For(name, root.CreateFile(temporary, &file));
  if (!finished.status.ok()) return finished;
  ReadBackParts parts;
  finished.status = For(name, WriteStretches(*file, stretches, &parts));
  if (finished.status.ok()) finished = FinishFile(*file, size, attributes, name);
  if (finished.status.ok()) {
    file->DropCache(0, 0);
    finished.status = For(name, ReadBack(*file, parts));
  }
  file.reset();
  if (!finished.status.ok()) (void)root.Unlink(temporary);
  return finished;
}

Finished MakeSymlink(PfsRoot& root, const std::string& temporary, const std::string& path, const std::string& target,
                     const Attributes& attributes) {
  Finished finished;
  finished.status = For(path, root.Symlink(target, temporary));
  if (!finished.status.ok()) return finished;
  const auto run = [&]() -> PfsStatus {
    PfsAttr now;
    if (PfsStatus status = root.Stat(temporary, &now); !status.ok()) return status;
    PfsStatus failure;
    (void)ApplyOwner(now.uid, now.gid, attributes, &finished.refusals, &failure,
                     [&](uint32_t uid, uint32_t gid) { return root.SetSymlinkOwner(temporary, uid, gid); });
    if (!failure.ok()) return failure;
    PfsStatus times = root.SetSymlinkTimes(temporary, attributes.atime, attributes.mtime);
    if (!times.ok()) {
      if (!IsRefusal(times.code, false)) return times;
      finished.refusals.Add(std::move(times));
    }
    for (const auto& [name, value] : attributes.xattrs) {
      finished.refusals.Add(
          Failure(Code::kNotSupported,
                  fmt::format("{}: the extended attribute {} of a symbolic link is not kept", path, name)));
    }
    return root.Stat(temporary, &finished.attr);
  };
  finished.status = For(path, run());
  if (!finished.status.ok()) (void)root.Unlink(temporary);
  return finished;
}

Finished FinishDirectory(PfsRoot& root, const std::string& path, const Attributes& attributes) {
  Finished finished;
  const std::string name = path.empty() ? "the target" : path;
  std::unique_ptr<PfsFile> directory;
  finished.status = For(name, root.OpenDirectory(path, &directory));
  if (!finished.status.ok()) return finished;
  finished.status = For(name, ApplyAttributes(*directory, attributes, &finished.refusals));
  if (finished.status.ok()) finished.status = For(name, directory->Sync());
  return finished;
}

PfsStatus PutInPlace(PfsRoot& root, const std::string& temporary, const std::string& path, bool sync) {
  PfsStatus status = root.Rename(temporary, path);
  if (!status.ok()) {
    (void)root.Unlink(temporary);
    return For(path, std::move(status));
  }
  return sync ? For(path, SyncDirectory(root, std::string(DirectoryOf(path)))) : PfsStatus();
}

PfsStatus SyncDirectory(PfsRoot& root, const std::string& path) {
  std::unique_ptr<PfsFile> directory;
  if (PfsStatus status = root.OpenDirectory(path, &directory); !status.ok()) return status;
  return directory->Sync();
}

LinkOutcome LinkName(PfsRoot& root, const std::string& from, uint64_t size, Nanos mtime, const std::string& temporary,
                     const std::string& path) {
  LinkOutcome outcome;
  PfsAttr first, there;
  if (!root.Stat(from, &first).ok() || first.size != size || first.mtime != mtime) return outcome;
  if (root.Stat(path, &there).ok() && there.device == first.device && there.number == first.number) {
    outcome.linked = Linked::kThere;
    return outcome;
  }
  PfsStatus status = root.Link(from, temporary);
  if (!status.ok()) {
    switch (status.code) {
      case Code::kPermission:
      case Code::kNotSupported:
      case Code::kTooManyLinks:
      case Code::kCrossDevice:
        outcome.refused = true;
        break;
      default:
        outcome.status = For(path, std::move(status));
    }
    return outcome;
  }
  status = root.Rename(temporary, path);
  // Had both been names of one file already, the temporary name would still be there.
  (void)root.Unlink(temporary);
  outcome.status = For(path, std::move(status));
  if (outcome.status.ok()) outcome.linked = Linked::kMade;
  return outcome;
}

namespace {

struct Temporary {
  std::string path;
  uint64_t job = 0;
  InodeId inode;
};
std::vector<Temporary> TemporariesIn(PfsRoot& root, const std::string& directory) {
  std::vector<Temporary> found;
  (void)root.List(directory, [&](std::string_view name) {
    Temporary one;
    if (!IsTemporaryName(name, &one.job, &one.inode)) return;
    one.path = JoinPath(directory, name);
    found.push_back(std::move(one));
  });
  return found;
}

}  // namespace

void RemoveTemporaries(PfsRoot& root, const std::string& directory, const std::vector<uint64_t>& jobs, Nanos before) {
  for (const Temporary& one : TemporariesIn(root, directory)) {
    const bool ours = std::find(jobs.begin(), jobs.end(), one.job) != jobs.end();
    PfsAttr attr;
    if (ours || (root.Stat(one.path, &attr).ok() && attr.ctime < before)) (void)root.Unlink(one.path);
  }
}

void RemoveTemporariesOf(PfsRoot& root, const std::string& directory, uint64_t job, ShardId home) {
  for (const Temporary& one : TemporariesIn(root, directory)) {
    if (one.job == job && one.inode.home() == home) (void)root.Unlink(one.path);
  }
}

}  // namespace mayfly::flush_internal
