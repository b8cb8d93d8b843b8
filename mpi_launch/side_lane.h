// A client's lane, for what a launcher asks of servers that are not its own: one transport, one caller. One thread
// makes, drives and destroys it.
#pragma once

#include <atomic>
#include <memory>

#include "adapt/posix/clock.h"
#include "adapt/posix/idle.h"
#include "adapt/posix/random.h"
#include "adapt/ucx/ucx_transport.h"
#include "node_book.h"
#include "rpc/caller.h"
#include "session/outcome.h"

namespace mayfly {

class SideLane {
 public:
  // `book` outlives it.
  static Outcome<std::unique_ptr<SideLane>> Create(const UcxOptions& ucx, const NodeBook& book, const Secret& secret,
                                                   const std::string& host);
  SideLane(const SideLane&) = delete;
  ~SideLane();

  Executor& executor() { return executor_; }
  Caller& caller() { return *caller_; }
  PosixRandom& random() { return random_; }
  // Until the task is done. When `cancel` becomes true (looked at every 50 ms), calls end with kShutdown from then on.
  Status Drive(Task<Status> task, const std::atomic<bool>* cancel = nullptr);

 private:
  explicit SideLane(std::unique_ptr<UcxTransport> transport) : transport_(std::move(transport)) {}

  PosixClock clock_;
  PosixRandom random_;
  PosixIdle idle_;
  Executor executor_{clock_};  // outlives the transport, whose last completions post to it
  std::unique_ptr<UcxTransport> transport_;
  std::unique_ptr<Caller> caller_;
};

}  // namespace mayfly
