#include "flush/outcome.h"

namespace mayfly::flush_internal {
namespace {

constexpr size_t kTextBytesMax = 5000;  // a path and a sentence around it

int GravityOf(Code code) {
  switch (code) {
    case Code::kOk:
      return 0;
    case Code::kInterrupted:
      return 1;
    case Code::kTimedOut:
      return 2;
    case Code::kNoSpace:
      return 6;
    case Code::kIo:
    case Code::kCorrupt:
      return 5;
    case Code::kAccess:
    case Code::kPermission:
    case Code::kReadOnly:
      return 4;
    default:
      return 3;
  }
}

}  // namespace

void AddNote(FlushOutcome* outcome, FlushNoteKind kind, std::string text, const NoteLimits& limits) {
  if (text.size() > kTextBytesMax) text = text.substr(0, kTextBytesMax) + "...";
  size_t bytes = text.size(), same = 0;
  for (const FlushNote& note : outcome->notes) {
    bytes += note.text.size();
    if (note.kind == kind) ++same;
  }
  if (same >= limits.notes_max || bytes > limits.bytes_max) return;
  FlushNote note;
  note.kind = kind;
  note.text = std::move(text);
  outcome->notes.push_back(std::move(note));
}

void AddFailure(FlushOutcome* outcome, Code code, std::string why) {
  ++outcome->failed;
  outcome->result = Graver(outcome->result, code);
  AddNote(outcome, FlushNoteKind::kFailed, std::move(why));
}

void Merge(FlushOutcome* into, const FlushOutcome& from, const NoteLimits& limits) {
  into->files += from.files;
  into->skipped += from.skipped;
  into->failed += from.failed;
  into->missing += from.missing;
  into->bytes += from.bytes;
  into->refused += from.refused;
  into->progress_bytes += from.progress_bytes;
  into->result = Graver(into->result, from.result);
  for (const FlushNote& note : from.notes) AddNote(into, note.kind, note.text, limits);
}

Code Graver(Code a, Code b) { return GravityOf(b) > GravityOf(a) ? b : a; }

}  // namespace mayfly::flush_internal
