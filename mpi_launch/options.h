// What the user asked of mayflyd on the command line. A value; parsing it has no effect on the process.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "adapt/ucx/ucx_worker.h"
#include "base/log.h"
#include "server/durability.h"
#include "session/outcome.h"
#include "store/chunk_store.h"
#include "wire/types.h"

namespace mayfly {

struct ServerOptions {
  enum class MemberPer : uint8_t { kNode, kRank };

  MemberPer member_per = MemberPer::kNode;
  uint32_t shards = 1;        // of each rank
  uint64_t memory_bytes = 0;  // of each member; 0: a share of what is free
  std::string session = "mayfly-session.json";
  std::string flush_to;      // empty: nowhere
  double flush_by_s = 0;     // 0: no limit
  bool flush_at_end = true;  // when a signal ends the session
  Durability durability = Durability::kNone;
  Fsync fsync = Fsync::kCommit;
  std::string dir;              // as given; empty: in memory
  uint64_t capacity_bytes = 0;  // of each member's data in `dir`; 0: at level `node` what suits, else none
  ChunkStore::Evict evict = ChunkStore::Evict::kLru;
  uint64_t journal_bytes = 0;  // of a shard; 0: what suits
  Nanos commit_interval = 0;   // of a shard's journal; 0: a group is committed when somebody waits for it
  bool recover = false;
  bool degraded = false;  // with recover: although members are missing, and only to read
  bool dry_run = false;   // with recover: says what there is
  bool rejoin = false;
  bool supervise = false;
  std::optional<MemberId> rejoin_member;  // empty: any that is dead here
  uint8_t chunk_bits = kChunkBitsDefault;
  bool checksums = true;
  uint32_t weight = 1;
  UcxOptions ucx;
  LogLevel log_level = LogLevel::kInfo;
  bool log_level_given = false;
  uint32_t start_timeout_s = 120;

  // What must be equal on all ranks, an option a line; memory and weight may differ from node to node.
  std::string Common() const;
};

struct CommandLine {
  ServerOptions options;
  std::string print;  // --help and --version: print this and end well
  std::string wrong;  // the sentence, if the command line cannot be understood
};

CommandLine ParseCommandLine(int argc, char** argv);

// As on the command line.
constexpr std::string_view TextOf(ChunkStore::Evict policy) {
  return policy == ChunkStore::Evict::kLfu ? "lfu" : "lru";
}
// Of one of the words.
constexpr ChunkStore::Evict EvictOf(std::string_view word) {
  return word == "lfu" ? ChunkStore::Evict::kLfu : ChunkStore::Evict::kLru;
}

// "500us", "10ms", "1.5s". Fails with kInvalid.
Outcome<Nanos> ParseTime(std::string_view text);
// "512M", "1G", "1.5GiB", "65536". Fails with kInvalid.
Outcome<uint64_t> ParseSize(std::string_view text);
// "1.5 GiB".
std::string SizeText(uint64_t bytes);

}  // namespace mayfly
