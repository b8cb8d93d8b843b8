// Where the shards of a member keep what outlives their process (session/storage_layout.h has the names), as their
// server makes it and takes it away. Values and one-shot file operations.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "adapt/local_disk.h"
#include "adapt/posix/posix_kept_memory.h"
#include "options.h"
#include "session/storage_layout.h"

namespace mayfly {

// A --dir as this process has it: %h is the host, %r the rank, $NAME or ${NAME} a variable of the environment.
// Without one it is empty.
Outcome<std::string> ExpandDirectory(const std::string& pattern, const std::string& host, uint32_t rank);
bool HasRank(const std::string& pattern);  // whether there is a %r in it

// Whether a server has a journal of the member whose storage is in `base` open, by the locks that it holds for as long
// as it lives, and a process that was just killed until its memory has been taken down.
bool InUse(const std::string& base, const Charter& member);
// How long the latter is waited for, and how often it is looked.
inline constexpr Nanos kKilledIsGoneWithin = 3 * kSecond;
inline constexpr unsigned kLookAgainAfterUs = 20'000;
ShardId FirstShardOf(const Charter& member);

// Makes a member's and its shards' directories (0700), those above it too.
Outcome<Done> MakeStorage(const std::string& base, MemberId member, const std::vector<ShardId>& shards);
// Takes a member's storage away, and the base when it was the last.
void RemoveStorage(const std::string& base, MemberId member);

// How large the journal of a shard with so much memory is: as asked, or what suits.
uint64_t JournalBytes(uint64_t asked, uint64_t memory_bytes, bool in_memory);
uint64_t WindowBytes(uint64_t journal_bytes);

}  // namespace mayfly
