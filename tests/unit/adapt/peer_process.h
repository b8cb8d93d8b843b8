// A second process with a UCX transport: this test program started again with --peer. Tests kill it.
// It speaks to its parent through two pipes: addresses each way, then single letters as commands. It ends at the end
// of its standard input, so it never outlives its parent.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace mayfly {

class PeerProcess {
 public:
  // What the peer does with messages:
  //   echo   sends each back, header and payload
  //   hold   keeps payloads and answers "held" to each
  //   stuck  like hold, but makes no progress after the header "stop"
  PeerProcess(const std::string& behaviour, const std::string& tls);
  PeerProcess(const PeerProcess&) = delete;
  PeerProcess& operator=(const PeerProcess&) = delete;
  ~PeerProcess() { Kill(); }

  Bytes address() const { return address_; }
  // Tells the peer whom to answer.
  void Introduce(Bytes my_address);
  // 's': sends a 100-byte message; 'b': a payload of kBulkBytes by rendezvous.
  void Command(char command);
  // kill -9, and waits until it is gone (a zombie still looks alive to UCX).
  void Kill();
  // The end of its input: it destroys its transport and exits. False if it did not exit with 0.
  bool Leave();

  static constexpr size_t kBulkBytes = 16 << 20;
  // main() of the peer.
  static int Main(int argc, char** argv);

 private:
  pid_t pid_ = -1;
  int to_ = -1;
  int from_ = -1;
  std::vector<uint8_t> address_;
};

}  // namespace mayfly
