// Changes that are written down for a shard of this node (outbox.h), told of many at a time, and what comes of them.
// They are told of when the next one does not fit, when somebody has to know what came of them, and by the helper when
// they get old: nothing depends on it, as the shard looks for them itself once this process has ended.
#include "base/log.h"
#include "client/lane.h"
#include "wire/payload.h"

namespace mayfly {

// Whether there is an outbox at the shard; asks for one if nobody has.
Task<bool> Lane::HasOutbox(ShardId shard) {
  Outbox& outbox = mount_.outbox();
  if (outbox.IsReady(shard)) co_return true;
  if (!mount_.has_helper() || !outbox.BeginAsking(shard, executor_.now())) co_return false;
  const Lent lent = co_await data_.BorrowOutbox(shard);
  if (!lent.valid()) {
    outbox.Refuse(shard, executor_.now());
    co_return false;
  }
  outbox.Give(lent);
  co_return true;
}

void Lane::Count(Outbox::Added added) {
  if (added != Outbox::Added::kBegun) return;
  ++mount_.departing();
  mount_.SomethingAges();
}

Task<Status> Lane::WaitToWriteDown(ShardId shard, Outbox::Added added, Nanos deadline) {
  if (added == Outbox::Added::kFull) {
    SendWrittenDown(shard);
    co_return Code::kOk;
  }
  if (added == Outbox::Added::kGone) co_return Code::kUnavailable;
  co_return co_await WaitForNews(deadline);
}

void Lane::GiveBackOutboxes() {
  for (const auto& [shard, loan] : mount_.outbox().TakeIdle()) mount_.GiveBackLoan(shard, loan, executor_.now());
}

void Lane::SendWrittenDown(std::optional<ShardId> of, Nanos before) {
  for (Outbox::BundleRef& bundle : mount_.outbox().Take(of, before)) {
    ++departing_;
    Spawn(SendBundle(this, std::move(bundle)), "telling of what was written down");
  }
}

bool Lane::WriteDown(const FileRef& file) {
  WriteBuffer& buffer = file->buffer;
  const ShardId home = file->inode.home();
  if (!mount_.outbox().IsReady(home)) return false;
  ContentRecord record;
  record.at = executor_.now();
  data_.FillCommit(IdOf(*file), buffer.start, buffer.lent, buffer.size, SumsOf(buffer), &record.commit);
  const Outbox::Content content{0, file, buffer.lent, buffer.start, buffer.size, record.commit.next};
  const uint64_t writes = std::exchange(buffer.writes, 0);
  ++file->changes;
  buffer.lent = Lent();
  DropBuffer(*file);  // before it is added: then it may be over at once, by another lane
  Outbox::Added added = Outbox::Added::kFull;
  while (added == Outbox::Added::kFull) {
    added = mount_.outbox().AddContent(&record, content, executor_.now());
    if (added == Outbox::Added::kFull) SendWrittenDown(home);
  }
  if (!Outbox::Is(added)) {
    TakeUp(content);
    buffer.writes = writes;
    return false;
  }
  Count(added);
  ++mount_.counters().buffers_sent;
  mount_.counters().writes_buffered += writes;
  if (mount_.places().IsEmpty(home)) SendWrittenDown(home);  // the answer brings some
  return true;
}

// The file's buffer is what it was.
void Lane::TakeUp(const Outbox::Content& content) {
  WriteBuffer& buffer = content.file->buffer;
  buffer.lent = content.lent;
  buffer.bytes = content.lent.memory.data();
  buffer.start = content.start;
  buffer.size = content.size;
  if (!content.file->buffered.exchange(true)) ++mount_.buffered();
}

Task<Status> Lane::SendBundle(Lane* lane, Outbox::BundleRef bundle) {
  Mount& mount = lane->mount_;
  const Nanos deadline = lane->Deadline();
  const uint64_t revocations = mount.own_parts().revocations();
  BundleRequest request;
  request.loan = bundle->loan;
  request.slot = bundle->slot;
  request.serial = bundle->serial;
  request.bytes = bundle->bytes;
  request.more = bundle->more;
  request.core = mount.core();
  TargetBuffer told(lane->walker_);
  Status status;
  Empty reply;
  for (;;) {
    CallOptions options = lane->ByHandle(deadline);
    told.AddTo(&options);
    status = co_await lane->caller_.Call<Method::kBundle>(bundle->shard, request, &reply, options);
    if (status.code() != Code::kBusy || lane->executor_.now() >= deadline) break;
    co_await lane->executor_.Sleep(lane->walker_.Jitter(kMillisecond));
  }
  BundleDone done;
  if (status.ok() && !told.text().empty()) status = DecodePayload(told.text(), &done);
  if (status.ok() && done.own) {
    lane->LearnPart(request.more, bundle->shard, revocations, 0, done.part);
  }
  lane->EndBundle(*bundle, status, done);
  mount.outbox().End(bundle, status.ok());
  --mount.departing();
  --lane->departing_;
  lane->departed_.WakeAll();
  co_return Code::kOk;
}

void Lane::EndBundle(Outbox::Bundle& bundle, Status status, const BundleDone& done) {
  for (const PlaceLoan& lent : done.lent) mount_.KeepPlace(bundle.shard, lent, executor_.now());
  std::vector<Code> codes(bundle.records, status.code());
  for (const BundleDone::Failed& failed : done.failed) {
    if (failed.at < codes.size()) codes[failed.at] = failed.code;
  }
  std::vector<OwnParts::Outcome> born, removed;
  const auto outcome = [&](const Outbox::Name& name) {
    return OwnParts::Outcome{name.dir, name.hash, codes[name.record] == Code::kOk};
  };
  for (const Outbox::Birth& birth : bundle.births) {
    EndBirth(birth, codes[birth.name.record]);
    // What is open may grow: space that others wait for is given back at once.
    born.push_back(outcome(birth.name));
    born.back().ok &= birth.closed;
  }
  for (const Outbox::Content& content : bundle.contents) EndContent(bundle, content, codes[content.record]);
  for (const Outbox::Name& name : bundle.removals) {
    removed.push_back(outcome(name));
    const Code code = codes[name.record];
    if (code == Code::kOk || code == Code::kShutdown) continue;
    MAYFLY_ERROR("a file that was removed without waiting, '{}', could not be: {}", name.text, TextOf(code));
    mount_.NoteLate(code);
  }
  mount_.own_parts().End(bundle.shard, born, removed);
}

void Lane::EndBirth(const Outbox::Birth& birth, Status status) {
  const Outbox::Name& name = birth.name;
  OpenFile& file = *birth.file;
  if (status.ok()) {
    file.epoch.store(mount_.epoch(), std::memory_order_release);  // F4, F7
  } else {
    file.stillborn = status.code();
    if (status.code() != Code::kShutdown) {  // else nobody waits for it
      MAYFLY_ERROR("a file that was made without waiting, '{}', could not be made: {}", name.text,
                   TextOf(status.code()));
    }
  }
  const bool left = file.birth.exchange(OpenFile::kBorn) == OpenFile::kLeft;
  if (left && !birth.closed) {
    if (status.ok() && file.EndHold()) QueueClose(file.inode);
    mount_.files().EndDeparture(birth.file);
  }
  if (status.ok()) return;
  if (left || birth.closed) {
    mount_.NoteLate(status.code());
  } else {
    file.deferred = status.code();
  }
}

// The file's lock was taken over.
void Lane::EndContent(const Outbox::Bundle& bundle, const Outbox::Content& content, Status status) {
  OpenFile& file = *content.file;
  const Code code = status.code();
  if (code == Code::kConflict || code == Code::kStale) {  // the place was taken back, or the file is not there yet
    TakeUp(content);
    ++departing_;
    ++mount_.departing();
    Spawn(SendLast(this, content.file), "sending what a closed file held");
    return;
  }
  FileGuard guard;
  guard.Adopt(file.lock);
  file.sole = false;
  if (status.ok()) {
    mount_.counters().written_mapped.fetch_add(1, std::memory_order_relaxed);
  } else {
    if (DataPath::IsUnheard(status)) {
      mount_.GiveBackLoan(bundle.shard, content.lent.loan.id, executor_.now());
      if (content.next != 0) mount_.GiveBackLoan(bundle.shard, content.next, executor_.now());
    }
    mount_.NoteLate(code);
    if (code != Code::kShutdown) {
      MAYFLY_ERROR("what inode {:x} held when it was closed could not be stored: {}", file.inode.value, TextOf(code));
    }
  }
  mount_.files().EndDeparture(content.file);
}

}  // namespace mayfly
