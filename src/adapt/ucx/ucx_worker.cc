#include "adapt/ucx/ucx_worker.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucs/debug/log_def.h>

#include <atomic>
#include <cstddef>
#include <filesystem>
#include <mutex>

#include "base/checksum.h"
#include "base/log.h"
#include "os/transport.h"

namespace mayfly {

namespace {

// An address as it travels, little-endian: the frame, then UCX's blob.
struct Frame {
  uint32_t magic;
  uint32_t blob_bytes;
  uint64_t checksum;  // of all that follows
  uint64_t host;
  uint64_t start;
  uint32_t pid;
  uint32_t zero;
};
static_assert(sizeof(Frame) == 40 && offsetof(Frame, host) == 16);
constexpr uint32_t kAddressMagic = 0x3158594d;  // "MYX1"

thread_local bool muted = false;
std::atomic<bool> log_taken = false;

// UCX calls it an error when a peer died. What that means is reported where the request ends, so here it is a detail.
ucs_log_func_rc_t ToOurLog(const char*, unsigned, const char*, ucs_log_level_t level, const ucs_log_component_config_t*,
                           const char* format, va_list arguments) {
  if (muted) return UCS_LOG_FUNC_RC_STOP;
  if (!log_taken) return UCS_LOG_FUNC_RC_CONTINUE;
  const LogLevel ours = level == UCS_LOG_LEVEL_FATAL   ? LogLevel::kError
                        : level == UCS_LOG_LEVEL_ERROR ? LogLevel::kInfo
                                                       : LogLevel::kDebug;
  if (LogEnabled(ours)) {
    char line[512];
    va_list copy;
    va_copy(copy, arguments);
    vsnprintf(line, sizeof line, format, copy);
    va_end(copy);
    Log(ours, "ucx: {}", line);
  }
  return UCS_LOG_FUNC_RC_STOP;
}

void TakeLog(bool take) {
  static std::once_flag once;
  std::call_once(once, [] { ucs_log_push_handler(ToOurLog); });
  if (take) log_taken = true;
}

// Without its parameter checks UCX 1.13 waits for ever for CMA to invalidate memory (ucp_request_dt_invalidate). The
// probe asks for a feature that was not initialized: refused with the checks, and without them no event is no harm.
bool CmaIsSafe(ucp_worker_h worker) {
  muted = true;
  const ssize_t refused = ucp_stream_worker_poll(worker, nullptr, 0, 0);
  muted = false;
  return refused < 0;
}

bool IsVersion113() {
  unsigned major = 0, minor = 0, release = 0;
  ucp_get_version(&major, &minor, &release);
  return major == 1 && minor == 13;
}

struct ConfigDeleter {
  void operator()(ucp_config_t* config) const { ucp_config_release(config); }
};
using Config = std::unique_ptr<ucp_config_t, ConfigDeleter>;

bool Set(ucp_config_t* config, const char* name, const std::string& value, std::string* why) {
  const ucs_status_t status = ucp_config_modify(config, name, value.c_str());
  if (status == UCS_OK) return true;
  *why = fmt::format("UCX refuses {}={}: {}", name, value, ucs_status_string(status));
  return false;
}

// True unless some RDMA device could carry bulk data.
bool OnlyTcp(const std::string& tls) {
  std::error_code none;
  if (std::filesystem::directory_iterator("/sys/class/infiniband", none) == std::filesystem::directory_iterator()) {
    return true;
  }
  const char* of_environment = getenv("UCX_TLS");
  const std::string names = !tls.empty() ? tls : of_environment != nullptr ? of_environment : "all";
  bool rdma = false;
  for (const char* name : {"all", "ib", "rc", "ud", "dc", "^"}) rdma |= names.find(name) != names.npos;
  return !rdma;
}

Config ReadConfig(const UcxOptions& options, bool cma, std::string* why) {
  ucp_config_t* raw = nullptr;
  const ucs_status_t status = ucp_config_read(nullptr, nullptr, &raw);
  if (status != UCS_OK) {
    *why = fmt::format("UCX cannot read its configuration: {}; look at the UCX_ variables of the environment",
                       ucs_status_string(status));
    return nullptr;
  }
  Config config(raw);
  const bool set =
      Set(raw, "MM_ERROR_HANDLING", "y", why) && Set(raw, "KEEPALIVE_INTERVAL", "2s", why) &&
      Set(raw, "MM_FIFO_SIZE", std::to_string(SharedFifo::kElements), why) &&
      // What a worker has ready to receive into; UCX's own 512 are 4 MiB that each client would zero when it starts.
      Set(raw, "MM_RX_BUFS_GROW", "128", why) &&
      Set(raw, "MM_FIFO_ELEM_SIZE", std::to_string(SharedFifo::kElementBytes), why) &&
      Set(raw, "PUT_ENABLE", "n", why) &&      // of tcp, as all three
      Set(raw, "TX_SEG_SIZE", "256k", why) &&  // a system call for each; UCX's own 8k make it 5 times slower
      Set(raw, "RX_SEG_SIZE", "256k", why) && (!OnlyTcp(options.tls) || Set(raw, "ZCOPY_THRESH", "inf", why)) &&
      (!cma || Set(raw, "MEMORY_INVALIDATE", "y", why)) && (options.tls.empty() || Set(raw, "TLS", options.tls, why)) &&
      (options.net_devices.empty() || Set(raw, "NET_DEVICES", options.net_devices, why));
  return set ? std::move(config) : nullptr;
}

}  // namespace

std::unique_ptr<UcxWorker> UcxWorker::Create(const UcxOptions& options, std::string* why) {
  TakeLog(options.take_log);
  const bool cma = options.cma && IsVersion113();
  std::unique_ptr<UcxWorker> worker(new UcxWorker);
  if (!worker->Start(options, cma, why)) return nullptr;
  if (!cma || CmaIsSafe(worker->worker_)) return worker;
  MAYFLY_INFO("this UCX was built without parameter checks: bulk data on one host is copied twice");
  worker.reset(new UcxWorker);
  return worker->Start(options, false, why) ? std::move(worker) : nullptr;
}

UcxWorker::~UcxWorker() {
  if (worker_ != nullptr) ucp_worker_destroy(worker_);
  if (context_ != nullptr) ucp_cleanup(context_);
}

bool UcxWorker::Start(const UcxOptions& options, bool cma, std::string* why) {
  Config config = ReadConfig(options, cma, why);
  if (config == nullptr) return false;

  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_NAME;
  params.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
  params.name = "mayfly";
  ucs_status_t status = ucp_init(&params, config.get(), &context_);
  if (status != UCS_OK) {
    context_ = nullptr;
    *why = fmt::format("UCX cannot start: {}; `ucx_info -d` lists what UCX_TLS and UCX_NET_DEVICES may name",
                       ucs_status_string(status));
    return false;
  }

  ucp_worker_params_t worker_params{};
  worker_params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  worker_params.thread_mode = UCS_THREAD_MODE_SINGLE;
  {
    static std::mutex one_at_a_time;  // SharedFifoFinder
    const std::lock_guard lock(one_at_a_time);
    const SharedFifoFinder finder;
    status = ucp_worker_create(context_, &worker_params, &worker_);
    if (status == UCS_OK) fifos_ = finder.Find();
  }
  if (status != UCS_OK) {
    worker_ = nullptr;
    *why = fmt::format("UCX cannot create a worker: {}; is /dev/shm full, or the limit of open files low (ulimit -n)?",
                       ucs_status_string(status));
    return false;
  }
  status = ucp_worker_get_efd(worker_, &event_fd_);
  if (status != UCS_OK) {
    *why = fmt::format("UCX has no event descriptor for these transports: {}", ucs_status_string(status));
    return false;
  }
  return ReadAddress(why);
}

bool UcxWorker::ReadAddress(std::string* why) {
  ucp_worker_attr_t attr{};
  attr.field_mask = UCP_WORKER_ATTR_FIELD_ADDRESS | UCP_WORKER_ATTR_FIELD_MAX_AM_HEADER;
  const ucs_status_t status = ucp_worker_query(worker_, &attr);
  if (status != UCS_OK) {
    *why = fmt::format("UCX does not tell its address: {}", ucs_status_string(status));
    return false;
  }
  const Bytes blob(reinterpret_cast<const uint8_t*>(attr.address), attr.address_length);
  const ProcessName& self = ProcessName::OfSelf();
  Frame frame{kAddressMagic, static_cast<uint32_t>(blob.size()), 0, self.host, self.start, self.pid, 0};
  address_.resize(sizeof frame + blob.size());
  std::memcpy(address_.data() + sizeof frame, blob.data(), blob.size());
  std::memcpy(address_.data(), &frame, sizeof frame);
  frame.checksum = Checksum(Bytes(address_).subspan(offsetof(Frame, host)));
  std::memcpy(address_.data(), &frame, sizeof frame);
  ucp_worker_release_address(worker_, attr.address);
  if (attr.max_am_header < Transport::kHeaderBytesMax) {
    *why =
        fmt::format("the transports that UCX chose carry headers of {} bytes, {} are needed; leave one out by UCX_TLS",
                    attr.max_am_header, Transport::kHeaderBytesMax);
    return false;
  }
  if (address_.size() > Transport::kAddressBytesMax) {
    *why = fmt::format("the UCX address has {} bytes, {} fit; use fewer devices (UCX_NET_DEVICES)", address_.size(),
                       Transport::kAddressBytesMax);
    return false;
  }
  return true;
}

UcxWorker::Peer UcxWorker::Unframe(Bytes address) {
  Frame frame;
  if (address.size() <= sizeof frame || address.size() > Transport::kAddressBytesMax) return {};
  std::memcpy(&frame, address.data(), sizeof frame);
  const bool whole = frame.magic == kAddressMagic && frame.blob_bytes == address.size() - sizeof frame &&
                     frame.checksum == Checksum(address.subspan(offsetof(Frame, host)));
  if (!whole) return {};
  return {address.subspan(sizeof frame), {frame.host, frame.start, frame.pid}};
}

}  // namespace mayfly
