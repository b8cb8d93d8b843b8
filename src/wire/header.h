// What stands before every message, and the keyed tag that makes it trusted. Layout in share/doc/format/wire.md.
//   hello, welcome: prefix + body, tagged with the session's hello key; they agree on a connection and its key
//   request:        prefix + RequestHeader + body      reply: prefix + ReplyHeader + body
// Invariants  H1  the tag is SipHash-2-4 of the whole header (prefix with a zero tag, and body) under the connection's
//                 key; nothing else of a message is looked at before it was verified.
//             H2  a reply names the caller's {slot, generation}; a late one finds another generation and is dropped.
#pragma once

#include <array>

#include "base/coding.h"
#include "wire/messages.h"

namespace mayfly {

constexpr uint16_t kWireMagic = 0x464d;  // "MF"
constexpr uint8_t kWireVersion = 1;

enum class MessageKind : uint8_t { kHello = 1, kWelcome = 2, kRequest = 3, kReply = 4 };
constexpr bool IsKnown(MessageKind k) { return k >= MessageKind::kHello && k <= MessageKind::kReply; }

struct Prefix {
  uint16_t magic = kWireMagic;
  uint8_t version = kWireVersion;
  MessageKind kind = MessageKind::kRequest;
  uint32_t view = 0;
  uint64_t tag = 0;
  uint64_t connection = 0;  // of the receiver of a request or of a reply: {index:32, nonce:32}; 0 in a hello
  uint32_t slot = 0;        // of the caller's call, H2
  uint32_t generation = 0;
  static constexpr size_t kBytes = 32;
  static constexpr size_t kTagOffset = 8;
  template <class Io>
  void Fields(Io& io) {
    io(magic, version, kind, view, tag, connection, slot, generation);
  }
};

struct RequestHeader {
  Method method = Method::kPing;
  uint16_t reserved = 0;
  uint32_t time_left_ms = 0;  // the caller gives up then: do not execute afterwards
  uint64_t sequence = 0;      // of a request that executes once, else 0
  uint64_t lowest = 0;        // sequences below this were all answered: forget them
  Generation walked_at;       // namespace generation when the path walk began; 0: by handle
  static constexpr size_t kBytes = 32;
  template <class Io>
  void Fields(Io& io) {
    io(method, reserved, time_left_ms, sequence, lowest, walked_at);
  }
};

struct ReplyHeader {
  Code code = Code::kOk;
  uint8_t reserved = 0;
  uint16_t reserved2 = 0;
  uint32_t reserved3 = 0;
  Generation generation;  // of the namespace, as the shard knows it
  static constexpr size_t kBytes = 16;
  template <class Io>
  void Fields(Io& io) {
    io(code, reserved, reserved2, reserved3, generation);
  }
};

using Secret = std::array<uint8_t, 32>;
using SessionUuid = std::array<uint8_t, 16>;
using Nonce = std::array<uint8_t, 16>;
// A SipHash key.
using TagKey = std::array<uint8_t, 16>;

// The key of hello and welcome, from the session's secret (keyed BLAKE2b; the secret itself never travels).
TagKey HelloKey(const Secret& secret, const SessionUuid& uuid);
// The key of one connection. Both ends compute it from the secret and both nonces.
TagKey ConnectionKey(const Secret& secret, const SessionUuid& uuid, ClientId client, const Nonce& caller,
                     const Nonce& server);
// A key that only servers can make, from a secret that rank 0 gives to servers alone: peers prove themselves with it.
TagKey PeerProofKey(const Secret& server_secret);

// Writes the tag into an encoded header of at least Prefix::kBytes.
void SealHeader(MutableBytes header, const TagKey& key);
// False unless the header carries the right tag. Constant time in the tag.
bool HeaderIsSealed(Bytes header, const TagKey& key);
uint64_t Tag(Bytes bytes, const TagKey& key);

struct Hello {
  uint16_t protocol = kWireVersion;
  SessionUuid uuid{};
  ClientId client;   // random, of this lane; the duplicate table is kept by it
  ClientId process;  // shared by the lanes of one process: opens are registered under it
  Nonce nonce{};
  bool peer = false;   // a server shard: `proof` shows it
  ShardId shard;       // of a peer
  uint64_t proof = 0;  // Tag of {uuid, client, nonce} under PeerProofKey
  uint32_t pid = 0;
  Cred cred;
  std::string_view host;  // at most 64 bytes, for reports
  Bytes address;          // of the caller's worker, for the way back
  template <class Io>
  void Fields(Io& io) {
    io(protocol);
    io.Raw(uuid.data(), uuid.size());
    io(client, process);
    io.Raw(nonce.data(), nonce.size());
    io(peer, shard, proof, pid, cred, host, address);
  }
};

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
