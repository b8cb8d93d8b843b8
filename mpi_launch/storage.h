// Where the shards of a member keep what outlives their process: `<base>/member-N/` with the session's charter and a
// directory a shard, `shard-M/` (journal, checkpoints); `base` is `mayfly-UUID` in --dir, or without that the session's
// runtime directory, which lies in memory. Values and one-shot file operations.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "adapt/local_disk.h"
#include "adapt/posix/posix_kept_memory.h"
#include "options.h"
#include "session/charter.h"

namespace mayfly {

// A --dir as this process has it: %h is the host, %r the rank, $NAME or ${NAME} a variable of the environment.
// Without one it is empty.
Outcome<std::string> ExpandDirectory(const std::string& pattern, const std::string& host, uint32_t rank);

// `directory` of the session: of --dir, expanded, or empty.
std::string StorageBase(const std::string& directory, const std::string& session_directory, const Uuid& uuid);
std::string MemberStorage(const std::string& base, MemberId member);
std::string ShardStorage(const std::string& base, MemberId member, ShardId shard);

// The members whose storage lies under `base` and was made on `host`, by number; damaged ones are failures.
Outcome<std::vector<Charter>> FindMembers(const std::string& base, const std::string& host, uint32_t uid);
// Sessions with storage in `directory` (of --dir, expanded).
std::vector<Uuid> FindSessions(const std::string& directory);

// Whether a server has the journal of a shard open, by the lock that it holds for as long as it lives.
bool InUse(const std::string& shard_storage);

// Makes a member's and its shards' directories (0700), those above it too.
Outcome<Done> MakeStorage(const std::string& base, MemberId member, const std::vector<ShardId>& shards);
// Takes a member's storage away, and the base when it was the last.
void RemoveStorage(const std::string& base, MemberId member);

// How large the journal of a shard with so much memory is: as asked, or what suits.
uint64_t JournalBytes(uint64_t asked, uint64_t memory_bytes, bool in_memory);
uint64_t WindowBytes(uint64_t journal_bytes);

}  // namespace mayfly
