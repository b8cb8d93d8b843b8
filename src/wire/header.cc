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

TagKey GrantKey(const Secret& server_secret) { return Derive(server_secret, "mayfly grant 1"); }

uint64_t GrantTag(const TagKey& key, InodeId inode, ClientId process, uint32_t uid, uint8_t rights) {
  uint8_t bytes[sizeof inode.value + sizeof process.value + sizeof uid + sizeof rights];
  Encoder e{MutableBytes(bytes)};
  e(inode, process, uid, rights);
  MAYFLY_CHECK(e.ok() && e.size() == sizeof bytes);
  return TagOf(bytes, key);
}

uint64_t TagOf(Bytes bytes, const TagKey& key) {
  uint64_t tag = 0;
  crypto_shorthash(reinterpret_cast<uint8_t*>(&tag), bytes.data(), bytes.size(), key.data());
  return tag;
}

void SealHeader(MutableBytes header, const TagKey& key) {
  MAYFLY_CHECK(header.size() >= Prefix::kBytes);
  const uint64_t tag = TagOf(header.subspan(Prefix::kTagBytes), key);
  std::memcpy(header.data(), &tag, sizeof tag);
}

bool HeaderIsSealed(Bytes header, const TagKey& key) {
  if (header.size() < Prefix::kBytes) return false;
  uint64_t tag = 0;
  std::memcpy(&tag, header.data(), sizeof tag);
  return (TagOf(header.subspan(Prefix::kTagBytes), key) ^ tag) == 0;  // one comparison of 64 bits: no early end
}

uint64_t HelloProof(const Prefix& prefix, Hello hello, const TagKey& key) {
  hello.proof = 0;
  uint8_t bytes[2048];
  Encoder e{MutableBytes(bytes)};
  e(prefix.slot, prefix.generation, hello);
  MAYFLY_CHECK(e.ok());
  return TagOf({bytes, e.size()}, key);
}

}  // namespace mayfly
