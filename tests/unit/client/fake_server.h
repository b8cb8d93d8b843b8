// Shards that answer as a test says: real Responders over a SimNetwork, one handler a method, and a small tree and
// small files behind the default ones. It checks that each request comes to the shard that the placement names. One
// thread steps everything (World).
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/checksum.h"
#include "fake/sim_clock.h"
#include "fake/sim_network.h"
#include "fake/sim_random.h"
#include "ring/layout.h"
#include "ring/placement.h"
#include "rpc/caller.h"
#include "rpc/responder.h"

namespace mayfly {

// A request as a handler sees it, and what it may add to the reply.
struct FakeCall {
  ShardId shard;
  Method method = Method::kPing;
  Generation walked_at;
  ClientId process;
  std::vector<uint8_t> payload;
  std::vector<uint8_t> out;  // the reply's payload
};

class FakeServer final : public AddressBook {
 public:
  // The code of the reply; none: not yet, it is asked again after Kick.
  using Handler = std::function<std::optional<Code>(FakeCall&, Bytes body, Encoder& reply)>;

  FakeServer(SimNetwork& network, SimClock& clock, uint32_t shards) : clock_(clock), random_(7) {
    std::vector<Member> members;
    for (uint32_t i = 0; i < shards; ++i) members.push_back({MemberId(static_cast<uint16_t>(i)), "node", 1, 1});
    layout_ = std::make_unique<Layout>(Layout::Build(std::move(members)).value());
    placement_ = std::make_unique<Placement>(Placement::Build(*layout_).value());
    secret_.fill(5);
    for (uint32_t i = 0; i < shards; ++i) {
      auto shard = std::make_unique<Shard>(clock);
      shard->id = ShardId(i);
      shard->transport = network.Create();
      Responder::Options options;
      options.secret = secret_;
      options.self = shard->id;
      shard->responder = std::make_unique<Responder>(shard->executor, *shard->transport, random_, options, nullptr);
      shard->responder->SetGeneration(generation_);
      shard->transport->SetReceiver(shard->responder.get());
      shards_.push_back(std::move(shard));
    }
    ServeTree();
    ServeFiles();
  }
  ~FakeServer() override {
    closing_ = true;
    Kick();
    while (Step()) {
    }
    for (auto& shard : shards_) {
      shard->responder.reset();
      shard->transport->SetReceiver(nullptr);
    }
  }

  template <Method M>
  using On_ = std::function<std::optional<Code>(const typename MethodTypes<M>::Request&,
                                                typename MethodTypes<M>::Reply*, FakeCall&)>;
  // Replaces the handler of a method.
  template <Method M>
  void On(On_<M> fn) {
    handlers_[M] = [fn](FakeCall& call, Bytes body, Encoder& out) -> std::optional<Code> {
      typename MethodTypes<M>::Request request;
      typename MethodTypes<M>::Reply reply;
      Decoder d(body);
      request.Fields(d);
      if (!d.Finish().ok()) return Code::kCorrupt;
      auto code = fn(request, &reply, call);
      if (code == Code::kOk) out.Put(reply);
      return code;
    };
  }
  // The next answers of a method are these codes, one each; afterwards its handler again.
  void Script(Method method, std::vector<Code> codes) { scripts_[method] = std::move(codes); }

  bool Step() {
    bool worked = false;
    for (auto& shard : shards_) {
      worked |= shard->transport->Progress();
      while (Request* request = shard->responder->Next()) {
        worked = true;
        shard->gate.Spawn(Serve(this, shard.get(), request), "a request");
      }
      worked |= shard->executor.RunOnce();
    }
    return worked;
  }
  Nanos next() const {
    Nanos next = kNever;
    for (auto& shard : shards_) next = std::min(next, shard->executor.next_timer());
    return next;
  }
  // Lets what was put off be looked at again.
  void Kick() {
    for (auto& shard : shards_) shard->kicked.WakeAll();
  }
  void SetGeneration(uint64_t g) {
    generation_ = Generation(g);
    for (auto& shard : shards_) shard->responder->SetGeneration(generation_);
  }
  Generation generation() const { return generation_; }

