// Shards with just what a flush needs: a namespace and a chunk store that tests fill directly, a flusher, and the few
// handlers by which flushers ask each other, over a simulated network. The PFS is a real temporary directory.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "adapt/posix/pfs_tree.h"
#include "fake/sim_arena.h"
#include "fake/sim_clock.h"
#include "fake/sim_network.h"
#include "fake/sim_offload.h"
#include "fake/sim_random.h"
#include "flush/flusher.h"
#include "ring/layout.h"
#include "rpc/responder.h"
#include "unit/flush/faulty_pfs.h"

namespace mayfly {

inline void PrintTo(Code code, std::ostream* out) { *out << TextOf(code); }

class FlushWorld final : public AddressBook {
 public:
  struct Options {
    uint32_t shards = 1;
    bool checksums = true;
    bool openat2 = true;
  };
  explicit FlushWorld(Options options) : options_(options), random_(7), network_(NetworkOptions()) {
    std::vector<Member> members;
    for (uint32_t i = 0; i < options.shards; ++i) {
      members.push_back(Member{MemberId(static_cast<uint16_t>(i)), "node" + std::to_string(i), 1, 1});
    }
    placement = std::make_unique<Placement>(Placement::Build(Layout::Build(std::move(members)).value()).value());
    random_.Fill(secret_);
    random_.Fill(server_secret_);
    for (uint32_t i = 0; i < options.shards; ++i) nodes_.push_back(std::make_unique<Node>(*this, ShardId(i)));
    Node& home = NodeOf(placement->RootShard());
    Inode* inode = home.names.CreateRoot(geteuid(), getegid(), 01777, kBirth);
    root = inode->id;
    std::string pattern = ::testing::TempDir() + "mayfly-flush-XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    scratch = pattern;
    target = scratch + "/out";
  }
  ~FlushWorld() override {
    // What these refer to may be gone already.
    faults.fail = nullptr;
    network_.SetPolicy(nullptr);
    // The dead, too, have frames to end.
    for (auto& node : nodes_) node->dead = node->pfs_hangs = false;
    for (auto& node : nodes_) {
      Task<Status> ended = node->flusher->Shutdown(clock.Now() + 60 * kSecond);
      Run(ended);
      EXPECT_TRUE(ended.Take().ok());
    }
    for (auto& node : nodes_) node->caller->Shutdown();
    for (int i = 0; i < 1000 && Step(); ++i) {
    }
    for (auto& node : nodes_) node->responder->Close();
    for (int i = 0; i < 1000 && Step(); ++i) {
    }
    std::filesystem::remove_all(scratch);
  }

