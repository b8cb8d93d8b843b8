// mayfly_connect, mayfly_disconnect and what is said about failures.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bit>

#include "base/log.h"
#include "capi/entry.h"
#include "capi/posix_platform.h"

namespace mayfly {
namespace {

// A server to which many come at once, on a node that is busy, may take longer to greet one than a lane gives it.
constexpr Nanos kComeAgainFor = 12 * kSecond, kComeAgainAfter = 100 * kMillisecond;

// MAYFLY_LOG: debug, info, warning or error: the least level that goes to standard error.
void SetLogByEnvironment() {
  const char* level = getenv("MAYFLY_LOG");
  if (level == nullptr) return;
  constexpr std::pair<const char*, LogLevel> kLevels[] = {{"debug", LogLevel::kDebug},
                                                          {"info", LogLevel::kInfo},
                                                          {"warning", LogLevel::kWarn},
                                                          {"error", LogLevel::kError}};
  for (const auto& [name, value] : kLevels) {
    if (strcmp(level, name) == 0) SetLogSink(nullptr, value);
  }
}

int ErrnoOfConnect(Code code) {
  switch (code) {
    case Code::kNotSupported:
      return EPROTO;
    case Code::kDenied:
      return EACCES;
    case Code::kStale:
      return ENODEV;
    default:
      return ErrnoOf(code);
  }
}

bool ValidChunk(uint32_t bytes) {
  return bytes == 0 || (std::has_single_bit(bytes) && bytes >= (1u << kChunkBitsMin) && bytes <= (1u << kChunkBitsMax));
}

// The caller's structure may be of an older or a newer version: the part that both know counts.
mayfly_options Completed(const mayfly_options* given) {
  mayfly_options options;
  mayfly_options_init(&options);
  if (given == nullptr) return options;
  const size_t bytes = std::min<size_t>(given->struct_bytes, sizeof options);
  memcpy(&options, given, bytes);
  options.struct_bytes = sizeof options;
  return options;
}

ClientOptions ClientOptionsOf(const mayfly_options& options) {
  ClientOptions out;
  if (options.op_timeout_ms != 0) out.op_timeout = options.op_timeout_ms * kMillisecond;
  out.checksum = options.checksum != 0;
  out.write_behind_bytes = options.write_behind_bytes;
  out.readahead_bytes = options.readahead_bytes;
  out.map_arena = options.map_arena != 0;
  out.chunk_bits = options.chunk_bytes == 0 ? 0 : static_cast<uint8_t>(std::countr_zero(options.chunk_bytes));
  return out;
}

}  // namespace

mayfly_fs* ConnectTo(std::unique_ptr<Platform> platform, const ClientOptions& asked, Nanos wait) {
  ClientOptions options = asked;
  if (platform->servers_come_back()) options.unreachable_after = options.op_timeout;
  options.syncs = platform->syncs();
  Registry::Get();  // guards and fork handlers before anything else
  auto fs = std::make_unique<mayfly_fs>(std::move(platform), options);
  Instance& instance = fs->instance;
  Registry::Get().Add(&instance);
  const Call call{"mayfly_connect", ""};
  Status status;
  const int64_t entered = Enter(call, instance, [&](Engine& engine) -> int64_t {
    const ShardId root = instance.platform().placement().RootShard();
    const Nanos began = engine.now(), patience = began + std::min(wait, kComeAgainFor);
    for (;;) {
      auto task = engine.lane().Ping(root, began + wait);
      engine.Finish(task);
      status = task.Take();
      if (status.code() != Code::kUnavailable || engine.now() >= patience || instance.platform().SessionIsGone()) break;
      const Nanos again = engine.now() + kComeAgainAfter;
      while (engine.now() < again) engine.TurnOrWait(again);
    }
    return 0;
  });
  if (entered == 0 && status.ok()) return fs.release();
  if (entered == 0) {
    const ShardId root = instance.platform().placement().RootShard();
    FailSaying(ErrnoOfConnect(status.code()),
               fmt::format("mayfly_connect: {} does not answer ({}): see what its server printed, and whether this "
                           "node reaches that one",
                           instance.platform().book().NameOf(root), TextOf(status.code())));
  }
  const int error = errno;
  (void)instance.Close();
  errno = error;
  return nullptr;
}

}  // namespace mayfly

using namespace mayfly;

void mayfly_options_init(mayfly_options* options) {
  memset(options, 0, sizeof *options);
  options->struct_bytes = sizeof *options;
  options->ready_timeout_ms = 60'000;
  options->op_timeout_ms = 30'000;
  options->checksum = 1;
  options->write_behind_bytes = 1u << 20;
  options->readahead_bytes = 8u << 20;
  options->map_arena = 1;
}

int mayfly_connect(const char* session, const mayfly_options* given, mayfly_fs** out) {
  const Call call{"mayfly_connect", session != nullptr ? session : ""};
  MAYFLY_NEED(call, out != nullptr);
  *out = nullptr;
  const mayfly_options options = Completed(given);
  if (!ValidChunk(options.chunk_bytes)) {
    return FailSaying(EINVAL, "mayfly_connect: chunk_bytes must be a power of two from 65536 to 67108864, or 0");
  }
  SetLogByEnvironment();
  Registry::Get();
  mayfly_fs* fs = nullptr;
  Guard guard(nullptr, nullptr);
  const bool through = guard.Run([&] {
    UcxOptions ucx;
    if (options.rendezvous_bytes != 0) ucx.eager_bytes_max = options.rendezvous_bytes - 1;
    const Nanos wait = options.ready_timeout_ms * kMillisecond;
    auto platform = PosixPlatform::Connect(session != nullptr ? session : "", wait, ucx);
    if (!platform.ok()) {
      FailSaying(ErrnoOfConnect(platform.failure().status.code()), "mayfly_connect: " + platform.failure().sentence);
      return;
    }
    const Nanos reach = std::max<Nanos>(wait, kSecond);
    fs = ConnectTo(std::move(*platform), ClientOptionsOf(options), reach);
  });
  if (!through) return Fail(call, Code::kIo);
  *out = fs;
  return fs != nullptr ? 0 : -1;
}

mode_t mayfly_umask(mayfly_fs* fs, mode_t mask) { return fs == nullptr ? 0 : InstanceOf(fs).SetUmask(mask); }

int mayfly_disconnect(mayfly_fs* fs) {
  const Call call{"mayfly_disconnect", ""};
  MAYFLY_NEED(call, fs != nullptr);
  Status status = Code::kIo;
  {
    Guard guard([](void* mount) { static_cast<Mount*>(mount)->Poison(); }, &fs->instance.mount());
    if (!guard.Run([&] { status = fs->instance.Close(); })) return Fail(call, Code::kIo);  // it stays where it is
  }
  if (!fs->instance.mount().poisoned()) delete fs;
  return static_cast<int>(Returned(call, status));
}

const char* mayfly_error(void) { return LastSentence(); }

const char* mayfly_version(void) {
#define MAYFLY_TEXT(x) #x
#define MAYFLY_TEXT_OF(x) MAYFLY_TEXT(x)
  return MAYFLY_TEXT_OF(MAYFLY_VERSION_MAJOR) "." MAYFLY_TEXT_OF(MAYFLY_VERSION_MINOR);
}
