// Sleep on event descriptors: what was added (the transport, a ring of block I/O) and an eventfd of its own for Wake.
// One thread owns it and sleeps; Wake is for everybody, signal handlers too.
// Invariants  I1  Sleep arms every source before it blocks, and does not block if one says that it has work.
//             I2  a Wake before or during Sleep ends it; two before one Sleep end one.
#pragma once

#include <vector>

#include "adapt/event_source.h"
#include "os/idle.h"

namespace mayfly {

class PosixIdle final : public Idle {
 public:
  PosixIdle();
  PosixIdle(const PosixIdle&) = delete;
  PosixIdle& operator=(const PosixIdle&) = delete;
  ~PosixIdle() override;

  // `source` outlives this object, or its Remove.
  void Add(EventSource* source);
  void Remove(EventSource* source);

  void Sleep(Nanos until) override;
  void Yield() override;
  void Wake() override;

 private:
  int epoll_ = -1;
  int wake_ = -1;
  std::vector<EventSource*> sources_;
};

}  // namespace mayfly
