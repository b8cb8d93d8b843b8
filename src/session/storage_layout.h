// Names of what outlives a server's process: `<base>/member-N/` with the session's charter and a directory a shard,
// `shard-M/` (journal, checkpoints); `base` is `mayfly-UUID` in --dir, or without that the session's runtime directory,
// which lies in memory. There too are each shard's segments of the arena and its kept memory
// (share/doc/format/session.md). Values and looks at directories, any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "session/charter.h"

namespace mayfly {

// `directory` of the session: of --dir, expanded, or empty.
std::string StorageBase(const std::string& directory, const std::string& session_directory, const Uuid& uuid);
std::string MemberStorage(const std::string& base, MemberId member);
std::string ShardStorage(const std::string& base, MemberId member, ShardId shard);
// The other way round, of a directory's own name; none if it is no such name.
std::optional<Uuid> SessionOfStorage(std::string_view name);  // of a base, in --dir or in the runtime directory
std::optional<MemberId> MemberOfStorage(std::string_view name);
std::optional<ShardId> ShardOfStorage(std::string_view name);

// In the session's runtime directory: what begins with the prefix and a dot is the shard's.
std::string ArenaPrefix(ShardId shard);  // clients map it
std::string KeptPrefix(ShardId shard);   // nobody but servers

// The members of session `uuid` whose storage lies under `base` and was made on `host`, by number; what is damaged or
// another session's is a failure, or with `damaged` left out, and a sentence there.
Outcome<std::vector<Charter>> FindMembers(const std::string& base, const Uuid& uuid, const std::string& host,
                                          uint32_t uid, std::vector<std::string>* damaged = nullptr);
// Sessions with storage in `directory` (of --dir, expanded).
std::vector<Uuid> FindSessions(const std::string& directory);

}  // namespace mayfly
