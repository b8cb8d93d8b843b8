#include "adapt/ucx/ucx_worker.h"

#include <stdarg.h>
#include <stdio.h>
#include <ucs/debug/log_def.h>

#include <mutex>

#include "base/checksum.h"
#include "base/log.h"
#include "os/transport.h"

namespace mayfly {

namespace {

constexpr uint32_t kAddressMagic = 0x3158594d;  // "MYX1"
constexpr size_t kFrameBytes = 16;              // magic:4 length:4 checksum:8

// UCX calls it an error when a peer died. What that means is reported where the request ends, so here it is a detail.
ucs_log_func_rc_t ToOurLog(const char*, unsigned, const char*, ucs_log_level_t level, const ucs_log_component_config_t*,
                           const char* format, va_list arguments) {
  const LogLevel ours = level == UCS_LOG_LEVEL_FATAL  ? LogLevel::kError
                        : level <= UCS_LOG_LEVEL_WARN ? LogLevel::kInfo
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

Config ReadConfig(const UcxOptions& options, std::string* why) {
  ucp_config_t* raw = nullptr;
  const ucs_status_t status = ucp_config_read(nullptr, nullptr, &raw);
  if (status != UCS_OK) {
    *why = fmt::format("UCX cannot read its configuration: {}; look at the UCX_ variables of the environment",
                       ucs_status_string(status));
    return nullptr;
  }
  Config config(raw);
  const bool set = Set(raw, "MM_ERROR_HANDLING", "y", why) && Set(raw, "KEEPALIVE_INTERVAL", "500ms", why) &&
                   (options.tls.empty() || Set(raw, "TLS", options.tls, why)) &&
                   (options.net_devices.empty() || Set(raw, "NET_DEVICES", options.net_devices, why));
  return set ? std::move(config) : nullptr;
}

}  // namespace

std::unique_ptr<UcxWorker> UcxWorker::Create(const UcxOptions& options, std::string* why) {
  if (options.take_log) {
    static std::once_flag once;
    std::call_once(once, [] { ucs_log_push_handler(ToOurLog); });
  }
  std::unique_ptr<UcxWorker> worker(new UcxWorker);
  return worker->Start(options, why) ? std::move(worker) : nullptr;
}

UcxWorker::~UcxWorker() {
  if (worker_ != nullptr) ucp_worker_destroy(worker_);
  if (context_ != nullptr) ucp_cleanup(context_);
}

bool UcxWorker::Start(const UcxOptions& options, std::string* why) {
  Config config = ReadConfig(options, why);
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
  status = ucp_worker_create(context_, &worker_params, &worker_);
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
  const auto length = static_cast<uint32_t>(blob.size());
  const uint64_t sum = Checksum(blob);
  address_.resize(kFrameBytes + blob.size());
  std::memcpy(address_.data(), &kAddressMagic, 4);
  std::memcpy(address_.data() + 4, &length, 4);
  std::memcpy(address_.data() + 8, &sum, 8);
  std::memcpy(address_.data() + kFrameBytes, blob.data(), blob.size());
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

Bytes UcxWorker::Unframe(Bytes address) {
  uint32_t magic = 0, length = 0;
  uint64_t sum = 0;
  if (address.size() <= kFrameBytes) return {};
  std::memcpy(&magic, address.data(), 4);
  std::memcpy(&length, address.data() + 4, 4);
  std::memcpy(&sum, address.data() + 8, 8);
  const Bytes blob = address.subspan(kFrameBytes);
  if (magic != kAddressMagic || length != blob.size() || sum != Checksum(blob)) return {};
  return blob;
}

}  // namespace mayfly