  // ---- what is in the namespace ----
  Inode* Make(InodeId parent, std::string_view name, FileType type, std::string_view to = {}) {
    Node& node = NodeOf(placement->DentryShard(parent, name));
    JoinDir(node, parent);
    Namespace::Creation what;
    what.parent = parent;
    what.name = name;
    what.type = type;
    what.permissions = type == FileType::kDirectory ? 0755 : 0644;
    what.chunk_bits = kChunkBitsMin;
    what.target = to;
    Cred cred;
    cred.uid = geteuid();
    cred.gid = getegid();
    return node.names.Create(what, cred, kBirth).value();
  }
  InodeId File(InodeId parent, std::string_view name, std::string_view data = {}) {
    const InodeId id = Make(parent, name, FileType::kFile)->id;
    if (!data.empty()) Write(id, 0, data);
    return id;
  }
  InodeId Dir(InodeId parent, std::string_view name) { return Make(parent, name, FileType::kDirectory)->id; }
  InodeId Symlink(InodeId parent, std::string_view name, std::string_view to) {
    return Make(parent, name, FileType::kSymlink, to)->id;
  }
  void HardLink(InodeId inode, InodeId parent, std::string name) {
    Node& node = NodeOf(placement->DentryShard(parent, name));
    JoinDir(node, parent);
    TxnOp entry, link;
    entry.kind = TxnKind::kDentry;
    entry.inode = parent;
    entry.name = name;
    entry.set = inode;
    entry.set_type = InodeOf(inode)->type;
    link.kind = TxnKind::kLink;
    link.inode = inode;
    link.delta = 1;
    Apply(node, entry);
    Apply(NodeOf(inode.home()), link);
  }
  // Moves the dentry only: inode and dentry are on different shards afterwards, with luck.
  void Rename(InodeId parent, std::string from, std::string to) {
    Node& node = NodeOf(placement->DentryShard(parent, from));
    const auto found = node.names.Find(parent, from).value();
    Node& other = NodeOf(placement->DentryShard(parent, to));
    JoinDir(other, parent);
    TxnOp add, remove;
    add.kind = remove.kind = TxnKind::kDentry;
    add.inode = remove.inode = parent;
    add.name = to;
    add.set = remove.expect = found.inode;
    add.set_type = remove.expect_type = found.type;
    remove.name = from;
    Apply(other, add);
    Apply(node, remove);
  }
  void Write(InodeId id, uint64_t offset, std::string_view data) {
    Inode* inode = InodeOf(id);
    const uint64_t chunk_bytes = uint64_t{1} << inode->chunk_bits;
    while (!data.empty()) {
      ChunkRange range;
      range.file = id;
      range.chunk = ChunkIndex(static_cast<uint32_t>(offset / chunk_bytes));
      range.chunk_bits = inode->chunk_bits;
      range.offset = static_cast<uint32_t>(offset % chunk_bytes);
      range.bytes = static_cast<uint32_t>(std::min<uint64_t>(data.size(), chunk_bytes - range.offset));
      const ShardId shard = placement->ChunkShard(id.home(), range.chunk);
      Node& node = NodeOf(shard);
      const Place place = node.store.Stage(range.bytes).value();
      MutableBytes to = node.arena.Data(place);
      std::copy_n(data.begin(), range.bytes, to.begin());
      std::vector<uint64_t> sums;
      if (options_.checksums) {
        for (size_t at = 0; at < range.bytes; at += kChecksumBlockBytes) {
          sums.push_back(Checksum(AsBytes(data.substr(at, std::min<size_t>(kChecksumBlockBytes, range.bytes - at)))));
        }
      }
      EXPECT_TRUE(node.store.Commit(range, place, sums, inode->mtime).ok());
      auto& others = inode->Extra().shards;
      if (shard != id.home() && std::find(others.begin(), others.end(), shard) == others.end()) others.push_back(shard);
      offset += range.bytes;
      data.remove_prefix(range.bytes);
    }
    inode->size = std::max(inode->size, offset);
    ++inode->version;
  }
  // Changes a byte in memory behind the store's back.
  void Damage(InodeId id, uint64_t offset) {
    for (auto& node : nodes_) {
      ReadPieces pieces;
      (void)node->store.LiveData(id, offset, 1, &pieces);
      if (pieces.empty() || pieces[0].file_offset > offset) continue;
      const_cast<uint8_t&>(pieces[0].data[offset - pieces[0].file_offset]) ^= 1;
    }
  }
  Inode* InodeOf(InodeId id) { return NodeOf(id.home()).names.FindInode(id); }
  void SetTimes(InodeId id, Nanos atime, Nanos mtime) {
    Inode* inode = InodeOf(id);
    inode->atime = atime;
    inode->mtime = mtime;
    ++inode->version;
    if (inode->type == FileType::kFile) {
      for (auto& node : nodes_) node->store.ClearMtime(id);
    }
    if (inode->type != FileType::kDirectory) return;
    ++inode->Extra().rights_version;
    DirRights rights = NodeOf(id.home()).names.RightsOf(*inode);
    rights.clear_mtime = true;
    for (auto& node : nodes_) {
      if (node->names.Joined(id)) node->names.UpdateRights(rights);
    }
  }

  // ---- flushing ----
  FlushSpec Spec(std::string source = "/") {
    FlushSpec spec;
    spec.source = std::move(source);
    spec.target = target;
    return spec;
  }
  Flusher& flusher() { return *NodeOf(placement->RootShard()).flusher; }
  uint64_t Start(FlushSpec spec) { return flusher().Start(std::move(spec)).value(); }
  Code Finish(uint64_t job) {
    Task<Status> waited = flusher().Wait(job, kNever);
    Run(waited);
    const std::string text = flusher().ReportOf(job).value();
    report = nlohmann::json::parse(text);
    const Code result = waited.Take().code();
    EXPECT_EQ(report["verified"].get<bool>(), result == Code::kOk) << text;
    return result;
  }
  Code Flush(FlushSpec spec) { return Finish(Start(std::move(spec))); }
  Code Flush() { return Flush(Spec()); }
  uint64_t Count(const char* what) const { return report[what].get<uint64_t>(); }

  // ---- what is on the PFS ----
  std::string At(const std::string& path) const { return path.empty() ? target : target + "/" + path; }
  std::string Content(const std::string& path) const {
    std::ifstream file(At(path), std::ios::binary);
    EXPECT_TRUE(file.good()) << path;
    std::string content(static_cast<size_t>(StatOf(path).st_size), '\0');
    file.read(content.data(), static_cast<std::streamsize>(content.size()));
    EXPECT_EQ(static_cast<size_t>(file.gcount()), content.size()) << path;
    return content;
  }
  struct stat StatOf(const std::string& path) const {
    struct stat st = {};
    EXPECT_EQ(lstat(At(path).c_str(), &st), 0) << path;
    return st;
  }
  bool Exists(const std::string& path) const {
    struct stat st;
    return lstat(At(path).c_str(), &st) == 0;
  }
  // Of ours, anywhere below the target.
  std::vector<std::string> Temporaries() const {
    std::vector<std::string> found;
    if (!std::filesystem::exists(target)) return found;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(target)) {
      if (entry.path().filename().string().starts_with(".mayfly-")) found.push_back(entry.path().string());
    }
    return found;
  }

