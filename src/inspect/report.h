// What a look at a journal found, for programs: plain JSON values, the same content that people get as text. Free
// functions, any thread. Fields: share/doc/format/journal.md, Tools.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "inspect/look.h"
#include "inspect/places.h"

namespace mayfly {

// {"directory", "session", "member", "host", "shard"}.
nlohmann::ordered_json DescribePlace(const MemberPlace& member, const ShardPlace& shard);
// Both, as they lie: {"block", "state", then what a good one holds}.
nlohmann::ordered_json DescribeSuperblocks(const JournalLook& look);
// Sizes, places in the stream, counts.
nlohmann::ordered_json DescribeStat(const JournalLook& look);
// The verdict, and each range that is why.
nlohmann::ordered_json DescribeVerdict(const JournalLook& look);
// A record or padding, and its fields.
nlohmann::ordered_json DescribeRecord(const JournalRecord& record);

std::string_view Text(Verdict verdict);        // "torn tail"
std::string_view Text(TailMemory tail);        // "gone"
std::string_view Text(SuperblockState state);  // "zeros"
std::string_view Text(RecordType type);        // "changes"
// One sentence: what is the matter with it, and what that means.
std::string Explain(const JournalLook& look);
// Likewise of a field that recovery would refuse.
std::string Explain(const FieldFault& fault);

}  // namespace mayfly