  // What came since the last call, and how often a method came.
  size_t count(Method method) const {
    return static_cast<size_t>(
        std::count_if(log.begin(), log.end(), [&](const FakeCall& c) { return c.method == method; }));
  }
  std::vector<FakeCall> log;

  const Placement& placement() const { return *placement_; }
  const Layout& layout() const { return *layout_; }
  Identity identity(uint32_t uid) {
    Identity identity;
    identity.secret = secret_;
    identity.client = ClientId(random_.U64() | 1);
    identity.process = ClientId(random_.U64() | 1);
    identity.cred.uid = identity.cred.gid = uid;
    identity.host = "here";
    return identity;
  }
  uint32_t shard_count() const override { return placement_->shard_count(); }
  Bytes AddressOf(ShardId shard) const override { return shards_[shard.value]->transport->address(); }
  std::string NameOf(ShardId shard) const override { return fmt::format("shard {}", shard.value); }
  SimTransport& transport(uint32_t shard) { return *shards_[shard]->transport; }

  // ---- the tree and the files behind the default handlers ----
  struct Node {
    Attr attr;
    std::string target;
    std::string data;
    std::vector<bool> written;  // by byte; the rest are holes
  };
  std::map<std::pair<uint64_t, std::string>, InodeId> entries;
  std::map<uint64_t, Node> nodes;
  uint8_t chunk_bits = 16;
  bool grant_sole = true;
  uint32_t read_cut = 0;  // at most so many bytes a read reply; 0: as asked

  InodeId root() const { return placement_->RootInode(); }
  InodeId Add(InodeId parent, const std::string& name, FileType type, uint16_t permissions = 0755) {
    const InodeId inode = InodeId::Make(placement_->DentryShard(parent, name), ++last_sequence_);
    Node& node = nodes[inode.value];
    node.attr.inode = inode;
    node.attr.type = type;
    node.attr.permissions = permissions;
    node.attr.nlink = type == FileType::kDirectory ? 2 : 1;
    node.attr.chunk_bits = type == FileType::kFile ? chunk_bits : 0;
    entries[{parent.value, name}] = inode;
    return inode;
  }
  InodeId AddLink(InodeId parent, const std::string& name, const std::string& target) {
    const InodeId inode = Add(parent, name, FileType::kSymlink, 0777);
    nodes[inode.value].target = target;
    return inode;
  }
  Node* Find(InodeId parent, std::string_view name) {
    auto found = entries.find({parent.value, std::string(name)});
    return found == entries.end() ? nullptr : &nodes[found->second.value];
  }
  void Put(Node& node, uint64_t offset, Bytes bytes) {
    if (node.data.size() < offset + bytes.size()) node.data.resize(offset + bytes.size());
    if (node.written.size() < node.data.size()) node.written.resize(node.data.size());
    std::copy(bytes.begin(), bytes.end(), node.data.begin() + static_cast<ptrdiff_t>(offset));
    std::fill_n(node.written.begin() + static_cast<ptrdiff_t>(offset), bytes.size(), true);
    node.attr.size = node.data.size();
  }

 private:
  struct Shard {
    explicit Shard(SimClock& clock) : executor(clock), gate(executor), kicked(executor) {}
    ShardId id;
    Executor executor;
    std::unique_ptr<SimTransport> transport;
    std::unique_ptr<Responder> responder;
    Gate gate;
    WaitQueue kicked;
  };

  static bool ByName(Method m) { return m >= Method::kLookup && m <= Method::kRenameDir; }

