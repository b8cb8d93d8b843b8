// mayfly_scale_connections: what a create costs a shard beside the network, by how many clients it has. One shard whose
// network is this program: requests are made and sealed beforehand, one of each client in turn, a batch at a time; then
// the shard's work is timed, from the bytes of a batch to its answers. So nothing but the server is measured, and it
// meets each client's connection, answers and directory as long after the last time as with that many clients.
//
//   mayfly_scale_connections --clients N [--files N] [--shared]
//
// The same number of files whatever N is, so that their tables do not differ. Prints one JSON object.
#include <time.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "adapt/posix/arena_memory.h"
#include "adapt/posix/clock.h"
#include "adapt/posix/offload.h"
#include "adapt/posix/pfs_tree.h"
#include "adapt/posix/random.h"
#include "server/shard.h"

namespace mayfly {
namespace {

constexpr size_t kBatchMax = 16;  // about as many wait at a busy shard
constexpr uint32_t kClosesAtOnce = 32;

[[noreturn]] void Die(const std::string& what) {
  std::cerr << "mayfly_scale_connections: " << what << std::endl;
  exit(1);
}

// Delivers what is put into it, and keeps what is sent.
class Wire final : public Transport {
 public:
  void SetReceiver(Receiver* receiver) override { receiver_ = receiver; }
  Bytes address() const override { return AsBytes(address_); }
  Result<EndpointId> Connect(Bytes) override { return EndpointId(++endpoints_); }
  bool HasEnded(EndpointId) const override { return false; }
  void Close(EndpointId) override {}
  Sent Send(EndpointId, Bytes header, Bytes, Completion*) override {
    if (sent_used_ == sent_.size()) sent_.emplace_back();
    sent_[sent_used_++].assign(header.begin(), header.end());
    return Sent::kDone;
  }
  bool Progress() override {
    size_t left = kBatchMax;
    for (; next_ < arrives_.size() && left != 0; --left) receiver_->OnMessage(arrives_[next_++], Payload());
    return left != kBatchMax;
  }
  void Register(MutableBytes) override {}
  std::string Describe() const override { return "none"; }

  void Put(std::vector<uint8_t> message) { arrives_.push_back(std::move(message)); }
  // In the order of the messages that were put in, if each is answered at once.
  std::span<const std::vector<uint8_t>> sent() const { return {sent_.data(), sent_used_}; }
  void Clear() {
    arrives_.clear();
    next_ = sent_used_ = 0;
  }

 private:
  Receiver* receiver_ = nullptr;
  std::string address_ = std::string(128, 'a');
  uint64_t endpoints_ = 0;
  std::vector<std::vector<uint8_t>> arrives_, sent_;
  size_t next_ = 0, sent_used_ = 0;
};

class NoBook final : public AddressBook {
 public:
  uint32_t shard_count() const override { return 1; }
  Bytes AddressOf(ShardId) const override { return {}; }
  std::string NameOf(ShardId) const override { return "the shard"; }
};

struct Client {
  ClientId id;
  Nonce nonce{};
  TagKey key{};
  uint64_t connection = 0, calls = 0;
  Generation generation;
  InodeId directory;
  uint64_t files = 0;
  std::vector<InodeId> open;
};

class Bench {
 public:
  Bench(uint32_t clients, bool shared)
      : placement_(OneShard()),
        clients_(clients),
        shared_(shared),
        arena_({.prefix = "mayfly-scale-" + std::to_string(getpid())}),
        offload_({}) {
    random_.Fill(options_.secret);
    random_.Fill(options_.uuid);
    random_.Fill(options_.server_secret);
    options_.process = ClientId(random_.U64() | 1);
    options_.memory_bytes = uint64_t{3} << 30;
    shard_ =
        std::make_unique<Shard>(Doors{clock_, random_, wire_, arena_, offload_, pfs_}, placement_, book_, options_);
    hello_key_ = HelloKey(options_.secret, options_.uuid);
  }

  double Run(uint64_t files) {
    Connect();
    MakeDirectories();
    const uint64_t rounds = std::max<uint64_t>(4, files / clients_.size());
    double seconds = 0;
    uint64_t timed = 0;
    for (uint64_t round = 0; round < rounds; ++round) {
      for (size_t first = 0; first < clients_.size(); first += kBatchMax) {
        const size_t end = std::min(first + kBatchMax, clients_.size());
        const double took = Creates(first, end) + Closes(first, end, round + 1 == rounds);
        if (round < rounds / 4) continue;
        seconds += took;
        timed += end - first;
      }
    }
    return seconds / static_cast<double>(timed) * 1e9;
  }

 private:
  static Placement OneShard() { return Placement::Build(Layout::Build({Member{.id = MemberId(0)}}).value()).value(); }
  static double Now() {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
  }
  // The processor time of the shard for what was put in, each of which must have been answered.
  double Serve(size_t messages) {
    const double begin = Now();
    while (shard_->RunOnce()) {
    }
    const double took = Now() - begin;
    if (wire_.sent().size() != messages) Die("some requests were not answered");
    return took;
  }

