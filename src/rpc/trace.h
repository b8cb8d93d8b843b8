// A trace of requests: where their time goes, by method and stage (wire/trace_messages.h). Off, it costs a branch on a
// flag at each end; on, some looks at the clock a request and no allocation.
// A shard's TraceBook is switched on for some seconds by a request. As long as it is on, replies say so and for how
// long the shard had the request; a client that hears it times its requests too, and sends what it noted to the shard,
// which keeps all that there is to know. Nobody subtracts the clocks of two machines. Invariants  T1  a book is on
// until its deadline at most, whatever becomes of who switched it on; it keeps what it
//                 collected for kKeptFor from then on.
//             T2  one trace at a time: another is refused until what the first one collected was read, or is forgotten.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "base/histogram.h"
#include "os/clock.h"
#include "task/executor.h"
#include "wire/header.h"
#include "wire/trace_messages.h"

namespace mayfly {

class TraceBook {
 public:
  static constexpr Nanos kKeptFor = 5 * kSecond;

  explicit TraceBook(Executor& executor) : executor_(executor) {}
  TraceBook(const TraceBook&) = delete;
  ~TraceBook() { executor_.Cancel(timer_); }

  bool on() const { return on_; }
  // Whether notes are taken: also for a while after it was switched off, as clients send theirs with a delay.
  bool collects() const { return trace_ != 0; }
  // For so long from now on; 0: off. kBusy: T2; kInvalid: no number.
  Status Switch(uint64_t trace, Nanos how_long);
  // What that trace has collected so far; kNoEntry: that is another, or it was forgotten.
  Result<std::vector<TraceLine>> Read(uint64_t trace);

  void Add(Method method, TraceStage stage, Nanos took);
  Nanos Now() { return executor_.clock().Now(); }

 private:
  static constexpr size_t kStages = static_cast<size_t>(TraceStage::kWake) + 1;
  void Wait(Nanos how_long);
  void Ended();
  void Forget();

  Executor& executor_;
  bool on_ = false;
  bool read_ = false;
  uint64_t trace_ = 0;  // 0: nothing is collected
  Executor::TimerId timer_;
  // By method and stage, made when the first of its kind comes.
  std::vector<std::array<std::unique_ptr<Histogram>, kStages>> histograms_;
};

// A client thread's part. One thread.
class TraceNotes {
 public:
  static constexpr Nanos kSentEvery = 10 * kMillisecond;
  static constexpr Nanos kTooOld = kSecond;  // they may be of an earlier trace
  static constexpr size_t kNotesMax = 180;
  static_assert(Prefix::kBytes + kNotesMax * TraceNote::kBytes <= 2048);

  explicit TraceNotes(Clock& clock) : clock_(clock) {}

  bool on() const { return on_; }
  void Heard(bool on);  // in a reply
  Nanos Now() { return clock_.Now(); }
  void Add(Method method, TraceStage stage, Nanos took);

  // ---- a call of the C interface ----
  void Enter(Nanos now) { entered_ = began_ = now; }
  void Leave();
  // A request is made, perhaps the first of that call: since when its time counts.
  Nanos Begin(Method method);

  // ---- around a copy: Copied(method, Start()) ----
  Nanos Start() { return on_ ? Now() : 0; }  // 0: nothing is traced
  void Copied(Method method, Nanos since);

  // Whether it is time to send what there is.
  bool Due(Nanos now) const { return count_ >= kSendFrom || (count_ != 0 && now >= oldest_ + kSentEvery); }
  // What there is, encoded into `to`; nothing if it is too old. Begins anew.
  size_t Take(MutableBytes to, Nanos now);
  bool empty() const { return count_ == 0; }

 private:
  static constexpr size_t kSendFrom = kNotesMax - 20;

  Clock& clock_;
  bool on_ = false;
  Nanos entered_ = 0, began_ = 0;  // of the call: 0 outside; began_: 0 once it made a request
  Method first_{};                 // of its requests
  size_t count_ = 0;
  Nanos oldest_ = 0;
  std::unique_ptr<std::array<TraceNote, kNotesMax>> notes_;
};

}  // namespace mayfly