  // ---- time ----
  bool Step() {
    bool worked = false;
    for (auto& node : nodes_) worked |= node->Step();
    return worked;
  }
  void Turn() {
    if (Step()) return;
    Nanos next = network_.next_event();
    for (auto& node : nodes_) {
      if (!node->dead) next = std::min(next, node->executor.next_timer());
    }
    MAYFLY_CHECK(next != kNever);
    clock.AdvanceTo(next);
  }
  template <class T>
  void Run(Task<T>& task) {
    while (!task.done()) Turn();
  }
  void Kill(ShardId shard) {
    NodeOf(shard).dead = true;
    network_.Kill(*NodeOf(shard).transport);
  }
  SimNetwork& network() { return network_; }
  void HangPfs(ShardId shard, bool hang) { NodeOf(shard).pfs_hangs = hang; }

  uint32_t shard_count() const override { return placement->shard_count(); }
  Bytes AddressOf(ShardId shard) const override { return nodes_[shard.value]->transport->address(); }
  std::string NameOf(ShardId shard) const override { return "node" + std::to_string(shard.value); }

  static constexpr Nanos kBirth = 1'600'000'000 * kSecond + 123'456'789;
  std::unique_ptr<Placement> placement;
  SimClock clock;
  Faults faults;
  Code fetched = Code::kOk;  // how it ends when bytes are fetched from a chunk file
  InodeId root;
  std::string scratch, target;
  nlohmann::json report;
  std::map<Method, uint32_t> served;

 private:
  struct Node {
    Node(FlushWorld& w, ShardId s)
        : world(w),
          self(s),
          transport(w.network_.Create()),
          executor(w.clock),
          memory(1u << 30),
          budget(512u << 20),
          arena(&memory, &budget),
          store(&arena, &budget),
          names(NamesOptions(s)),
          real(PosixPfsTree::Options{w.options_.openat2}),
          pfs(w.faults, real),
          gate(executor) {
      Identity identity;
      identity.secret = w.secret_;
      identity.client = ClientId(w.random_.U64() | 1);
      identity.process = ClientId(w.random_.U64() | 1);
      identity.cred.uid = geteuid();
      identity.peer = true;
      identity.shard = s;
      identity.peer_proof = PeerProofKey(w.server_secret_);
      caller = std::make_unique<Caller>(executor, *transport, w.random_, w, identity, Caller::Timing());
      Responder::Options options;
      options.secret = w.secret_;
      options.peer_proof = identity.peer_proof;
      options.self = s;
      options.uid = geteuid();
      responder = std::make_unique<Responder>(executor, *transport, w.random_, options, caller.get());
      transport->SetReceiver(responder.get());
      FlushContext context{
          executor, w.clock, offload, pfs, *caller, *w.placement, w, s, names, store, w.options_.checksums, nullptr};
      context.fetch = [&w](ReadPieces*) { return Fetched(w.fetched); };
      context.exact_attr = [this](InodeId id, Nanos, Attr* attr) { return ExactAttr(this, id, attr); };
      flusher = std::make_unique<Flusher>(std::move(context));
    }
    static Task<Status> Fetched(Code how) { co_return how; }
    static Namespace::Options NamesOptions(ShardId s) {
      Namespace::Options options;
      options.self = s;
      return options;
    }
    bool Step() {
      if (dead) return false;
      bool worked = transport->Progress();
      if (!pfs_hangs) worked |= offload.Poll();
      while (Request* request = responder->Next()) {
        gate.Spawn(Serve(this, request), "a request");
        worked = true;
      }
      return executor.RunOnce() || worked;
    }

    // As the server does it, but for the messages: the other stores are at hand.
    static Task<Status> ExactAttr(Node* node, InodeId id, Attr* attr) {
      co_await node->executor.Yield();
      const Inode* inode = node->names.FindInode(id);
      if (inode == nullptr) co_return Code::kStale;
      if (inode->type == FileType::kDirectory) {
        std::vector<DirPartReply> parts;
        for (auto& other : node->world.nodes_) {
          if (other->names.Joined(id)) parts.push_back(other->names.PartOf(id));
        }
        *attr = node->names.AttrOfDirectory(*inode, parts);
        co_return Code::kOk;
      }
      *attr = node->names.AttrOf(*inode);
      attr->partial = false;
      if (inode->extra == nullptr) co_return Code::kOk;
      for (ShardId shard : inode->extra->shards) {
        const FileFigures figures = node->world.NodeOf(shard).store.Figures(id);
        attr->size = std::max(attr->size, figures.high_water);
        attr->mtime = std::max(attr->mtime, figures.mtime);
        attr->version += figures.changes;
      }
      co_return Code::kOk;
    }

