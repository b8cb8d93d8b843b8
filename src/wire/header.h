// What stands before every message, and the keyed tag that makes it trusted. Layout in share/doc/format/wire.md.
//   hello:    prefix + Hello, under the session's hello key
//   welcome:  prefix + Welcome, under the connection's key: it proves that it answers this very hello
//   request:  prefix + RequestHeader + body      reply: prefix + ReplyHeader + body      working: prefix
//   trace:    prefix + TraceNote ...
// Invariants  H1  the first 8 bytes of a header are SipHash-2-4 of all the others under the message's key; no more than
//                 what finds the key is looked at before it was verified.
//             H2  a reply names the caller's {slot, generation} and its connection; a late one finds another generation
//                 or another connection there and is dropped.
#pragma once

#include <algorithm>
#include <array>

#include "base/coding.h"
#include "wire/messages.h"

namespace mayfly {

constexpr uint16_t kWireMagic = 0x464d;  // "MF"
constexpr uint8_t kWireVersion = 1;

enum class MessageKind : uint8_t { kHello = 1, kWelcome = 2, kRequest = 3, kReply = 4, kWorking = 5, kTrace = 6 };
constexpr bool IsKnown(MessageKind k) { return k >= MessageKind::kHello && k <= MessageKind::kTrace; }

struct Prefix {
  uint64_t tag = 0;  // first, so that what it covers is one piece
  uint16_t magic = kWireMagic;
  uint8_t version = kWireVersion;
  MessageKind kind = MessageKind::kRequest;
  uint32_t view = 0;
  uint64_t connection = 0;  // as the welcome named it; 0 in a hello and a welcome
  uint32_t slot = 0;        // of the caller's call, H2; in a hello and its welcome: the shard it is for
  uint32_t generation = 0;  // of the slot; in a hello and its welcome: the attempt, counted up by the lane
  static constexpr size_t kBytes = 32;
  static constexpr size_t kTagBytes = 8;
  template <class Io>
  void Fields(Io& io) {
    io(tag, magic, version, kind, view, connection, slot, generation);
  }
};

struct RequestHeader {
  Method method = Method::kPing;
  uint16_t attempt = 0;       // 0: the first time that this call is sent
  uint32_t time_left_ms = 0;  // the caller gives up then: do not execute afterwards
  uint64_t sequence = 0;      // of a request that executes once, see Sequence; else 0
  Generation walked_at;       // namespace generation when the path walk began; 0: by handle
  static constexpr size_t kBytes = 24;
  template <class Io>
  void Fields(Io& io) {
    io(method, attempt, time_left_ms, sequence, walked_at);
  }
};

// The number of a request that executes once: count:48 | place:16. A lane has at most one call in a place and counts up
// over all of them, so a higher count in a place tells that the earlier call there has ended: its answer can be
// forgotten. The same number again is the same call again.
struct Sequence {
  static constexpr uint32_t kPlaceBits = 16;
  static constexpr uint32_t kPlacesMax = 1024;  // calls of one lane to one shard that may be unanswered at a time
  static constexpr uint64_t Make(uint64_t count, uint32_t place) { return (count << kPlaceBits) | place; }
  static constexpr uint32_t PlaceOf(uint64_t sequence) { return sequence & ((1u << kPlaceBits) - 1); }
  static constexpr uint64_t CountOf(uint64_t sequence) { return sequence >> kPlaceBits; }
};

struct ReplyHeader {
  Code code = Code::kOk;
  uint8_t flags = 0;  // a reader passes over those that it does not know
  uint16_t had_high = 0;
  uint32_t had_low = 0;
  Generation generation;  // of the namespace, as the shard knows it
  static constexpr size_t kBytes = 16;
  static constexpr uint8_t kTraced = 1;  // the shard traces requests, and had this one for had()
  template <class Io>
  void Fields(Io& io) {
    io(code, flags, had_high, had_low, generation);
  }
  bool traced() const { return (flags & kTraced) != 0; }
  Nanos had() const { return (Nanos{had_high} << 32) | had_low; }
  void SetTraced(Nanos had) {
    had = std::min(had, (Nanos{1} << 48) - 1);
    flags |= kTraced;
    had_high = static_cast<uint16_t>(had >> 32);
    had_low = static_cast<uint32_t>(had);
  }
};

using Secret = std::array<uint8_t, 32>;
using SessionUuid = std::array<uint8_t, 16>;
using Nonce = std::array<uint8_t, 16>;
// A SipHash key.
using TagKey = std::array<uint8_t, 16>;

// The key of hellos, from the session's secret (keyed BLAKE2b; the secret itself never travels).
TagKey HelloKey(const Secret& secret, const SessionUuid& uuid);
// The key of one connection. Both ends compute it from the secret and both nonces.
TagKey ConnectionKey(const Secret& secret, const SessionUuid& uuid, ClientId client, const Nonce& caller,
                     const Nonce& server);
// A key that only servers can make, from a secret that rank 0 gives to servers alone: peers prove themselves with it.
TagKey PeerProofKey(const Secret& server_secret);

// What grants are made and verified with: by servers alone, and alike by all of a session.
TagKey GrantKey(const Secret& server_secret);
// Of Grant::tag: SipHash over who may do what with which inode. No allocation.
uint64_t GrantTag(const TagKey& key, InodeId inode, ClientId process, uint32_t uid, uint8_t rights);

// Writes the tag into an encoded header of at least Prefix::kBytes.
void SealHeader(MutableBytes header, const TagKey& key);
// False unless the header carries the right tag. Constant time in the tag; copies nothing.
bool HeaderIsSealed(Bytes header, const TagKey& key);
uint64_t TagOf(Bytes bytes, const TagKey& key);

struct Hello {
  uint16_t protocol = kWireVersion;
  SessionUuid uuid{};
  ClientId client;   // random, of this lane; the duplicate table is kept by it
  ClientId process;  // shared by the lanes of one process: opens are registered under it
  Nonce nonce{};
  bool peer = false;   // a server shard: `proof` shows it
  ShardId shard;       // of a peer
  uint64_t proof = 0;  // of a peer: HelloProof
  uint32_t pid = 0;
  Cred cred;              // at most kGroupsMax groups
  std::string_view host;  // at most kHostBytesMax, for reports
  Bytes address;          // of the caller's worker, for the way back; at most kAddressBytesMax with all the rest full
  static constexpr size_t kHostBytesMax = 64;
  static constexpr size_t kAddressBytesMax = 1609;
  template <class Io>
  void Fields(Io& io) {
    io(protocol);
    io.Raw(uuid.data(), uuid.size());
    io(client, process);
    io.Raw(nonce.data(), nonce.size());
    io(peer, shard, proof, pid, cred, host, address);
  }
};

// The tag of the hello (its proof taken as 0) and of its prefix's shard and attempt, under the peer proof key.
uint64_t HelloProof(const Prefix& prefix, Hello hello, const TagKey& key);

struct Welcome {
  Code code = Code::kOk;  // kDenied, kShutdown, ...: refused
  ShardId shard;
  uint64_t connection = 0;  // to be named in requests
  Nonce nonce{};
  Generation generation;
  uint32_t view = 0;
  template <class Io>
  void Fields(Io& io) {
    io(code, shard, connection);
    io.Raw(nonce.data(), nonce.size());
    io(generation, view);
  }
};

}  // namespace mayfly
