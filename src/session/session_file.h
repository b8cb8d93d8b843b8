// The session file: what a client must know before its first message. JSON, because users look at it and scripts read
// it; 0600, because it holds the secret. Rank 0 writes it where the user said, every node has a copy in its runtime
// directory. Pure values and one-shot file operations: no state, any thread.
// Invariants  S1  a file that was read is complete: every field of SessionFile was in it, in range.
//             S2  state only moves forward: starting, ready, stopping.
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

enum class SessionState : uint8_t { kStarting, kReady, kStopping };
std::string_view TextOf(SessionState state);

struct SessionFile {
  static constexpr uint32_t kVersion = 1;                     // of this format
  static constexpr uint64_t kBytesMax = 32ull * 1024 * 1024;  // 65,534 hosts of 255 bytes, and their JSON

  Uuid uuid{};
  SessionSecret secret{};
  uint32_t protocol = 0;  // of the wire
  SessionState state = SessionState::kStarting;
  bool durable = false;     // servers that were killed can be started again with what they held
  bool syncs = false;       // and clients are to ask for what they sync or close to be on the disks
  bool degraded = false;    // a member is missing: it can be read, and nobody joins it
  std::string job;          // as the scheduler calls it; empty if there is none
  uint32_t uid = 0;         // of the servers
  uint64_t created_ns = 0;  // since 1970
  RingOptions ring;
  uint32_t member_count = 0;
  uint32_t shard_count = 0;
  std::string map_path;            // of the node map, the same on every node
  std::vector<std::string> hosts;  // of the members, each once, in the order of member ids

  friend bool operator==(const SessionFile&, const SessionFile&) = default;
};

// The protocol versions that this program speaks.
struct ProtocolRange {
  uint32_t min = 0;
  uint32_t max = 0;
};

// Each host of the layout once, in the order of member ids.
std::vector<std::string> HostsOf(const Layout& layout);

// Fails with kInvalid if a text is not UTF-8 (JSON could not carry it).
Outcome<std::string> EncodeSessionFile(const SessionFile& file);
// `path` is for the sentences. Fails with kCorrupt if the text is damaged, kNotSupported if a newer Mayfly wrote it or
// its protocol is out of range.
Outcome<SessionFile> ParseSessionFile(std::string_view text, std::string_view path, ProtocolRange protocol);

Outcome<Done> WriteSessionFile(const std::string& path, const SessionFile& file);
// Also fails with kAccess unless `uid` owns the file, alone can read it, and is the uid that is written in it.
Outcome<SessionFile> ReadSessionFile(const std::string& path, uint32_t uid, ProtocolRange protocol);

}  // namespace mayfly
