#include "wire/header.h"

#include <sodium.h>

namespace mayfly {
namespace {

static_assert(sizeof(TagKey) == crypto_shorthash_KEYBYTES);

// Keyed BLAKE2b over a label (so that no key can be taken for another) and the given pieces.
template <class... Piece>
TagKey Derive(const Secret& secret, std::string_view label, const Piece&... pieces) {
  crypto_generichash_state state;
  TagKey key;
  crypto_generichash_init(&state, secret.data(), secret.size(), key.size());
  crypto_generichash_update(&state, reinterpret_cast<const uint8_t*>(label.data()), label.size());
  (crypto_generichash_update(&state, pieces.data(), pieces.size()), ...);
  crypto_generichash_final(&state, key.data(), key.size());
  return key;
}

Bytes AsBytesOf(const uint64_t& v) { return {reinterpret_cast<const uint8_t*>(&v), sizeof v}; }

}  // namespace

TagKey HelloKey(const Secret& secret, const SessionUuid& uuid) { return Derive(secret, "mayfly hello 1", uuid); }

TagKey ConnectionKey(const Secret& secret, const SessionUuid& uuid, ClientId client, const Nonce& caller,
                     const Nonce& server) {
  return Derive(secret, "mayfly connection 1", uuid, AsBytesOf(client.value), caller, server);
}

TagKey PeerProofKey(const Secret& server_secret) { return Derive(server_secret, "mayfly peer 1"); }

uint64_t Tag(Bytes bytes, const TagKey& key) {
  uint64_t tag = 0;
  crypto_shorthash(reinterpret_cast<uint8_t*>(&tag), bytes.data(), bytes.size(), key.data());
  return tag;
}

void SealHeader(MutableBytes header, const TagKey& key) {
  MAYFLY_CHECK(header.size() >= Prefix::kBytes);
  uint64_t tag = 0;
  std::memcpy(header.data() + Prefix::kTagOffset, &tag, sizeof tag);
  tag = Tag(header, key);
  std::memcpy(header.data() + Prefix::kTagOffset, &tag, sizeof tag);
}

bool HeaderIsSealed(Bytes header, const TagKey& key) {
  if (header.size() < Prefix::kBytes) return false;
  // The tag covers the header with its own field zeroed; the received bytes belong to the transport and are not
  // changed.
  uint64_t tag = 0;
  std::memcpy(&tag, header.data() + Prefix::kTagOffset, sizeof tag);
  uint8_t copy[2048];
  if (header.size() > sizeof copy) return false;
  std::memcpy(copy, header.data(), header.size());
  std::memset(copy + Prefix::kTagOffset, 0, sizeof tag);
  uint64_t want = Tag({copy, header.size()}, key);
  return sodium_memcmp(&want, &tag, sizeof tag) == 0;
}

}  // namespace mayfly
