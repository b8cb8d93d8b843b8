// Queues in virtual time: jobs go from station to station; a station serves one at a time, in the order they came.
// The model says how long each piece of work takes and where the job goes then. With `cores`, so many stations work at
// a time, as processes on a shared machine do: one keeps its core while it has work, for a slice at most.
// Model       Nanos Work(uint32_t job, uint32_t station)   asked once, when the service begins
//             void Done(uint32_t job, uint32_t station)    at its end; sends the job on with Send, or keeps it
// Invariants  E1  time never runs backwards; what is due at the same instant happens in the order of job numbers.
//             E2  a job is on its way, waits, is served, or is with the model: in one place at a time.
#pragma once

#include <algorithm>
#include <vector>

#include "base/check.h"
#include "base/ids.h"

namespace mayfly::scale {

template <class Model>
class Engine {
 public:
  static constexpr Nanos kSlice = 3 * kMillisecond;

  // `cores` 0: one for each station.
  Engine(Model& model, uint32_t stations, uint32_t jobs, uint32_t cores = 0)
      : model_(model), cores_(cores), stations_(stations), next_(jobs, kNone) {}

  Nanos now() const { return now_; }
  // The job comes to `station` after so long.
  void Send(uint32_t job, uint32_t station, Nanos after) { Push({now_ + after, job, station << 1}); }
  // One event; false if nothing is under way.
  bool Step() {
    if (events_.empty()) return false;
    std::pop_heap(events_.begin(), events_.end());
    const Event event = events_.back();
    events_.pop_back();
    MAYFLY_CHECK(event.at >= now_);  // E1
    now_ = event.at;
    const uint32_t station = event.what >> 1;
    (event.what & 1) != 0 ? End(event.job, station) : Arrive(event.job, station);
    return true;
  }
  // Of a station since the last call of ForgetBusy: the work that was begun.
  Nanos busy(uint32_t station) const { return stations_[station].busy; }
  void ForgetBusy() {
    for (Station& s : stations_) s.busy = 0;
  }

 private:
  static constexpr uint32_t kNone = ~0u;
  struct Event {
    Nanos at = 0;
    uint32_t job = 0;
    uint32_t what = 0;  // station:31 | end of service:1
    // The heap has its greatest in front: the earliest event.
    bool operator<(const Event& other) const { return at != other.at ? at > other.at : job > other.job; }
  };
  struct Station {
    uint32_t first = kNone, last = kNone;  // of the jobs that wait
    bool working = false;                  // a job is being served
    bool ready = false;                    // waits for a core
    Nanos slice_end = 0;
    Nanos busy = 0;
  };

  void Push(Event event) {
    events_.push_back(event);
    std::push_heap(events_.begin(), events_.end());
  }

  void Arrive(uint32_t job, uint32_t at) {
    Station& s = stations_[at];
    next_[job] = kNone;
    (s.first == kNone ? s.first : next_[s.last]) = job;
    s.last = job;
    if (s.working || s.ready) return;
    if (cores_ != 0 && running_ == cores_) {
      MakeReady(at);
    } else {
      ++running_;
      s.slice_end = now_ + kSlice;
      Begin(at);
    }
  }

  void Begin(uint32_t at) {
    Station& s = stations_[at];
    const uint32_t job = s.first;
    s.first = next_[job];
    s.working = true;
    const Nanos work = model_.Work(job, at);
    stations_[at].busy += work;
    Push({now_ + work, job, at << 1 | 1});
  }

  void End(uint32_t job, uint32_t at) {
    Station& s = stations_[at];
    s.working = false;
    model_.Done(job, at);
    const bool more = s.first != kNone;
    if (more && (ready_first_ == ready_.size() || now_ < s.slice_end)) {
      Begin(at);
      return;
    }
    --running_;
    if (more) MakeReady(at);
    if (ready_first_ == ready_.size()) return;
    const uint32_t next = ready_[ready_first_++];
    if (ready_first_ == ready_.size()) {
      ready_.clear();
      ready_first_ = 0;
    }
    stations_[next].ready = false;
    stations_[next].slice_end = now_ + kSlice;
    ++running_;
    Begin(next);
  }

  void MakeReady(uint32_t at) {
    stations_[at].ready = true;
    ready_.push_back(at);
  }

  Model& model_;
  const uint32_t cores_;
  uint32_t running_ = 0;
  Nanos now_ = 0;
  std::vector<Event> events_;  // a heap
  std::vector<Station> stations_;
  std::vector<uint32_t> next_;  // of a job that waits: the one behind it
  std::vector<uint32_t> ready_;
  size_t ready_first_ = 0;
};

}  // namespace mayfly::scale
