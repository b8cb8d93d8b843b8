// The tagged fields of journals and checkpoints for people and programs that look at them: what a tag is called,
// whether a value is one of its tag, and what it says. By the same decoders as recovery's; share/doc/format/images.md
// has the tables. Plain functions, any thread. Invariants  D1  nothing here trusts a byte: what does not decode is said
// to be so.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "base/tlv.h"

namespace mayfly {

// "inode"; empty if the tag is not known here.
std::string_view NameOfTag(Tag tag);

// kCorrupt if the value is none of its tag; kNotSupported if the tag is not known and must be (T1 of base/tlv.h).
Status CheckField(Tag tag, Bytes value);

// {"tag": "0x8101", "name": "inode", "bytes": 29, "value": {...}}. Inodes and transactions are "SHARD:SEQUENCE", null
// if none; times are nanoseconds since 1970; names that are no UTF-8 are {"hex": "..."}. A tag that is not known has
// neither name nor value; a value that does not decode has "problem" in its place.
nlohmann::ordered_json DescribeField(Tag tag, Bytes value);

// "0x8101".
std::string TagText(Tag tag);

}  // namespace mayfly
