// What one shard has changed, on its way into its journal: the parts of the shard describe their changes in `recorder`,
// and Seal makes one record of all that was described since the last one. One thread.
// Invariants  G1  nothing leaves the shard, neither an answer nor a request, before what it had changed until then is
// in
//                 the journal: SealingTransport sends everything, and seals first.
//             G2  all that is changed between two suspensions without a message in between is one record: it survives
//             as
//                 a whole or not at all.
//             G3  a message that would tell of a change whose record could not be written is not sent; it ends with
//                 kIo, for the responder to say so to whom it would have told. From then on the shard records nothing
//                 and changes nothing for clients: what is there can be read, and flushed.
//             G4  at level `node`, what goes through Held() leaves only when all that was changed before is durable;
//             and
//                 records become durable only after the data that they speak of.
#pragma once

#include <deque>
#include <functional>

#include "base/tlv.h"
#include "journal/journal.h"
#include "os/transport.h"
#include "store/write_back.h"
#include "task/task.h"

namespace mayfly {

class ChangeLog {
 public:
  // Records and seals into `journal` from now on; it outlives this object or the call of End, and so does `write_back`:
  // null below level `node`.
  void Begin(Journal* journal, WriteBack* write_back) {
    journal_ = journal;
    write_back_ = write_back;
    if (write_back != nullptr) journal->HoldBack();
  }
  void End() {
    Seal();
    journal_ = nullptr;
    write_back_ = nullptr;
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
  // G3, because of something else than the journal.
  void Fail();
  // G4: lets the journal write what speaks of data that is kept, and asks for the rest if it must go on. Once a turn.
  void Turn() {
    if (journal_ != nullptr && (write_back_ != nullptr || journal_->failed())) TurnNow();
  }
  // Whether what was sealed before `lsn` is durable, as far as level `node` or a failure ask for it. IsDurable asks the
  // journal to see to it.
  bool Passed(Lsn lsn) const { return write_back_ == nullptr || failed_ || lsn <= journal_->durable(); }
  bool IsDurable(Lsn lsn);
  Lsn sealed() const { return journal_ != nullptr ? journal_->head() : Lsn(); }
  // Until all that was changed is durable, whatever the level. kIo, kTimedOut.
  Task<Status> Durable(Nanos deadline);
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
  void TurnNow();
  Result<Lsn> AppendInParts(Bytes fields);

  struct Order {
    Lsn lsn;               // records before it
    uint64_t written = 0;  // speak of so many extents that were written (WriteBack)
  };

  Journal* journal_ = nullptr;
  WriteBack* write_back_ = nullptr;
  TlvWriter changes_;
  std::deque<Order> order_;  // not released yet
  bool failed_ = false;
  std::function<void()> on_failure_;
};

// G1, G4. Everything else is the inner transport's.
class SealingTransport final : public Transport {
 public:
  SealingTransport(Transport& inner, ChangeLog& log) : inner_(inner), log_(log), held_(*this) {}
  // The same network, for what must not be known to others before it is durable.
  Transport& Held() { return held_; }

  void SetReceiver(Receiver* receiver) override { inner_.SetReceiver(receiver); }
  Bytes address() const override { return inner_.address(); }
  Result<EndpointId> Connect(Bytes address) override { return inner_.Connect(address); }
  bool HasEnded(EndpointId endpoint) const override { return inner_.HasEnded(endpoint); }
  void Close(EndpointId endpoint) override;
  Sent Send(EndpointId to, Bytes header, Bytes payload, Completion* done) override;
  bool Progress() override { return inner_.Progress(); }
  void Register(MutableBytes region) override { inner_.Register(region); }
  std::string Describe() const override { return inner_.Describe(); }

  // Sends what was held and may go now; true if there was anything. Once a turn.
  bool Turn();

 private:
  class HeldDoor final : public Transport {
   public:
    explicit HeldDoor(SealingTransport& all) : all_(all) {}
    void SetReceiver(Receiver* receiver) override { all_.SetReceiver(receiver); }
    Bytes address() const override { return all_.address(); }
    Result<EndpointId> Connect(Bytes address) override { return all_.Connect(address); }
    bool HasEnded(EndpointId endpoint) const override { return all_.HasEnded(endpoint); }
    void Close(EndpointId endpoint) override { all_.Close(endpoint); }
    Sent Send(EndpointId to, Bytes header, Bytes payload, Completion* done) override {
      return all_.SendDurable(to, header, payload, done);
    }
    bool Progress() override { return all_.Progress(); }
    void Register(MutableBytes region) override { all_.Register(region); }
    std::string Describe() const override { return all_.Describe(); }

   private:
    SealingTransport& all_;
  };
  struct Waiting {
    EndpointId to;
    Bytes header, payload;
    Completion* done = nullptr;
    Lsn until;
  };
  Sent SendDurable(EndpointId to, Bytes header, Bytes payload, Completion* done);
  Sent Refuse(EndpointId to, Completion* done);

  Transport& inner_;
  ChangeLog& log_;
  HeldDoor held_;
  std::deque<Waiting> waiting_;  // by `until`
};

}  // namespace mayfly
