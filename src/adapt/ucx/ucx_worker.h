// A UCX context with one worker, configured for endpoints that report a dead peer and keep shared memory all the same.
// UCX's PEER error mode leaves the shared-memory transports out by default in 1.13, and 0.66 us a message becomes 15 us
// over tcp; MM_ERROR_HANDLING=y keeps them, and a keepalive interval of 2 s finds the dead where process_watch.h cannot
// see them: each wakes all peers. CMA (process_vm_readv) is what makes a rendezvous over shared memory one copy instead
// of two. UCX leaves it out in PEER mode because it cannot take back a buffer that a slow peer may still read: our
// checksums expect just that. It is let in by MEMORY_INVALIDATE=y (without the prefix CMA_ that the environment has),
// if this build of UCX then still completes the sends to a peer that died: 1.13 does when it was built with its
// parameter checks (the default), else their completion is lost. The environment's UCX_ variables are honoured, except
// for the few set here.
#pragma once

#include <ucp/api/ucp.h>

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "adapt/posix/process_watch.h"
#include "adapt/ucx/shared_fifo.h"
#include "base/bytes.h"

namespace mayfly {

struct UcxOptions {
  // A larger payload travels by rendezvous, straight between the two buffers. 0 sends every payload so.
  // (source: share/doc/DECISIONS.md, "Eager or rendezvous"; one client and one server over shared memory)
  size_t eager_bytes_max = 32 * 1024;
  std::string tls;          // as UCX_TLS; empty: what the environment or UCX itself chooses
  std::string net_devices;  // as UCX_NET_DEVICES
  // One copy for a rendezvous on the same host, where the system lets one process read the other's memory. Off for
  // peers of another user: the refusal takes the endpoint down.
  bool cma = true;
  // The process ends after the transport: what UCX has is left to the end of the process.
  bool for_life = false;
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
  // By which it receives from its host; none if UCX has no shared memory here, or another layout than we know.
  std::span<SharedFifo> fifos() { return fifos_; }
  // Framed: magic, checksum (UCX crashes on a damaged blob), the process, and UCX's own blob.
  Bytes address() const { return address_; }
  // What somebody else's address holds; `blob` is empty if it is none.
  struct Peer {
    Bytes blob;
    ProcessName process;
  };
  static Peer Unframe(Bytes address);

 private:
  UcxWorker() = default;
  bool Start(const UcxOptions& options, bool cma, std::string* why);
  bool ReadAddress(std::string* why);

  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  int event_fd_ = -1;
  std::vector<SharedFifo> fifos_;
  std::vector<uint8_t> address_;
};

}  // namespace mayfly
