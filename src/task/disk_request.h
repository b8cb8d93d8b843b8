// One request to a disk that a coroutine awaits, at once or later: `request.Read(...); Status s = co_await request;`.
// It may be used again once awaited. It outlives what it asked for: its destructor insists.
#pragma once

#include <coroutine>
#include <utility>

#include "base/check.h"
#include "os/disk.h"
#include "task/executor.h"

namespace mayfly {

class DiskRequest : private Completion {
 public:
  DiskRequest(Executor& executor, Disk& disk) : Completion{&DiskRequest::Done}, executor_(executor), disk_(disk) {}
  DiskRequest(const DiskRequest&) = delete;
  DiskRequest& operator=(const DiskRequest&) = delete;
  ~DiskRequest() { MAYFLY_CHECK(!under_way_); }

  void Read(DiskFileId file, uint64_t offset, MutableBytes to) { disk_.Read(file, offset, to, Begin()); }
  void Write(DiskFileId file, uint64_t offset, Bytes from) { disk_.Write(file, offset, from, Begin()); }
  void Flush(DiskFileId file) { disk_.Flush(file, Begin()); }
  bool under_way() const { return under_way_; }

  bool await_ready() const { return !under_way_; }
  void await_suspend(std::coroutine_handle<> waiter) { waiter_ = waiter; }
  Status await_resume() const { return status_; }

 private:
  Completion* Begin() {
    MAYFLY_CHECK(!under_way_);
    under_way_ = true;
    return this;
  }
  static void Done(Completion* self, Status status) {
    auto* me = static_cast<DiskRequest*>(self);
    me->under_way_ = false;
    me->status_ = status;
    if (me->waiter_) me->executor_.Post(std::exchange(me->waiter_, nullptr));
  }

  Executor& executor_;
  Disk& disk_;
  bool under_way_ = false;
  Status status_;
  std::coroutine_handle<> waiter_;
};

}  // namespace mayfly
