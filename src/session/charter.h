// The charter of a session: what its first start fixed and a start after a crash needs again, beside what the journals
// hold. Every member keeps a copy in its storage directory, in the file `charter` (JSON, 0600, because it holds the
// secrets), with the number of the member whose directory it is.
// Invariants  C1  a charter that was read is complete and in range, and its members make a layout.
//             C2  it is written once, before the session is ready, and never changed.
// Fields: share/doc/format/session.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ring/layout.h"
#include "ring/ring.h"
#include "session/outcome.h"
#include "session/uuid.h"

namespace mayfly {

struct Charter {
  static constexpr uint32_t kVersion = 1;                     // of this format
  static constexpr uint64_t kBytesMax = 64ull * 1024 * 1024;  // 65,534 members with long names, and their JSON
  static constexpr std::string_view kFileName = "charter";

  Uuid uuid{};
  SessionSecret secret{}, server_secret{};
  uint32_t uid = 0;         // of the servers
  uint64_t created_ns = 0;  // since 1970
  std::string job;
  RingOptions ring;
  bool member_per_rank = false;
  uint32_t chunk_bits = 0;
  bool checksums = true;
  std::string durability, fsync;    // as on the command line
  uint64_t journal_bytes = 0;       // of a shard
  uint64_t commit_interval_ns = 0;  // of its journal
  std::string flush_to;             // empty: nowhere
  uint64_t memory_bytes = 0;        // of the member whose directory this is
  uint64_t capacity_bytes = 0;      // of its chunk files; 0: there are none
  std::string evict;                // as on the command line
  std::vector<Member> members;
  MemberId self;

  friend bool operator==(const Charter& a, const Charter& b) = default;
};

Outcome<std::string> EncodeCharter(const Charter& charter);
// `path` is for the sentences. kCorrupt if it is damaged, kNotSupported if a newer Mayfly wrote it.
Outcome<Charter> ParseCharter(std::string_view text, std::string_view path);

// In the storage directory of a member.
Outcome<Done> WriteCharter(const std::string& directory, const Charter& charter);
// kNoEntry if there is none; kAccess unless `uid` owns it and alone can read it.
Outcome<Charter> ReadCharter(const std::string& directory, uint32_t uid);

}  // namespace mayfly
