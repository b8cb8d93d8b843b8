// An engine makes progress for one thread: doors, executor, connections and a lane. While a thread waits for an
// operation it drives its engine: it spins for a short time (task/spinner.h), then sleeps on the transport's descriptor
// until the next timer. One thread uses it at a time; it may be handed to another thread
// when that one ends.
#pragma once

#include <memory>

#include "capi/fork_gate.h"
#include "capi/platform.h"
#include "client/lane.h"
#include "task/executor.h"
#include "task/spinner.h"

namespace mayfly {

class Engine {
 public:
  // (source: MEASURED.md, spinning: 100 us with a yield each turn was best where cores are shared)
  static constexpr Nanos kSpin = 100 * kMicrosecond;
  static constexpr uint32_t kTurnsALook = 8;

  Engine(std::unique_ptr<Ground> ground, const AddressBook& book, Identity identity, Mount& mount);
  Engine(const Engine&) = delete;
  ~Engine();

  // One turn: what has arrived, what is due. True if there was anything.
  bool Turn() { return static_cast<int>(transport_.Progress()) | static_cast<int>(executor_.RunOnce()); }
  // Drives until the task is done. Its operations have deadlines, so it is done some time.
  template <class T>
  void Finish(const Task<T>& task) {
    while (!task.done()) TurnOrWait(kNever);
  }
  // One turn; sleeps if there was nothing for a while, until `until` at most.
  void TurnOrWait(Nanos until);
  // Until the lane has nothing under way, or `until` has come.
  void TurnUntilIdle(Nanos until) {
    while (!lane_.idle() && now() < until) TurnOrWait(until);
  }
  // One turn; sleeps at once if there was nothing.
  void TurnOrSleep(Nanos until);

  // Ends all calls and drives until nothing is under way. False if `until` came first: it must not be destroyed then.
  bool Close(Nanos until);
  void Abandon() { ground_->Abandon(); }

  // Held by whoever calls the rest of this class.
  ForkGate::Inside& inside() { return inside_; }
  Lane& lane() { return lane_; }
  Caller& caller() { return caller_; }
  Executor& executor() { return executor_; }
  Ground& ground() { return *ground_; }
  Nanos now() { return executor_.now(); }
  // The caller's own work since the last call took nobody knows how long: before an operation starts.
  void Look() { executor_.Look(); }

 private:
  ForkGate::Inside inside_;
  std::unique_ptr<Ground> ground_;
  Transport& transport_;
  OutsideIdle idle_;
  Executor executor_;
  Caller caller_;
  Lane lane_;
  Spinner spinner_;
};

}  // namespace mayfly