    static Task<Status> Serve(Node* node, Request* r) {
      ++node->world.served[r->method()];
      std::string payload(r->payload().size(), '\0');
      Status status;
      if (!payload.empty()) {
        status = co_await r->Fetch(MutableBytes(reinterpret_cast<uint8_t*>(payload.data()), payload.size()));
      }
      Decoder d(r->body());
      std::string out;
      switch (r->method()) {
        case Method::kFlushDir: {
          FlushDirRequest q;
          FlushWorkReply a;
          q.Fields(d);
          if (status.ok()) status = co_await node->flusher->ServeDir(q, std::move(payload), &a, &out);
          co_await r->Reply(status.code(), a, status.ok() ? AsBytes(out) : Bytes());
          break;
        }
        case Method::kFlushFile:
        case Method::kFlushChunks: {
          FlushFileRequest q;
          FlushWorkReply a;
          q.Fields(d);
          if (status.ok() && r->method() == Method::kFlushFile) {
            status = co_await node->flusher->ServeFile(q, std::move(payload), &a, &out);
          } else if (status.ok()) {
            status = co_await node->flusher->ServeChunks(q, std::move(payload), &a, &out);
          }
          co_await r->Reply(status.code(), a, status.ok() ? AsBytes(out) : Bytes());
          break;
        }
        case Method::kShards: {
          ShardsRequest q;
          ShardsReply a;
          q.Fields(d);
          const Inode* inode = node->names.FindInode(q.inode);
          if (inode == nullptr) status = Code::kStale;
          if (inode != nullptr && inode->extra != nullptr) {
            a.count = static_cast<uint32_t>(inode->extra->shards.size());
            for (ShardId s : inode->extra->shards) out.append(reinterpret_cast<const char*>(&s.value), 4);
          }
          co_await r->Reply(status.code(), a, AsBytes(out));
          break;
        }
        case Method::kPeek: {
          PeekRequest q;
          PeekReply a;
          q.Fields(d);
          auto found = node->names.Find(q.parent, q.name);
          if (found.ok()) {
            a.inode = found->inode;
            a.type = found->type;
          }
          co_await r->Reply(Code::kOk, a, {});
          break;
        }
        default: {
          Empty empty;
          co_await r->Reply(Code::kNotSupported, empty, {});
        }
      }
      r->Finish();
      co_return Code::kOk;
    }

    FlushWorld& world;
    const ShardId self;
    std::unique_ptr<SimTransport> transport;
    Executor executor;
    SimArenaMemory memory;
    MemoryBudget budget;
    Arena arena;
    ChunkStore store;
    Namespace names;
    SimOffload offload;
    PosixPfsTree real;
    FaultyPfs pfs;
    std::unique_ptr<Caller> caller;
    std::unique_ptr<Responder> responder;
    std::unique_ptr<Flusher> flusher;
    Gate gate;
    bool dead = false;
    bool pfs_hangs = false;
  };

  SimNetwork::Options NetworkOptions() {
    SimNetwork::Options options;
    options.clock = &clock;
    return options;
  }
  Node& NodeOf(ShardId shard) { return *nodes_[shard.value]; }
  void JoinDir(Node& node, InodeId dir) {
    if (node.names.Joined(dir)) return;
    Inode* inode = InodeOf(dir);
    auto& set = inode->Extra().shards;
    node.names.Join(NodeOf(dir.home()).names.RightsOf(*inode));
    if (std::find(set.begin(), set.end(), node.self) == set.end()) set.push_back(node.self);
  }
  void Apply(Node& node, const TxnOp& op) {
    const TxnId txn(++transactions_);
    Cred cred;
    std::vector<ShardId> set;
    std::vector<InodeId> died;
    EXPECT_EQ(node.names.Prepare(txn, {&op, 1}, cred, &set).code(), Code::kOk);
    EXPECT_TRUE(node.names.Decide(txn, true, kBirth, &died).ok());
  }

  Options options_;
  SimRandom random_;
  SimNetwork network_;
  Secret secret_{}, server_secret_{};
  std::vector<std::unique_ptr<Node>> nodes_;
  uint64_t transactions_ = 0;
};

// Bytes that are not alike anywhere.
inline std::string Noise(uint64_t seed, size_t bytes) {
  std::string out(bytes, '\0');
  SimRandom(seed).Fill(MutableBytes(reinterpret_cast<uint8_t*>(out.data()), out.size()));
  return out;
}

}  // namespace mayfly
