#include "unit/client/fake_server.h"

#include "task/sync.h"

namespace mayfly {

// A reply that is encoded already.
struct EncodedReply {
  Bytes bytes;
  void Fields(Encoder& e) { e.Raw(bytes.data(), bytes.size()); }
};

struct FakeServer::Shard {
  explicit Shard(SimClock& clock) : executor(clock), gate(executor), kicked(executor) {}
  ShardId id;
  Executor executor;
  std::unique_ptr<SimTransport> transport;
  std::unique_ptr<Responder> responder;
  Gate gate;
  WaitQueue kicked;
};

FakeServer::FakeServer(SimNetwork& network, SimClock& clock, uint32_t shards) : random_(7) {
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

FakeServer::~FakeServer() {
  closing_ = true;
  Kick();
  while (Step()) {
  }
  for (auto& shard : shards_) {
    shard->responder.reset();
    shard->transport->SetReceiver(nullptr);
  }
}

bool FakeServer::Step() {
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

Nanos FakeServer::next() const {
  Nanos next = kNever;
  for (auto& shard : shards_) next = std::min(next, shard->executor.next_timer());
  return next;
}

void FakeServer::Kick() {
  for (auto& shard : shards_) shard->kicked.WakeAll();
}

void FakeServer::SetGeneration(uint64_t g) {
  generation_ = Generation(g);
  for (auto& shard : shards_) shard->responder->SetGeneration(generation_);
}

Bytes FakeServer::AddressOf(ShardId shard) const { return shards_[shard.value]->transport->address(); }

SimTransport& FakeServer::transport(uint32_t shard) { return *shards_[shard]->transport; }

Task<Status> FakeServer::Serve(FakeServer* self, Shard* shard, Request* r) {
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
    EncodedReply raw{Bytes(body).first(code == Code::kOk ? out.size() : 0)};
    co_await r->Reply(*code, raw, call.out);
  }
  r->Finish();
  co_return Code::kOk;
}

void FakeServer::ServeTree() {
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
    a->grant = GrantFor(node->attr.inode, call.process, q.flags);
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
    if ((q.mask & kByHandle) != 0) ExpectGrant(call, q.inode, q.grant, kGrantWrite);
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
  On<Method::kReadLease>([this](const ReadLeaseRequest& q, ReadLeaseReply* a, FakeCall& call) {
    At(call, q.inode.home());
    ExpectGrant(call, q.inode, q.grant, kGrantRead);
    a->lease_ms = lease_ms;
    return Code::kOk;
  });
}

void FakeServer::ServeFiles() {
  On<Method::kWrite>([this](const WriteRequest& q, Empty*, FakeCall& call) {
    At(call, placement_->ChunkShard(q.inode.home(), q.chunk));
    ExpectGrant(call, q.inode, q.grant, kGrantWrite);
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
    ExpectGrant(call, q.inode, q.grant, kGrantWrite);
    Node& node = nodes[q.inode.value];
    a->offset = node.data.size();
    Put(node, a->offset, call.payload);
    return Code::kOk;
  });
  // Parts by runs of written bytes and holes; nothing behind the last written byte of the chunk.
  On<Method::kRead>([this](const ReadRequest& q, ReadReply* a, FakeCall& call) {
    At(call, placement_->ChunkShard(q.inode.home(), q.chunk));
    ExpectGrant(call, q.inode, q.grant, kGrantRead);
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
