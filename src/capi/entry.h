// How every function of mayfly.h enters the library: under a guard, on the engine of its thread, with the result turned
// into -1 and errno. The first include of the files that define them.
#pragma once

#include "capi/convert.h"
#include "capi/error.h"
#include "capi/guard.h"
#include "capi/instance.h"
#include "mayfly/mayfly.h"

// What mayfly_connect hands out.
struct mayfly_fs {
  mayfly_fs(std::unique_ptr<mayfly::Platform> platform, const mayfly::ClientOptions& options)
      : instance(std::move(platform), options) {}
  mayfly::Instance instance;
};

namespace mayfly {

// Connects to what a platform stands for: makes an instance and reaches the root's shard, within `wait`. Null with
// errno and a sentence.
mayfly_fs* ConnectTo(std::unique_ptr<Platform> platform, const ClientOptions& options, Nanos wait);

inline int64_t Returned(const Call& call, const Status& status) { return status.ok() ? 0 : Fail(call, status.code()); }
template <class T>
int64_t Returned(const Call& call, const Result<T>& result) {
  return result.ok() ? static_cast<int64_t>(*result) : Fail(call, result.code());
}

// Runs `body(engine)` under a guard; body returns what the function returns.
template <class Body>
int64_t Enter(const Call& call, Instance& instance, Body&& body) {
  if (instance.mount().poisoned()) return Fail(call, Code::kIo);
  int64_t result = 0;
  Guard guard([](void* mount) { static_cast<Mount*>(mount)->Poison(); }, &instance.mount());
  const bool through = guard.Run([&] {
    std::string why;
    Engine* engine = instance.ThreadEngine(&why);
    if (engine == nullptr) {
      result = FailSaying(EIO, std::string(call.name) + ": " + why);
      return;
    }
    ForkGate::Scope scope(engine->inside());
    engine->Look();
    result = body(*engine);
  });
  if (through) return result;
  ForkGate::Forget();
  return Fail(call, Code::kIo);
}

// Within Enter: runs the task that `make(lane)` starts to its end.
template <class Make>
auto EndOf(Engine& engine, Make&& make) {
  TraceNotes& trace = engine.caller().trace();
  const bool traced = trace.on();
  if (traced) trace.Enter(engine.now());
  auto task = make(engine.lane());
  engine.Finish(task);
  if (traced) trace.Leave();
  return task.Take();
}

// The function's one operation is the task that `make(lane)` starts.
template <class Make>
int64_t Block(const Call& call, Instance& instance, Make&& make) {
  return Enter(call, instance, [&](Engine& engine) { return Returned(call, EndOf(engine, make)); });
}

inline Instance& InstanceOf(mayfly_fs* fs) { return fs->instance; }
inline Instance& InstanceOf(OpenFile& file) { return Instance::Of(file.mount); }

// The file of a descriptor; null with EBADF set.
inline FileRef FileOf(const Call& call, int fd) {
  FileRef file = Registry::Get().files().Find(fd);
  if (file == nullptr) Fail(call, Code::kBadHandle);
  return file;
}

// A null pointer where POSIX would say EFAULT.
#define MAYFLY_NEED(call, condition)                            \
  do {                                                          \
    if (!(condition)) return ::mayfly::FailErrno(call, EFAULT); \
  } while (false)

}  // namespace mayfly
