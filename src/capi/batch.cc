// Many operations in flight: each is a coroutine on the engine of the thread that made the batch.
#include <errno.h>

#include <algorithm>
#include <deque>

#include "capi/entry.h"

using namespace mayfly;

// Owned by one thread. Operations hold a pointer to it until they have finished.
struct mayfly_batch {
  mayfly_fs* fs;
  Engine* engine;
  uint64_t epoch;
  size_t running = 0;
  std::deque<mayfly_op*> finished;
};

namespace {

bool KnownKind(int kind) { return kind >= MAYFLY_OP_OPEN && kind <= MAYFLY_OP_PING; }

bool NeedsPath(int kind) {
  return kind != MAYFLY_OP_CLOSE && kind != MAYFLY_OP_PREAD && kind != MAYFLY_OP_PWRITE && kind != MAYFLY_OP_PING;
}

int64_t Store(mayfly_op* op, Status status) {
  op->error = ErrnoOf(status.code());
  return status.ok() ? 0 : -1;
}

template <class T>
int64_t Store(mayfly_op* op, const Result<T>& result) {
  op->error = ErrnoOf(result.code());
  return result.ok() ? static_cast<int64_t>(*result) : -1;
}

Task<int64_t> StatOp(Lane* lane, mayfly_op* op, uint64_t device) {
  auto attr = co_await lane->Stat(std::string_view(op->path), op->kind == MAYFLY_OP_STAT);
  if (attr.ok()) StatOf(*attr, device, static_cast<struct stat*>(op->buffer));
  co_return Store(op, attr.status());
}

Task<int64_t> FileOp(Lane* lane, mayfly_op* op) {
  FileRef file = Registry::Get().files().Find(op->fd);
  if (op->kind != MAYFLY_OP_CLOSE && op->offset < 0) co_return Store(op, Status(Code::kInvalid));
  if (file == nullptr || &file->mount != &lane->mount()) co_return Store(op, Status(Code::kBadHandle));
  if (op->kind == MAYFLY_OP_CLOSE) co_return Store(op, co_await lane->Close(op->fd));
  if (op->buffer == nullptr && op->bytes != 0) co_return Store(op, Status(Code::kFault));
  const auto offset = static_cast<uint64_t>(op->offset);
  auto* buffer = static_cast<uint8_t*>(op->buffer);
  if (op->kind == MAYFLY_OP_PREAD) {
    co_return Store(op, co_await lane->ReadAt(file, MutableBytes(buffer, op->bytes), offset));
  }
  co_return Store(op, co_await lane->WriteAt(file, Bytes(buffer, op->bytes), offset));
}

Task<int64_t> PathOp(Lane* lane, mayfly_op* op) {
  const std::string_view path(op->path);
  const uint16_t permissions = op->kind == MAYFLY_OP_UNLINK || op->kind == MAYFLY_OP_RMDIR
                                   ? 0
                                   : NewPermissions(op->mode, Instance::Of(lane->mount()).umask());
  switch (op->kind) {
    case MAYFLY_OP_OPEN: {
      auto flags = OpenFlagsOf(op->flags);
      if (!flags.ok()) co_return Store(op, flags.status());
      co_return Store(op, co_await lane->Open(path, *flags, (op->flags & O_CREAT) != 0 ? permissions : 0));
    }
    case MAYFLY_OP_CREATE:
      co_return Store(op, co_await lane->Create(path, (op->flags & O_EXCL) != 0, permissions));
    case MAYFLY_OP_UNLINK:
      co_return Store(op, co_await lane->Unlink(path));
    case MAYFLY_OP_MKDIR:
      co_return Store(op, co_await lane->Mkdir(path, permissions & 01777));
    case MAYFLY_OP_RMDIR:
      co_return Store(op, co_await lane->Rmdir(path));
    default:
      co_return Store(op, Status(Code::kInvalid));
  }
}

Task<Status> RunOp(mayfly_batch* batch, mayfly_op* op) {
  Lane* lane = &batch->engine->lane();
  if (op->kind == MAYFLY_OP_PING) {
    op->result = Store(op, co_await lane->Ping(lane->mount().placement().RootShard(), lane->Deadline()));
  } else if (NeedsPath(op->kind) && op->path == nullptr) {
    op->result = Store(op, Status(Code::kFault));
  } else if (op->kind == MAYFLY_OP_STAT || op->kind == MAYFLY_OP_LSTAT) {
    if (op->buffer == nullptr) {
      op->result = Store(op, Status(Code::kFault));
    } else {
      op->result = co_await StatOp(lane, op, InstanceOf(batch->fs).device());
    }
  } else if (NeedsPath(op->kind)) {
    op->result = co_await PathOp(lane, op);
  } else {
    op->result = co_await FileOp(lane, op);
  }
  --batch->running;
  batch->finished.push_back(op);
  co_return Code::kOk;
}

bool OfThisProcess(const mayfly_batch* batch) { return batch->epoch == InstanceOf(batch->fs).mount().epoch(); }

}  // namespace