  static Task<Status> Serve(FakeServer* self, Shard* shard, Request* r) {
    FakeCall call;
    call.shard = shard->id;
    call.method = r->method();
    call.walked_at = r->walked_at();
    call.process = r->party().process;
    call.payload.resize(r->payload().size());
    if (!call.payload.empty()) {
      Status fetched = co_await r->Fetch(call.payload);
      if (!fetched.ok()) {
        r->Abandon();
        r->Finish();
        co_return Code::kOk;
      }
    }
    self->log.push_back(call);
    std::vector<uint8_t> body(1500);
    Encoder out{MutableBytes(body)};
    std::optional<Code> code;
    auto script = self->scripts_.find(call.method);
    if (script != self->scripts_.end() && !script->second.empty()) {
      code = script->second.front();
      script->second.erase(script->second.begin());
    } else if (ByName(call.method) && call.walked_at < self->generation_) {
      code = Code::kGeneration;
    }
    while (!code && !self->closing_) {
      auto handler = self->handlers_.find(call.method);
      code = handler == self->handlers_.end() ? Code::kNotSupported : handler->second(call, r->body(), out);
      if (!code) (void)co_await shard->kicked.Wait(r->deadline());
      if (!code && shard->executor.now() >= r->deadline()) break;
    }
    if (code) {
      Raw raw{Bytes(body).first(code == Code::kOk ? out.size() : 0)};
      co_await r->Reply(*code, raw, call.out);
    }
    r->Finish();
    co_return Code::kOk;
  }
  // A reply that is encoded already.
  struct Raw {
    Bytes bytes;
    void Fields(Encoder& e) { e.Raw(bytes.data(), bytes.size()); }
  };

  void At(const FakeCall& call, ShardId expected) {
    EXPECT_EQ(call.shard.value, expected.value) << InfoOf(call.method)->name;
  }

  void ServeTree();
  void ServeFiles();

