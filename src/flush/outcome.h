// Adding up what parts of a flush did. Counts are exact; the notes are cut to what a reply can carry.
#pragma once

#include <string>

#include "wire/messages.h"

namespace mayfly::flush_internal {

struct NoteLimits {
  size_t notes_max;  // of each kind
  size_t bytes_max;  // of all texts
};
// What one shard tells another: thousands of such replies may be awaited at once. What a report lists.
constexpr uint32_t kOutcomeBytesMax = 16 * 1024;
constexpr NoteLimits kPartNotes{64, 12 * 1024};
constexpr NoteLimits kReportNotes{1000, 128 * 1024};
// How many bytes of names a report lists of what is missing; a shard keeps no more of a job either. Beyond that there
// is a line for each directory, as far as kLinesBytesMax goes. With all else a report fits into one transfer.
constexpr size_t kMissingBytesMax = 2 << 20, kLinesBytesMax = 512 << 10;

void AddNote(FlushOutcome* outcome, FlushNoteKind kind, std::string text, const NoteLimits& limits = kPartNotes);
// One file that was not copied, and why.
void AddFailure(FlushOutcome* outcome, Code code, std::string why);
void Merge(FlushOutcome* into, const FlushOutcome& from, const NoteLimits& limits = kPartNotes);
// What one result says of two: a full PFS tells more than a file that could not be read.
Code Graver(Code a, Code b);

}  // namespace mayfly::flush_internal