mayfly_batch* mayfly_batch_create(mayfly_fs* fs) {
  const Call call{"mayfly_batch_create", ""};
  if (fs == nullptr) {
    FailErrno(call, EFAULT);
    return nullptr;
  }
  mayfly_batch* batch = nullptr;
  const int64_t entered = Enter(call, InstanceOf(fs), [&](Engine& engine) -> int64_t {
    batch = new mayfly_batch{fs, &engine, InstanceOf(fs).mount().epoch(), 0, {}};
    return 0;
  });
  return entered == 0 ? batch : nullptr;
}

int mayfly_batch_submit(mayfly_batch* batch, mayfly_op* const* ops, size_t count) {
  const Call call{"mayfly_batch_submit", ""};
  MAYFLY_NEED(call, batch != nullptr && (ops != nullptr || count == 0));
  for (size_t i = 0; i < count; ++i) {
    if (ops[i] == nullptr || !KnownKind(ops[i]->kind)) return FailErrno(call, EINVAL);
  }
  if (!OfThisProcess(batch)) return FailSaying(EINVAL, "mayfly_batch_submit: a batch is not inherited by fork");
  return static_cast<int>(Enter(call, InstanceOf(batch->fs), [&](Engine&) -> int64_t {
    for (size_t i = 0; i < count; ++i) {
      ++batch->running;
      batch->engine->lane().Spawn(RunOp(batch, ops[i]), "an operation of a batch");
    }
    return 0;
  }));
}

ssize_t mayfly_batch_wait(mayfly_batch* batch, size_t least, mayfly_op** done, size_t most, int timeout_ms) {
  const Call call{"mayfly_batch_wait", ""};
  MAYFLY_NEED(call, batch != nullptr && (done != nullptr || most == 0));
  if (!OfThisProcess(batch)) return FailSaying(EINVAL, "mayfly_batch_wait: a batch is not inherited by fork");
  return Enter(call, InstanceOf(batch->fs), [&](Engine&) -> int64_t {
    Engine& engine = *batch->engine;
    least = std::min(least, most);
    const Nanos until = timeout_ms < 0 ? kNever : engine.now() + static_cast<Nanos>(timeout_ms) * kMillisecond;
    engine.Turn();
    while (batch->finished.size() < least && batch->running != 0) {
      if (until != kNever && engine.now() >= until) break;
      engine.TurnOrWait(until);
    }
    const size_t count = std::min(most, batch->finished.size());
    std::copy_n(batch->finished.begin(), count, done);
    batch->finished.erase(batch->finished.begin(), batch->finished.begin() + static_cast<ptrdiff_t>(count));
    return static_cast<int64_t>(count);
  });
}

int mayfly_batch_destroy(mayfly_batch* batch) {
  const Call call{"mayfly_batch_destroy", ""};
  MAYFLY_NEED(call, batch != nullptr);
  int64_t result = 0;
  if (OfThisProcess(batch) && batch->running != 0) {
    result = Enter(call, InstanceOf(batch->fs), [&](Engine&) -> int64_t {
      while (batch->running != 0) batch->engine->TurnOrWait(kNever);
      return 0;
    });
    if (batch->running != 0) return static_cast<int>(result);  // poisoned: its operations still point to it
  }
  delete batch;
  return static_cast<int>(result);
}
