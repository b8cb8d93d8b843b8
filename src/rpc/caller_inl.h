// The parts of Caller that its templates need. Included by caller.h only.
#pragma once

namespace mayfly {

// One call. Its header is sent from here, so a slot outlives the transport's use of it (L2).
struct Caller::Slot : ChainNode<ActiveTag>, ChainNode<WaitingTag> {
  // Completions are embedded; `slot` leads back.
  struct Link : Completion {
    Slot* slot = nullptr;
  };

  Caller* caller = nullptr;
  uint32_t index = 0;
  uint32_t generation = 1;
  State state = State::kFree;
  bool sending = false;   // the transport still has header and payload
  bool once = false;      // the method executes once
  Code code = Code::kOk;  // once kDone
  uint16_t attempt = 0;   // how often it was sent before
  Method method = Method::kPing;
  ShardId to;
  Peer* peer = nullptr;  // null: there is no such shard
  Nanos deadline = 0;
  Nanos queued_at = 0;
  Nanos sent_at = 0;
  // By the clock itself, if it is traced (made_at != 0): when it was made, handed to the transport, answered.
  Nanos made_at = 0, handed_at = 0, answered_at = 0;
  Nanos shard_had = 0;    // it for so long
  EndpointId endpoint;    // it was last sent on
  bool repeated = false;  // it was sent twice on this endpoint
  uint64_t heard = 0;     // peer->heard when it was sent last
  uint64_t sequence = 0;  // 0: none yet, or none at all
  Generation walked_at;
  Bytes payload;
  MutableBytes reply_payload;
  size_t* reply_bytes = nullptr;
  void* reply = nullptr;
  DecodeFn decode = nullptr;
  Payload fetching;  // a rendezvous reply on its way
  Link send_done, fetch_done;
  std::coroutine_handle<> waiter;
  size_t header_bytes = 0;
  uint8_t header[Transport::kHeaderBytesMax];

  bool over() const { return state == State::kDone && !sending; }
};

template <Method M>
class [[nodiscard]] Caller::Awaiter {
 public:
  Awaiter(Caller& caller, Slot* slot) : caller_(&caller), slot_(slot) {}
  Awaiter(Awaiter&& o) noexcept : caller_(o.caller_), slot_(std::exchange(o.slot_, nullptr)) {}
  ~Awaiter() { MAYFLY_CHECK(slot_ == nullptr); }  // a call must be awaited
  bool await_ready() const { return slot_->over(); }
  void await_suspend(std::coroutine_handle<> h) { slot_->waiter = h; }
  Status await_resume() {
    Code code = slot_->code;
    caller_->Release(std::exchange(slot_, nullptr));
    return code;
  }

 private:
  Caller* caller_;
  Slot* slot_;
};

template <Method M>
Caller::Awaiter<M> Caller::Call(ShardId to, const typename MethodTypes<M>::Request& request,
                                typename MethodTypes<M>::Reply* reply, const CallOptions& options) {
  using Reply = typename MethodTypes<M>::Reply;
  Slot* slot = Begin(to, M, options, reply, [](Bytes body, void* out) {
    Decoder d(body);
    static_cast<Reply*>(out)->Fields(d);
    return d.Finish().ok();
  });
  constexpr size_t kBefore = Prefix::kBytes + RequestHeader::kBytes;
  Encoder e(MutableBytes(slot->header).subspan(kBefore));
  e.Put(request);
  MAYFLY_CHECK(e.ok());  // limits of names and counts are checked where they enter
  Start(slot, kBefore + e.size());
  return Awaiter<M>(*this, slot);
}

}  // namespace mayfly
