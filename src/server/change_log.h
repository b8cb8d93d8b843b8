// What one shard has changed, on its way into its journal: the parts of the shard describe their changes in `recorder`,
// and Seal makes one record of all that was described since the last one. One thread.
// Invariants  G1  nothing leaves the shard, neither an answer nor a request, before what it had changed until then is
// in
//                 the journal: SealingTransport sends everything, and seals first.
//             G2  all that is changed between two suspensions without a message in between is one record: it survives
//             as
//                 a whole or not at all.
//             G3  a message that would tell of a change whose record could not be written is not sent. From then on the
//                 shard records nothing and changes nothing for clients: what is there can be read, and flushed.
#pragma once

#include <functional>

#include "base/tlv.h"
#include "journal/journal.h"
#include "os/transport.h"
#include "task/task.h"

namespace mayfly {

class ChangeLog {
 public:
  // Records and seals into `journal` from now on; it outlives this object or the call of End.
  void Begin(Journal* journal) { journal_ = journal; }
  void End() {
    Seal();
    journal_ = nullptr;
  }
  bool active() const { return journal_ != nullptr; }
  // Null while nothing is to be recorded (durability none).
  TlvWriter* recorder() { return journal_ != nullptr ? &changes_ : nullptr; }
  // One field, if anything is recorded. `bytes_max`: of its encoding.
  template <class Image>
  void Record(Tag tag, const Image& image, size_t bytes_max) {
    if (journal_ != nullptr && !failed_) changes_.Put(tag, image, bytes_max);
  }

  // G2. False: G3.
  bool Seal() { return changes_.empty() || SealChanges(); }
  bool failed() const { return failed_; }
  // Called once, when the journal has failed: the owner stops recording.
  void SetOnFailure(std::function<void()> fn) { on_failure_ = std::move(fn); }

  // A request that changes something is let in only while the journal has room for what it may record; waits for a
  // checkpoint otherwise. kReadOnly: the journal has failed.
  bool HasRoom() const { return journal_ == nullptr || (!failed_ && journal_->HasRoom(kRequestBytesMax)); }
  Task<Status> WaitForRoom(Nanos deadline);

  // More than any request changes at one shard at a time: the longest name and target, an xattr value, the sums of the
  // largest transfer, an answer with its payload.
  static constexpr size_t kRequestBytesMax = size_t{160} << 10;

 private:
  bool SealChanges();
  Result<Lsn> AppendInParts(Bytes fields);

  Journal* journal_ = nullptr;
  TlvWriter changes_;
  bool failed_ = false;
  std::function<void()> on_failure_;
};

// G1. Everything else is the inner transport's.
class SealingTransport final : public Transport {
 public:
  SealingTransport(Transport& inner, ChangeLog& log) : inner_(inner), log_(log) {}
  void SetReceiver(Receiver* receiver) override { inner_.SetReceiver(receiver); }
  Bytes address() const override { return inner_.address(); }
  Result<EndpointId> Connect(Bytes address) override { return inner_.Connect(address); }
  void Close(EndpointId endpoint) override { inner_.Close(endpoint); }
  Sent Send(EndpointId to, Bytes header, Bytes payload, Completion* done) override {
    if (!log_.Seal()) return Sent::kDone;  // G3
    return inner_.Send(to, header, payload, done);
  }
  bool Progress() override { return inner_.Progress(); }
  void Register(MutableBytes region) override { inner_.Register(region); }
  std::string Describe() const override { return inner_.Describe(); }

 private:
  Transport& inner_;
  ChangeLog& log_;
};

}  // namespace mayfly
