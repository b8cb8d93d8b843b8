#include "server/change_log.h"

#include "base/log.h"

namespace mayfly {

bool ChangeLog::SealChanges() {
  if (failed_) {
    changes_.Clear();
    return false;
  }
  const Bytes fields = changes_.bytes();
  const Result<Lsn> lsn = fields.size() <= journal_->payload_max() ? journal_->Append(fields) : AppendInParts(fields);
  changes_.Clear();
  if (!lsn.ok()) {
    failed_ = true;
    MAYFLY_ERROR(
        "the journal takes no more records ({}): this server changes nothing from now on; what it has can be read, and "
        "`mayfly stop` flushes it",
        TextOf(lsn.code()));
    if (on_failure_) on_failure_();
    return false;
  }
  return true;
}

// Only what is no single operation is longer than a record: all that a process had open, say, when it died. Each field
// stands for itself then.
Result<Lsn> ChangeLog::AppendInParts(Bytes fields) {
  size_t from = 0, to = 0;
  TlvReader reader(fields);
  Tag tag = 0;
  Bytes value;
  while (reader.Next(&tag, &value)) {
    const size_t next = to + kTlvHeaderBytes + value.size();
    if (next - from > journal_->payload_max()) {
      Result<Lsn> lsn = journal_->Append(fields.subspan(from, to - from));
      if (!lsn.ok()) return lsn;
      from = to;
    }
    to = next;
  }
  MAYFLY_CHECK(reader.Finish().ok());
  return journal_->Append(fields.subspan(from));
}

Task<Status> ChangeLog::WaitForRoom(Nanos deadline) {
  if (failed_) co_return Code::kReadOnly;
  co_return co_await journal_->WaitForRoom(kRequestBytesMax, deadline);
}

}  // namespace mayfly
