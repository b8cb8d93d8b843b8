// The door to the network: messages of a small header and an optional payload between workers that know each other's
// address. It knows nothing of requests, replies, keys or time-outs (room rpc does).
// One thread owns a transport and calls everything here; all callbacks run inside Progress (or inside Close) on it.
// Invariants  N1  a message arrives at most once and whole, or not at all; order between messages is not promised.
//             N2  header and payload of a send belong to the transport until its completion ran (or Send said kDone).
//             N3  a completion runs exactly once for each Send that said kPending, also when its endpoint goes down:
//                 a dead peer completes with kUnavailable, promptly (UCX peer error mode).
//             N4  an endpoint id is never reused, so a late event cannot reach a stranger.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/status.h"
#include "os/completion.h"

namespace mayfly {

using EndpointId = Id<struct EndpointTag, uint64_t>;  // 0 is none

// The bulk bytes of a message that arrived. Move it out of OnMessage to keep it; destroying it drops the bytes
// unread (the sender's completion still runs).
class Payload {
 public:
  // What a transport implements a payload with. `Drop` ends the payload's life and is called exactly once.
  class Source {
   public:
    virtual void Fetch(void* token, MutableBytes to, Completion* done) = 0;
    virtual void Drop(void* token) = 0;

   protected:
    ~Source() = default;
  };

  Payload() = default;
  // `eager` are the bytes where they already arrived (empty for a rendezvous, whose bytes are still with the sender).
  Payload(Source* source, void* token, size_t bytes, Bytes eager)
      : source_(source), token_(token), bytes_(bytes), eager_(eager) {}
  Payload(Payload&& o) noexcept
      : source_(std::exchange(o.source_, nullptr)),
        token_(o.token_),
        bytes_(std::exchange(o.bytes_, 0)),
        eager_(std::exchange(o.eager_, {})) {}
  Payload& operator=(Payload&& o) noexcept {
    if (this != &o) {
      Reset();
      source_ = std::exchange(o.source_, nullptr);
      token_ = o.token_;
      bytes_ = std::exchange(o.bytes_, 0);
      eager_ = std::exchange(o.eager_, {});
    }
    return *this;
  }
  ~Payload() { Reset(); }

  size_t size() const { return bytes_; }
  bool is_eager() const { return eager_.size() == bytes_; }
  // The bytes in place; valid as long as this payload. Only if is_eager().
  Bytes eager() const { return eager_; }
  // Pulls a rendezvous payload into `to` (exactly size() bytes, which belong to the transport until `done` ran; the
  // payload must live until then too). Only if !is_eager(), and once.
  void Fetch(MutableBytes to, Completion* done) { source_->Fetch(token_, to, done); }
  void Reset() {
    if (source_ != nullptr) std::exchange(source_, nullptr)->Drop(token_);
    bytes_ = 0;
    eager_ = {};
  }

 private:
  Source* source_ = nullptr;
  void* token_ = nullptr;
  size_t bytes_ = 0;
  Bytes eager_;
};

class Receiver {
 public:
  // `header` is valid during the call only. Nothing about the message is authenticated yet, and who sent it need not
  // have kept to Transport::kHeaderBytesMax.
  virtual void OnMessage(Bytes header, Payload payload) = 0;
  // The peer of `endpoint` is gone; pending sends on it have completed or will. The endpoint must still be closed.
  virtual void OnEndpointDown(EndpointId endpoint) = 0;

 protected:
  ~Receiver() = default;
};

class Transport {
 public:
  // A header is at most this long; both adapters and the wire's static checks hold it (fits UCX's smallest segment).
  static constexpr size_t kHeaderBytesMax = 2048;
  static constexpr size_t kAddressBytesMax = 4096;

  enum class Sent : uint8_t { kDone, kPending };

  virtual ~Transport() = default;
  // Before the first Progress. The receiver outlives the transport's last call.
  virtual void SetReceiver(Receiver* receiver) = 0;
  // What a peer passes to Connect. Opaque, at most kAddressBytesMax.
  virtual Bytes address() const = 0;
  // Does not wait: a peer that is not there shows as OnEndpointDown or a failed completion.
  virtual Result<EndpointId> Connect(Bytes address) = 0;
  // Of an endpoint that is down and not closed yet: whether the process it led to is known to have ended, so that it
  // says nothing more. Before OnEndpointDown all that it had said has been heard.
  virtual bool HasEnded(EndpointId endpoint) const = 0;
  // Forced and at once; pending completions run with kUnavailable, now or in Progress. Unknown ids are ignored.
  virtual void Close(EndpointId endpoint) = 0;
  // kDone: finished, `done` will not run, the bytes are free. kPending: N2, N3. An unknown or failed endpoint completes
  // with kUnavailable (from Progress).
  virtual Sent Send(EndpointId to, Bytes header, Bytes payload, Completion* done) = 0;
  // Moves things along; true if anything happened.
  virtual bool Progress() = 0;
  // Makes bulk memory cheap to send from and receive into (registers it). Failure costs speed only.
  virtual void Register(MutableBytes region) = 0;
  // "posix+cma (shared memory)", "tcp": for reports.
  virtual std::string Describe() const = 0;
};

}  // namespace mayfly
