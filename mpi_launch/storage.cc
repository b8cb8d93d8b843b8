#include "storage.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "base/log.h"
#include "device/device.h"
#include "journal/recover.h"
#include "session/private_file.h"
#include "session/storage_tree.h"

namespace mayfly {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kJournalInMemoryMin = 4 * kMiB, kJournalInMemoryMax = 64 * kMiB, kJournalOnDisk = 256 * kMiB;
constexpr uint64_t kWindowMin = kMiB, kWindowMax = 4 * kMiB;

// A device holds one session at a time: what of another one is there would be in the way of its own return.
Outcome<Done> ClaimDevice(const DevicePath& where) {
  Device device;
  DeviceFailure failure = device.Open(where.device, false);
  if (failure.ok()) failure = device.Claim();
  if (!failure.ok()) return Fail(failure.code, "cannot keep data in {}: {}", where.device, failure.sentence);
  const Result<DeviceTable> table = device.Load();
  if (!table.ok()) return Fail(table.code(), "cannot keep data in {}: {}", where.device, TextOf(table.code()));
  for (const DeviceFile& file : table->files) {
    if (file.name.starts_with(where.name + "/")) continue;
    return Fail(Code::kExists,
                "cannot keep data in {}: {} is there; bring that session back with --recover, or give it up with "
                "`mayfly journal clear {}`",
                where.device, file.name.substr(0, file.name.find('/')), where.device);
  }
  return Done{};
}

bool IsNameByte(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

}  // namespace

Outcome<std::string> ExpandDirectory(const std::string& pattern, const std::string& host, uint32_t rank) {
  if (pattern.empty()) return std::string();
  std::string out;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '%' && i + 1 < pattern.size()) {
      const char what = pattern[++i];
      if (what == 'h') {
        out += host;
      } else if (what == 'r') {
        out += std::to_string(rank);
      } else if (what == '%') {
        out += '%';
      } else {
        return Fail(Code::kInvalid, "--dir {}: %{} means nothing; %h is the host, %r the rank, %% a %", pattern, what);
      }
    } else if (c == '$') {
      const bool braces = i + 1 < pattern.size() && pattern[i + 1] == '{';
      size_t end = i + 1 + (braces ? 1 : 0);
      const size_t begin = end;
      while (end < pattern.size() && IsNameByte(pattern[end])) ++end;
      const std::string name = pattern.substr(begin, end - begin);
      const char* value = name.empty() ? nullptr : std::getenv(name.c_str());
      if (value == nullptr || *value == 0 || (braces && (end == pattern.size() || pattern[end] != '}'))) {
        return Fail(Code::kInvalid, "--dir {}: the variable {} is not set on {}; set it, or give a plain path", pattern,
                    name, host);
      }
      out += value;
      i = braces ? end : end - 1;
    } else {
      out += c;
    }
  }
  std::error_code error;
  return fs::absolute(out, error).lexically_normal().string();
}

bool HasRank(const std::string& pattern) {
  for (size_t i = 0; i + 1 < pattern.size(); ++i) {
    if (pattern[i] == '%' && pattern[++i] == 'r') return true;
  }
  return false;
}

bool InUse(const std::string& base, const Charter& member) {
  const ShardId first = FirstShardOf(member);
  for (uint32_t i = 0; i < member.members[member.self.value].shards; ++i) {
    const std::string path = ShardStorage(base, member.self, ShardId(first.value + i)) + "/";
    if (IsStorageFileInUse(path + std::string(kJournalFileName))) return true;
  }
  return false;
}

ShardId FirstShardOf(const Charter& member) {
  uint32_t first = 0;
  for (uint32_t m = 0; m < member.self.value; ++m) first += member.members[m].shards;
  return ShardId(first);
}

Outcome<Done> MakeStorage(const std::string& base, MemberId member, const std::vector<ShardId>& shards) {
  if (const auto where = SplitDevicePath(base)) return ClaimDevice(*where);
  const fs::path place = fs::path(base).parent_path();
  std::error_code ignored;
  // Who may write there would get a directory in memory for a device that is not there.
  if (place.parent_path() == "/dev" && !fs::exists(place, ignored)) {
    return Fail(Code::kNoEntry, "cannot keep data in {}: there is no such device; name another with --dir",
                place.string());
  }
  for (ShardId shard : shards) {
    const std::string path = ShardStorage(base, member, shard);
    // What is ours is closed to others; what is above --dir is as the user wants it.
    const mode_t mask = umask(077);
    std::error_code error;
    fs::create_directories(path, error);
    umask(mask);
    if (error) return FailErrno(error.value(), "create", "directory", path);
  }
  return Done{};
}

void RemoveStorage(const std::string& base, MemberId member) {
  const Outcome<uint64_t> removed = RemoveStorageTree(MemberStorage(base, member));
  if (!removed.ok()) MAYFLY_WARN("{}", removed.failure().sentence);
  rmdir(base.c_str());  // when it is empty
}

uint64_t JournalBytes(uint64_t asked, uint64_t memory_bytes, bool in_memory) {
  if (asked != 0) return asked;
  if (!in_memory) return kJournalOnDisk;
  return std::clamp(memory_bytes / 16 / kMiB * kMiB, kJournalInMemoryMin, kJournalInMemoryMax);
}

uint64_t WindowBytes(uint64_t journal_bytes) {
  return std::clamp(journal_bytes / 4 / kMiB * kMiB, kWindowMin, kWindowMax);
}

}  // namespace mayfly