  void Connect() {
    for (size_t first = 0; first < clients_.size(); first += kBatchMax) {
      const size_t end = std::min(first + kBatchMax, clients_.size());
      for (size_t i = first; i < end; ++i) {
        Client& c = clients_[i];
        c.id = ClientId(random_.U64() | 1);
        random_.Fill(c.nonce);
        Prefix prefix;
        prefix.kind = MessageKind::kHello;
        prefix.generation = 1;
        Hello hello;
        hello.uuid = options_.uuid;
        hello.client = c.id;
        hello.process = ClientId(random_.U64() | 1);
        hello.nonce = c.nonce;
        hello.host = "client";
        hello.address = wire_.address();
        std::vector<uint8_t> bytes(Transport::kHeaderBytesMax);
        Encoder e{MutableBytes(bytes)};
        e.Put(prefix);
        e.Put(hello);
        bytes.resize(e.size());
        SealHeader(bytes, hello_key_);
        wire_.Put(std::move(bytes));
      }
      Serve(end - first);
      for (size_t i = first; i < end; ++i) {
        Client& c = clients_[i];
        Welcome welcome;
        Decoder d(Bytes(wire_.sent()[i - first]).subspan(Prefix::kBytes));
        welcome.Fields(d);
        if (!d.Finish().ok() || welcome.code != Code::kOk) Die("a client was not welcome");
        c.key = ConnectionKey(options_.secret, options_.uuid, c.id, c.nonce, welcome.nonce);
        c.connection = welcome.connection;
        c.generation = welcome.generation;
      }
      wire_.Clear();
    }
  }

  template <class Body>
  void Put(Client& c, Method method, const Body& body) {
    Prefix prefix;
    prefix.connection = c.connection;
    RequestHeader header;
    header.method = method;
    header.time_left_ms = 30'000;
    header.sequence = Sequence::Make(++c.calls, 0);
    header.walked_at = c.generation;
    std::vector<uint8_t> bytes(Prefix::kBytes + RequestHeader::kBytes + 512);
    Encoder e{MutableBytes(bytes)};
    e.Put(prefix);
    e.Put(header);
    e.Put(body);
    if (!e.ok()) Die("a request does not fit");
    bytes.resize(e.size());
    SealHeader(bytes, c.key);
    wire_.Put(std::move(bytes));
  }
  template <class Reply>
  Reply Answer(size_t at) {
    Decoder d(Bytes(wire_.sent()[at]).subspan(Prefix::kBytes));
    ReplyHeader header;
    d.Get(header);
    if (!d.ok() || header.code != Code::kOk) Die("a request failed: " + std::string(TextOf(header.code)));
    Reply reply;
    reply.Fields(d);
    if (!d.Finish().ok()) Die("an answer is malformed");
    return reply;
  }

  void MakeDirectories() {
    for (size_t i = 0; i < clients_.size(); ++i) {
      Client& c = clients_[i];
      if (shared_ && i != 0) {
        c.directory = clients_[0].directory;
        continue;
      }
      const std::string name = "d" + std::to_string(i);
      MkdirRequest request;
      request.parent = placement_.RootInode();
      request.name = name;
      request.permissions = 0755;
      Put(c, Method::kMkdir, request);
      Serve(1);
      c.directory = Answer<AttrReply>(0).attr.inode;
      wire_.Clear();
    }
  }

  double Creates(size_t first, size_t end) {
    for (size_t i = first; i < end; ++i) {
      Client& c = clients_[i];
      const std::string name = "file." + std::to_string(i) + "." + std::to_string(c.files++);
      OpenRequest request;
      request.parent = c.directory;
      request.name = name;
      request.flags = kOpenCreate | kOpenExclusive | kOpenNoFollow | kOpenWrite | kOpenUnshared;
      request.permissions = 0644;
      Put(c, Method::kOpen, request);
    }
    const double took = Serve(end - first);
    for (size_t i = first; i < end; ++i) clients_[i].open.push_back(Answer<OpenReply>(i - first).attr.inode);
    wire_.Clear();
    return took;
  }

  // Of clients with as many as the library gathers; at the end, of all.
  double Closes(size_t first, size_t end, bool all) {
    size_t count = 0;
    for (size_t i = first; i < end; ++i) {
      Client& c = clients_[i];
      if (c.open.size() < kClosesAtOnce && !all) continue;
      CloseRequest request;
      request.inodes = std::move(c.open);
      c.open.clear();
      Put(c, Method::kClose, request);
      ++count;
    }
    if (count == 0) return 0;
    const double took = Serve(count);
    wire_.Clear();
    return took;
  }

  PosixClock clock_;
  PosixRandom random_;
  Wire wire_;
  NoBook book_;
  const Placement placement_;
  std::vector<Client> clients_;
  const bool shared_;
  PosixArenaMemory arena_;
  PosixOffload offload_;
  PosixPfsTree pfs_;
  ShardOptions options_;
  TagKey hello_key_{};
  std::unique_ptr<Shard> shard_;
};

int Main(int argc, char** argv) {
  uint32_t clients = 16;
  uint64_t files = 1u << 21;
  bool shared = false;
  CLI::App app("What a create costs a shard beside the network, by how many clients it has.");
  app.add_option("--clients", clients)->check(CLI::Range(1, 1 << 17));
  app.add_option("--files", files, "in all");
  app.add_flag("--shared", shared, "in one directory; else each client has its own");
  CLI11_PARSE(app, argc, argv);
  Bench bench(clients, shared);
  const double ns = bench.Run(files);
  std::cout << nlohmann::json{{"clients", clients}, {"files", files}, {"shared", shared}, {"create_ns", ns}}.dump()
            << std::endl;
  _exit(0);  // the shard has clients that never leave
}

}  // namespace
}  // namespace mayfly

int main(int argc, char** argv) { return mayfly::Main(argc, argv); }