  SimClock& clock_;
  SimRandom random_;
  std::unique_ptr<Layout> layout_;
  std::unique_ptr<Placement> placement_;
  Secret secret_{};
  Generation generation_{1};
  std::vector<std::unique_ptr<Shard>> shards_;
  std::map<Method, Handler> handlers_;
  std::map<Method, std::vector<Code>> scripts_;
  uint64_t last_sequence_ = 1;
  bool closing_ = false;
};

inline void FakeServer::ServeTree() {
  Node& top = nodes[root().value];
  top.attr.inode = root();
  top.attr.type = FileType::kDirectory;
  top.attr.permissions = 0755;
  On<Method::kPing>([](const Empty&, Empty*, FakeCall&) { return Code::kOk; });
  On<Method::kLookup>([this](const LookupRequest& q, LookupReply* a, FakeCall& call) {
    At(call, placement_->DentryShard(q.parent, q.name));
    Node* node = Find(q.parent, q.name);
    if (node == nullptr) return Code::kNoEntry;
    a->attr = node->attr;
    call.out.assign(node->target.begin(), node->target.end());
    return Code::kOk;
  });
  On<Method::kOpen>([this](const OpenRequest& q, OpenReply* a, FakeCall& call) {
    At(call, placement_->DentryShard(q.parent, q.name));
    Node* node = Find(q.parent, q.name);
    if (node == nullptr && (q.flags & kOpenCreate) == 0) return Code::kNoEntry;
    if (node != nullptr && (q.flags & kOpenExclusive) != 0) return Code::kExists;
    a->created = node == nullptr;
    if (node == nullptr) node = &nodes[Add(q.parent, std::string(q.name), FileType::kFile, q.permissions).value];
    a->attr = node->attr;
    a->sole = grant_sole && (q.flags & kOpenWrite) != 0 && (q.flags & kOpenUnshared) == 0;
    call.out.assign(node->target.begin(), node->target.end());
    return Code::kOk;
  });
  On<Method::kMkdir>([this](const MkdirRequest& q, AttrReply* a, FakeCall& call) {
    At(call, placement_->DentryShard(q.parent, q.name));
    if (Find(q.parent, q.name) != nullptr) return Code::kExists;
    a->attr = nodes[Add(q.parent, std::string(q.name), FileType::kDirectory, q.permissions).value].attr;
    return Code::kOk;
  });
  On<Method::kUnlink>([this](const NameRequest& q, Empty*, FakeCall& call) {
    At(call, placement_->DentryShard(q.parent, q.name));
    Node* node = Find(q.parent, q.name);
    if (node == nullptr) return Code::kNoEntry;
    if (node->attr.type == FileType::kDirectory) return Code::kIsDirectory;
    entries.erase({q.parent.value, std::string(q.name)});
    return Code::kOk;
  });
  On<Method::kGetAttr>([this](const GetAttrRequest& q, AttrReply* a, FakeCall& call) {
    At(call, q.inode.home());
    auto node = nodes.find(q.inode.value);
    if (node == nodes.end()) return Code::kStale;
    a->attr = node->second.attr;
    if (q.exact_size) a->attr.partial = false;
    return Code::kOk;
  });
  On<Method::kSetAttr>([this](const SetAttrRequest& q, AttrReply* a, FakeCall& call) {
    At(call, q.inode.home());
    Node& node = nodes[q.inode.value];
    if ((q.mask & kSetMode) != 0) node.attr.permissions = q.permissions;
    if ((q.mask & kSetSize) != 0) {
      node.data.resize(q.size);
      node.written.resize(q.size);
      node.attr.size = q.size;
    }
    a->attr = node.attr;
    return Code::kOk;
  });
  On<Method::kClose>([](const CloseRequest&, Empty*, FakeCall&) { return Code::kOk; });
  On<Method::kYielded>([](const CloseRequest&, Empty*, FakeCall&) { return Code::kOk; });
  On<Method::kRevoked>([](const Empty&, CountReply*, FakeCall&) { return std::optional<Code>(); });
}

inline void FakeServer::ServeFiles() {
  On<Method::kWrite>([this](const WriteRequest& q, Empty*, FakeCall& call) {
    At(call, placement_->ChunkShard(q.inode.home(), q.chunk));
    EXPECT_LE(q.offset + call.payload.size(), uint64_t{1} << q.chunk_bits);
    for (size_t i = 0; i < q.sums.size(); ++i) {
      const Bytes payload(call.payload);
      const size_t at = i * kChecksumBlockBytes;
      EXPECT_EQ(q.sums[i], Checksum(payload.subspan(at, std::min<size_t>(kChecksumBlockBytes, payload.size() - at))));
    }
    Put(nodes[q.inode.value], (uint64_t{q.chunk.value} << q.chunk_bits) + q.offset, call.payload);
    return Code::kOk;
  });
  On<Method::kAppend>([this](const AppendRequest& q, OffsetReply* a, FakeCall& call) {
    At(call, q.inode.home());
    Node& node = nodes[q.inode.value];
    a->offset = node.data.size();
    Put(node, a->offset, call.payload);
    return Code::kOk;
  });
  // Parts by runs of written bytes and holes; nothing behind the last written byte of the chunk.
  On<Method::kRead>([this](const ReadRequest& q, ReadReply* a, FakeCall& call) {
    At(call, placement_->ChunkShard(q.inode.home(), q.chunk));
    const Node& node = nodes[q.inode.value];
    const uint64_t start = (uint64_t{q.chunk.value} << q.chunk_bits) + q.offset;
    uint64_t end = std::min<uint64_t>(start + q.bytes, node.written.size());
    while (end > start && !node.written[end - 1]) --end;
    if (read_cut != 0 && end > start + read_cut) {
      end = start + read_cut;
      a->cut = true;
    }
    for (uint64_t at = start; at < end;) {
      Part part;
      part.hole = !node.written[at];
      uint64_t to = at;
      while (to < end && node.written[to] == node.written[at] && (part.hole || to - at < kChecksumBlockBytes)) ++to;
      part.bytes = static_cast<uint32_t>(to - at);
      if (!part.hole) {
        const Bytes bytes(reinterpret_cast<const uint8_t*>(node.data.data()) + at, part.bytes);
        part.sum_known = q.want_sums;
        part.sum = q.want_sums ? Checksum(bytes) : 0;
        call.out.insert(call.out.end(), bytes.begin(), bytes.end());
      }
      a->parts.push_back(part);
      at = to;
    }
    return Code::kOk;
  });
}

}  // namespace mayfly
