#include "unit/adapt/peer_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "adapt/ucx/ucx_transport.h"
#include "unit/adapt/transport_testing.h"

namespace mayfly {

namespace {

constexpr int kAnswerFd = 3;

bool ReadAll(int fd, void* data, size_t bytes) {
  auto* at = static_cast<uint8_t*>(data);
  while (bytes != 0) {
    const ssize_t n = read(fd, at, bytes);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    at += n;
    bytes -= static_cast<size_t>(n);
  }
  return true;
}

bool WriteBlob(int fd, Bytes blob) {
  const auto bytes = static_cast<uint32_t>(blob.size());
  return write(fd, &bytes, 4) == 4 && write(fd, blob.data(), blob.size()) == static_cast<ssize_t>(blob.size());
}

std::vector<uint8_t> ReadBlob(int fd) {
  uint32_t bytes = 0;
  if (!ReadAll(fd, &bytes, 4)) return {};
  std::vector<uint8_t> blob(bytes);
  if (!ReadAll(fd, blob.data(), blob.size())) return {};
  return blob;
}

// The peer itself. Sends live until their completion; what cannot be delivered any more does not matter to it.
class Peer final : public Receiver {
 public:
  Peer(std::string behaviour, std::unique_ptr<UcxTransport> transport)
      : behaviour_(std::move(behaviour)), transport_(std::move(transport)) {
    transport_->SetReceiver(this);
  }
  void Run() {
    if (!WriteBlob(kAnswerFd, transport_->address())) return;
    const std::vector<uint8_t> address = ReadBlob(STDIN_FILENO);
    if (address.empty()) return;
    parent_ = *transport_->Connect(address);
    for (unsigned i = 0;; ++i) {
      const bool worked = !stopped_ && transport_->Progress();
      if (!worked) sched_yield();
      if (worked && i % 64 != 0) continue;
      pollfd input{STDIN_FILENO, POLLIN, 0};
      if (poll(&input, 1, stopped_ ? -1 : 0) <= 0) continue;
      char command = 0;
      if (read(STDIN_FILENO, &command, 1) != 1) break;
      if (command == 's') Answer("small", Pattern(100, 1));
      if (command == 'b') Answer("bulk", Pattern(PeerProcess::kBulkBytes, 2));
    }
    held_.clear();
    transport_.reset();
  }
  void OnMessage(Bytes header, Payload payload) override {
    const std::string text(AsText(header));
    if (text == "stop") stopped_ = behaviour_ == "stuck";
    if (behaviour_ != "echo") {
      held_.push_back(std::move(payload));
      Answer("held", {});
    } else if (payload.is_eager()) {
      Answer(text, {payload.eager().begin(), payload.eager().end()});
    } else {
      auto* fetching = new Fetching{{}, text, std::move(payload), {}, this};
      fetching->fn = [](Completion* self, Status status) {
        std::unique_ptr<Fetching> done(static_cast<Fetching*>(self));
        if (status.ok()) done->peer->Answer(done->header, std::move(done->data));
      };
      fetching->data.resize(fetching->payload.size());
      fetching->payload.Fetch(fetching->data, fetching);
    }
  }
  void OnEndpointDown(EndpointId) override {}

 private:
  struct Fetching : Completion {
    Fetching(Completion c, std::string h, Payload p, std::vector<uint8_t> d, Peer* o)
        : Completion(c), header(std::move(h)), payload(std::move(p)), data(std::move(d)), peer(o) {}
    std::string header;
    Payload payload;
    std::vector<uint8_t> data;
    Peer* peer;
  };
  struct Answering : Completion {
    std::string header;
    std::vector<uint8_t> payload;
  };
  void Answer(std::string header, std::vector<uint8_t> payload) {
    auto* answering = new Answering;
    answering->fn = [](Completion* self, Status) { delete static_cast<Answering*>(self); };
    answering->header = std::move(header);
    answering->payload = std::move(payload);
    if (transport_->Send(parent_, AsBytes(answering->header), answering->payload, answering) ==
        Transport::Sent::kDone) {
      delete answering;
    }
  }

  const std::string behaviour_;
  std::unique_ptr<UcxTransport> transport_;
  EndpointId parent_;
  bool stopped_ = false;
  std::vector<Payload> held_;
};

}  // namespace

int PeerProcess::Main(int argc, char** argv) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (argc < 4) return 2;
  std::string why;
  std::unique_ptr<UcxTransport> transport = UcxTransport::Create({.tls = argv[3]}, &why);
  if (transport == nullptr) {
    fprintf(stderr, "peer: %s\n", why.c_str());
    return 1;
  }
  Peer peer(argv[2], std::move(transport));
  peer.Run();
  return 0;
}

PeerProcess::PeerProcess(const std::string& behaviour, const std::string& tls) {
  int in[2], out[2];
  EXPECT_EQ(pipe2(in, O_CLOEXEC), 0);
  EXPECT_EQ(pipe2(out, O_CLOEXEC), 0);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, out[1], kAnswerFd);
  std::string arguments[] = {"/proc/self/exe", "--peer", behaviour, tls};
  char* argv[] = {arguments[0].data(), arguments[1].data(), arguments[2].data(), arguments[3].data(), nullptr};
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
  path[length > 0 ? length : 0] = 0;
  EXPECT_EQ(posix_spawn(&pid_, path, &actions, nullptr, argv, environ), 0);
  posix_spawn_file_actions_destroy(&actions);
  close(in[0]);
  close(out[1]);
  to_ = in[1];
  from_ = out[0];
  address_ = ReadBlob(from_);
  EXPECT_FALSE(address_.empty());
}

void PeerProcess::Introduce(Bytes my_address) { EXPECT_TRUE(WriteBlob(to_, my_address)); }

void PeerProcess::Command(char command) { EXPECT_EQ(write(to_, &command, 1), 1); }

void PeerProcess::Kill() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  (void)Leave();
}

bool PeerProcess::Leave() {
  close(to_);
  close(from_);
  int status = 0;
  waitpid(std::exchange(pid_, -1), &status, 0);
  return status == 0;
}

}  // namespace mayfly

int main(int argc, char** argv) {
  if (argc > 1 && strcmp(argv[1], "--peer") == 0) return mayfly::PeerProcess::Main(argc, argv);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
