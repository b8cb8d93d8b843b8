#include "server/change_log.h"

#include <utility>
#include <vector>

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
    MAYFLY_ERROR(
        "the journal takes no more records ({}): this server changes nothing from now on; what it has can be read, and "
        "`mayfly stop` flushes it",
        TextOf(lsn.code()));
    Fail();
    return false;
  }
  if (write_back_ != nullptr) {
    const uint64_t written = write_back_->written();
    if (order_.empty() || order_.back().written != written) order_.push_back({*lsn, written});
    order_.back().lsn = *lsn;
  }
  return true;
}

void ChangeLog::Fail() {
  if (std::exchange(failed_, true)) return;
  changes_.Clear();
  if (on_failure_) on_failure_();
}

void ChangeLog::TurnNow() {
  if (journal_->failed() || (write_back_ != nullptr && write_back_->failed())) Fail();
  if (write_back_ == nullptr || failed_) return;
  const uint64_t kept = write_back_->kept();
  while (!order_.empty() && order_.front().written <= kept) {
    journal_->Release(order_.front().lsn);
    order_.pop_front();
  }
  if (!order_.empty() && journal_->WantsRelease()) write_back_->Want(order_.back().written);
}

bool ChangeLog::IsDurable(Lsn lsn) {
  if (Passed(lsn)) return true;
  journal_->Want(lsn);
  return false;
}

Task<Status> ChangeLog::Durable(Nanos deadline) {
  if (journal_ == nullptr) co_return Code::kOk;
  if (!Seal()) co_return Code::kIo;
  co_return co_await journal_->Durable(journal_->head(), deadline);
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

// ---- what leaves ----------------------------------------------------------------------------------------------------

Transport::Sent SealingTransport::Send(EndpointId to, Bytes header, Bytes payload, Completion* done) {
  if (log_.Seal()) return inner_.Send(to, header, payload, done);
  return Refuse(to, done);
}

Transport::Sent SealingTransport::SendDurable(EndpointId to, Bytes header, Bytes payload, Completion* done) {
  if (!log_.Seal()) return Refuse(to, done);
  const Lsn until = log_.sealed();
  const bool durable = log_.IsDurable(until);
  if (log_.failed() || (durable && waiting_.empty())) return inner_.Send(to, header, payload, done);
  waiting_.push_back({to, header, payload, done, until});
  return Sent::kPending;
}

// G3. Not at once, which the sender does not expect.
Transport::Sent SealingTransport::Refuse(EndpointId to, Completion* done) {
  waiting_.push_back({to, Bytes(), Bytes(), done, Lsn()});
  return Sent::kPending;
}

bool SealingTransport::Turn() {
  if (waiting_.empty() || !log_.Passed(waiting_.front().until)) return false;
  while (!waiting_.empty() && log_.Passed(waiting_.front().until)) {
    const Waiting next = waiting_.front();
    waiting_.pop_front();
    if (log_.failed()) {
      next.done->fn(next.done, Code::kIo);  // G3
    } else if (inner_.Send(next.to, next.header, next.payload, next.done) == Sent::kDone) {
      next.done->fn(next.done, Status());
    }
  }
  return true;
}

void SealingTransport::Close(EndpointId endpoint) {
  std::vector<Completion*> ended;
  std::erase_if(waiting_, [&](const Waiting& one) {
    if (one.to == endpoint) ended.push_back(one.done);
    return one.to == endpoint;
  });
  inner_.Close(endpoint);
  for (Completion* done : ended) done->fn(done, Code::kUnavailable);
}

}  // namespace mayfly
