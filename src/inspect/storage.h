// All that is there of one dead session, opened to be read: its members' directories, each shard's tables out of its
// journal, and where the bytes are. What fsck and salvage begin with. One thread.
// A charter may do without: then what it would say is guessed (guess.h), and that is said.
// Invariants  G1  of a session of which a server lives, or may live, nothing is opened (shard_door.h, D2).
//             G2  a shard that cannot be read is as one that was not given, and is said; so is whatever makes what was
//                 read less than what the servers had acknowledged.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "inspect/piece_reader.h"
#include "inspect/places.h"
#include "inspect/settle.h"
#include "inspect/shard_door.h"
#include "ring/placement.h"

namespace mayfly {

struct StoredShard {
  MemberPlace member;
  ShardPlace place;
  std::unique_ptr<ShardDoor> door;
  std::unique_ptr<ShardTables> tables;
  std::unique_ptr<PieceReader> bytes;  // gone before the door
  Superblock superblock;
  TailMemory tail = TailMemory::kNotNeeded;
  TlvWriter fields;    // all of its journal but what is refused, if that was asked for
  bool whole = false;  // its journal was read to its end, and is not damaged

  StoredShard() = default;
  StoredShard(StoredShard&&) = default;
  StoredShard& operator=(StoredShard&&) = delete;
  ~StoredShard() { bytes.reset(); }
};

struct Storage {
  Uuid session{};
  std::string durability;  // as on the command line; empty: not known
  Layout layout;
  std::optional<Placement> placement;  // none: not known
  InodeId root;
  std::vector<std::unique_ptr<StoredShard>> shards;  // of all of the layout, by number; null: not there
  std::vector<MemberId> missing_members;             // no directory of theirs was given
  // Sentences. Absent: what was not given. Problems: what was is damaged, or less than what had been acknowledged.
  // Notes: worth knowing, nothing is lost by it; what was guessed.
  std::vector<std::string> absent, problems, notes;

  std::vector<SettleShard> settle_shards() const;
};

struct StorageOptions {
  PlacesOptions user;
  bool may_guess = false;    // where no charter can be read; else that is kCorrupt
  bool keep_fields = false;  // StoredShard::fields
};

// `directories`: as FindPlaces takes them, of one session. kNoEntry, kBusy, kInvalid with a sentence.
Outcome<Storage> OpenStorage(const std::vector<std::string>& directories, const StorageOptions& options);

// kBusy if a server had a journal open since.
Outcome<Done> Unchanged(const Storage& storage);

}  // namespace mayfly
