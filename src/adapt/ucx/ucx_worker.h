// A UCX context with one worker, configured for endpoints that report a dead peer and keep shared memory all the same.
// UCX's PEER error mode leaves the shared-memory transports out by default in 1.13, and 0.66 us a message becomes 15 us
// over tcp; MM_ERROR_HANDLING=y keeps them, and a short keepalive interval finds the dead (a process that nobody waits
// for, a zombie, still counts as alive there).
// The environment's UCX_ variables are honoured, except for the few set here.
#pragma once

#include <ucp/api/ucp.h>

#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace mayfly {

struct UcxOptions {
  // A larger payload travels by rendezvous, straight between the two buffers. 0 sends every payload so.
  // (source: share/doc/DECISIONS.md, "Eager or rendezvous"; one client and one server over shared memory)
  size_t eager_bytes_max = 32 * 1024;
  std::string tls;          // as UCX_TLS; empty: what the environment or UCX itself chooses
  std::string net_devices;  // as UCX_NET_DEVICES
  // UCX prints its messages to standard output. True sends them to our log instead, for the whole process and for ever.
  bool take_log = true;
};

class UcxWorker {
 public:
  // Null with a sentence in `why` if UCX cannot start, or if its choice of transports cannot carry our headers.
  static std::unique_ptr<UcxWorker> Create(const UcxOptions& options, std::string* why);
  UcxWorker(const UcxWorker&) = delete;
  UcxWorker& operator=(const UcxWorker&) = delete;
  ~UcxWorker();

  ucp_worker_h get() const { return worker_; }
  ucp_context_h context() const { return context_; }
  int event_fd() const { return event_fd_; }
  // Framed: magic, length and checksum before UCX's own blob, which crashes UCX if it is damaged.
  Bytes address() const { return address_; }
  // The blob inside an address that somebody else passed on; empty if it is none.
  static Bytes Unframe(Bytes address);

 private:
  UcxWorker() = default;
  bool Start(const UcxOptions& options, std::string* why);
  bool ReadAddress(std::string* why);

  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  int event_fd_ = -1;
  std::vector<uint8_t> address_;
};

}  // namespace mayfly
