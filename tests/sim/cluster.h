// A whole cluster in one process: real shards and real lanes over a simulated network, clock and memory. Nothing runs
// by itself: Run steps everybody in turn until what is waited for is done, and moves the clock when nobody has work.
// With a durability, a server that was killed is started again on what its node keeps. The dead one's objects stay
// where they are, untouched, until the process ends: nothing of a killed process ever runs again, not even a
// destructor. Its grave refers to all of it, so that leaks of the living are found (sim/seeds.h runs many worlds).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "adapt/posix/pfs_tree.h"
#include "fake/sim_arena.h"
#include "fake/sim_clock.h"
#include "fake/sim_disk.h"
#include "fake/sim_fiber.h"
#include "fake/sim_kept_memory.h"
#include "fake/sim_network.h"
#include "fake/sim_offload.h"
#include "fake/sim_random.h"
#include "ring/layout.h"
#include "ring/placement.h"
#include "server/shard.h"

namespace mayfly {

struct SimClusterOptions {
  uint32_t members = 4;
  uint32_t shards_per_member = 1;
  uint64_t memory_bytes = 64u << 20;  // a shard
  uint8_t chunk_bits = kChunkBitsMin;
  uint64_t seed = 1;
  size_t eager_bytes_max = 8192;
  bool checksums = true;
  std::string flush_target;
  Durability durability = Durability::kNone;
  Fsync fsync = Fsync::kCommit;
  uint64_t disk_bytes = 0;  // a shard's chunk file; level `node` needs one
  ChunkStore::Evict evict = ChunkStore::Evict::kLru;
  uint64_t journal_bytes = 4u << 20;
  uint64_t window_bytes = 0;  // of the journal's tail; 0: a quarter of the journal
  // The files are memory that can be written to directly, as those of a session without --dir.
  bool storage_in_memory = false;
  size_t checkpoint_step_bytes = 64 << 10;
  bool takes_up_stops = true;
  Cores* cores = nullptr;  // of all servers
  // At level `none` too nothing of a killed server runs again; else its objects go with the cluster, in order, for
  // which it must have been idle.
  bool buries = false;
};

// What a message asks for; none if it is no request.
inline std::optional<Method> MethodOf(const SimNetwork::Passing& passing) {
  Decoder d(passing.header);
  Prefix prefix;
  d.Get(prefix);
  if (prefix.kind != MessageKind::kRequest) return std::nullopt;
  RequestHeader request;
  d.Get(request);
  return request.method;
}

class SimCluster final : public AddressBook {
 public:
  // A client's lane: as capi makes one a thread, without the client's code.
  struct Lane {
    std::unique_ptr<SimTransport> transport;
    std::unique_ptr<Executor> executor;
    std::unique_ptr<Caller> caller;
    ClientId process;
    // Set by the owner if the transport should deliver elsewhere.
    bool Step() { return transport->Progress() | executor->RunOnce(); }
  };

  explicit SimCluster(SimClusterOptions options = {})
      : options_(std::move(options)), random_(options_.seed), network_(NetworkOptions()) {
    std::vector<Member> members;
    for (uint32_t m = 0; m < options_.members; ++m) {
      members.push_back(
          Member{MemberId(static_cast<uint16_t>(m)), "node" + std::to_string(m), 1, options_.shards_per_member});
    }
    auto layout = Layout::Build(std::move(members));
    MAYFLY_CHECK(layout.ok());
    layout_ = std::make_unique<Layout>(std::move(*layout));
    auto placement = Placement::Build(*layout_);
    MAYFLY_CHECK(placement.ok());
    placement_ = std::make_unique<Placement>(std::move(*placement));
    random_.Fill(secret_);
    random_.Fill(server_secret_);
    random_.Fill(uuid_);
    for (uint32_t s = 0; s < placement_->shard_count(); ++s) nodes_.push_back(std::make_unique<Node>());
    for (uint32_t s = 0; s < placement_->shard_count(); ++s) {
      Node& node = *nodes_[s];
      node.random = std::make_unique<SimRandom>(options_.seed * 1000 + s);
      node.arena = std::make_unique<SimArenaMemory>(options_.memory_bytes);
      node.arena->name = "arena-" + std::to_string(s);
      node.platter = std::make_unique<SimPlatter>(
          SimPlatter::Options{.seed = options_.seed * 1000 + s, .maps = options_.storage_in_memory});
      views_.Add(node.arena.get());
      Prepare(ShardId(s));
    }
    for (uint32_t s = 0; s < placement_->shard_count(); ++s) Start(ShardId(s));
    if (options_.durability == Durability::kNone) return;
    std::vector<RecoveryReport> reports(nodes_.size());
    std::vector<Task<Status>> opening;
    for (uint32_t s = 0; s < nodes_.size(); ++s) opening.push_back(shard(s).Open(false, &reports[s]));
    for (auto& open : opening) MAYFLY_CHECK(Wait(std::move(open)).ok());
  }

  ~SimCluster() override {
    // Lanes are the test's; they must be closed before.
    std::vector<Task<Status>> drains;
    for (auto& node : nodes_) {
      if (!node->dead) drains.push_back(node->server->shard->Drain());
    }
    for (auto& drain : drains) Run(drain);
    for (auto& node : nodes_) {
      if (!node->dead) node->server->shard.reset();
    }
  }

  // A name that begins so and whose entry in `dir` this shard holds; the path of one in the root directory.
  std::string NameAt(ShardId shard, std::string name, InodeId dir) const {
    while (placement_->DentryShard(dir, name) != shard) name += 'x';
    return name;
  }
  std::string PathAt(ShardId shard, const std::string& name) const {
    return "/" + NameAt(shard, name, placement_->RootInode());
  }

  std::unique_ptr<Lane> NewLane(ClientId process = ClientId(), uint32_t uid = 0) {
    auto lane = std::make_unique<Lane>();
    lane->transport = network_.Create();
    lane->executor = std::make_unique<Executor>(clock_);
    lane->caller = std::make_unique<Caller>(*lane->executor, *lane->transport, random_, *this,
                                            ClientIdentity(process, uid), Caller::Timing());
    lane->process = last_process_;
    lane->transport->SetReceiver(lane->caller.get());
    lanes_.push_back(lane.get());
    return lane;
  }
  void CloseLane(std::unique_ptr<Lane> lane) {
    lane->caller->Shutdown();
    for (int i = 0; i < 1000 && Step(); ++i) {
    }
    std::erase(lanes_, lane.get());
  }
  // Others that want to be stepped and to say when they want to be (client sessions of the client room, say).
  struct Steppable {
    virtual ~Steppable() = default;
    virtual bool Step() = 0;
    virtual Nanos NextTimer() = 0;
  };
  void Add(Steppable* s) { others_.push_back(s); }
  void Remove(Steppable* s) { std::erase(others_, s); }

  Identity ClientIdentity(ClientId process = ClientId(), uint32_t uid = 0) {
    Identity identity;
    identity.secret = secret_;
    identity.uuid = uuid_;
    identity.client = ClientId(random_.U64() | 1);
    identity.process = last_process_ = process.value != 0 ? process : ClientId(random_.U64() | 1);
    identity.cred.uid = identity.cred.gid = uid;
    identity.pid = 4711;
    identity.host = "client";
    return identity;
  }

  bool Step() {
    bool worked = false;
    for (uint32_t s = 0; s < nodes_.size(); ++s) {
      if (!nodes_[s]->dead) worked |= Step(s);
    }
    for (Lane* lane : lanes_) worked |= lane->Step();
    for (Steppable* other : others_) worked |= other->Step();
    return worked;
  }
  // One turn; when nobody had work the clock goes to the next thing that is due. False: nothing will ever happen.
  bool Turn() {
    if (Step()) return true;
    Nanos next = network_.next_event();
    for (auto& node : nodes_) {
      if (!node->dead) next = std::min({next, node->server->shard->next_timer(), node->server->disk->NextAt()});
    }
    for (Lane* lane : lanes_) next = std::min(next, lane->executor->next_timer());
    for (Steppable* other : others_) next = std::min(next, other->NextTimer());
    if (next == kNever) return false;
    clock_.AdvanceTo(next);
    return true;
  }
  // Until the task is done. A task that never ends is a bug: checked.
  template <class T>
  void Run(Task<T>& task) {
    while (!task.done()) MAYFLY_CHECK(Turn());
  }
  template <class T>
  T Wait(Task<T> task) {
    Run(task);
    return task.Take();
  }
  void RunFor(Nanos nanos) {
    const Nanos until = clock_.Now() + nanos;
    while (clock_.Now() < until) {
      if (!Step()) clock_.Advance(kMillisecond);
    }
  }

  // kill -9 of one server; or the node that it is alone on loses its power.
  void Kill(ShardId shard, bool power = false) {
    Node& node = *nodes_[shard.value];
    node.dead = true;
    node.moments = -1;
    network_.Kill(*node.server->transport);
    if (options_.durability == Durability::kNone && !options_.buries) return;  // taken down with the cluster
    node.server->disk->Crash(power);
    node.arena->Died();
    if (power) {
      node.arena->CutPower();
      node.kept.CutPower();
    }
    network_.Bury(*node.server->transport);
    Graveyard().push_back(node.server.release());
  }
  // The same in the middle of a turn, at the n-th moment from now on: before or after a send, a thing that arrived, or
  // a transfer of the disk. Negative: not.
  void KillInside(ShardId shard, int64_t moments, bool power = false) {
    nodes_[shard.value]->moments = moments;
    nodes_[shard.value]->power = power;
  }
  // Of a member, as SimNetwork numbers hosts.
  static uint64_t HostOf(MemberId member) { return 1 + uint64_t{member.value}; }
  bool dead(ShardId shard) const { return nodes_[shard.value]->dead; }
  // The same server again, on what the node kept, or in the place of one of which nothing is there. The caller drives
  // the cluster until the task is done.
  Task<Status> Restart(ShardId shard, RecoveryReport* report, ShardRole role = ShardRole::kServe) {
    Node& node = *nodes_[shard.value];
    MAYFLY_CHECK(node.dead && node.server == nullptr);
    Prepare(shard);
    Start(shard, role);
    node.dead = false;
    return node.server->shard->Open(true, report);
  }

  // Restarts them, to the end of each.
  std::vector<Status> BringBack(const std::vector<ShardId>& shards) {
    std::vector<RecoveryReport> reports(shards.size());
    std::vector<Task<Status>> tasks;
    for (size_t i = 0; i < shards.size(); ++i) tasks.push_back(Restart(shards[i], &reports[i]));
    std::vector<Status> ended;
    for (auto& task : tasks) {
      // What is sent to a server that does not listen yet is no reason for time to stand still.
      while (!task.done()) {
        if (!Step()) clock_.Advance(kMillisecond);
      }
      ended.push_back(task.Take());
    }
    return ended;
  }

  uint32_t shard_count() const override { return placement_->shard_count(); }
  const Placement& placement() const { return *placement_; }
  const Layout& layout() const { return *layout_; }
  const AddressBook& book() const { return *this; }
  Shard& shard(uint32_t s) { return *nodes_[s]->server->shard; }
  SimTransport& transport(uint32_t s) { return *nodes_[s]->server->transport; }
  SimPlatter& platter(uint32_t s) { return *nodes_[s]->platter; }
  SimArenaMemory& arena(uint32_t s) { return *nodes_[s]->arena; }
  SimKeptNode& kept(uint32_t s) { return nodes_[s]->kept; }
  const SessionUuid& uuid() const { return uuid_; }
  // For clients on the servers' own node.
  SimArenaViews& views() { return views_; }
  SimClock& clock() { return clock_; }
  SimRandom& random() { return random_; }
  SimNetwork& network() { return network_; }

 private:
  struct Server {
    std::unique_ptr<SimTransport> transport;
    std::unique_ptr<SimDisk> disk;
    std::unique_ptr<SimKeptMemory> kept;
    SimOffload offload;
    PosixPfsTree pfs;
    std::unique_ptr<Shard> shard;
    SimFiber fiber;  // where it runs while it is to be killed inside a turn
    bool worked = false;
  };
  struct Node {
    std::unique_ptr<SimRandom> random;
    std::unique_ptr<SimArenaMemory> arena, stand_in_arena;
    std::unique_ptr<SimPlatter> platter;
    SimKeptNode kept;
    std::vector<uint8_t> address;    // of its newest server
    std::unique_ptr<Server> server;  // null: killed, and not started again
    bool dead = false;
    int64_t moments = -1;  // until it is killed inside a turn
    bool power = false;    // or loses its power there
  };
  static std::vector<Server*>& Graveyard() {
    static auto* servers = new std::vector<Server*>;
    return *servers;
  }

  bool Step(uint32_t s) {
    Node& node = *nodes_[s];
    Server& server = *node.server;
    if (node.moments < 0) return server.shard->RunOnce();
    const bool lives = server.fiber.Run(
        [](void* one) {
          auto* const running = static_cast<Server*>(one);
          running->worked = running->shard->RunOnce();
        },
        &server);
    if (lives) return server.worked;
    Kill(ShardId(s), node.power);
    return true;
  }
  SimNetwork::Options NetworkOptions() {
    SimNetwork::Options o;
    o.eager_bytes_max = options_.eager_bytes_max;
    o.clock = &clock_;
    return o;
  }
  void Prepare(ShardId s) {
    Node& node = *nodes_[s.value];
    node.server = std::make_unique<Server>();
    node.server->transport = network_.Create(HostOf(layout_->MemberOf(s)));
    const Bytes address = node.server->transport->address();
    node.address.assign(address.begin(), address.end());
    node.server->disk = std::make_unique<SimDisk>(*node.platter, clock_);
    node.server->kept = std::make_unique<SimKeptMemory>(node.kept);
    auto on_moment = [&node] {
      if (node.moments >= 0 && node.server->fiber.inside() && node.moments-- == 0) node.server->fiber.Leave();
    };
    node.server->transport->SetOnMoment(on_moment);
    node.server->disk->SetOnMoment(on_moment);
  }
  void Start(ShardId s, ShardRole role = ShardRole::kServe) {
    Node& node = *nodes_[s.value];
    ShardOptions o;
    o.self = s;
    o.secret = secret_;
    o.uuid = uuid_;
    o.server_secret = server_secret_;
    o.process = ClientId(random_.U64() | 1);
    o.host = layout_->member(layout_->MemberOf(s)).host;
    o.memory_bytes = options_.memory_bytes;
    o.chunk_bits = options_.chunk_bits;
    o.checksums = options_.checksums;
    o.flush_target = options_.flush_target;
    o.root_permissions = 01777;
    Server& server = *node.server;
    o.durability = options_.durability;
    o.fsync = options_.fsync;
    o.disk_bytes = options_.disk_bytes;
    o.evict = options_.evict;
    o.journal.ring_bytes = options_.journal_bytes;
    o.journal.window_bytes = options_.window_bytes != 0 ? options_.window_bytes : options_.journal_bytes / 4;
    o.checkpoint_step_bytes = options_.checkpoint_step_bytes;
    o.role = role;
    o.takes_up_stops = options_.takes_up_stops;
    for (const Member& member : layout_->members()) o.stage_shards.push_back(layout_->FirstShardOf(member.id));
    const bool stands_in = role == ShardRole::kStandIn;
    if (stands_in) {
      o.durability = Durability::kNone;
      o.disk_bytes = 0;
      node.stand_in_arena = std::make_unique<SimArenaMemory>(options_.memory_bytes);
    }
    Doors doors{clock_,         *node.random, *server.transport, stands_in ? *node.stand_in_arena : *node.arena,
                server.offload, server.pfs};
    if (options_.durability != Durability::kNone && !stands_in) {
      doors.disk = server.disk.get();
      doors.kept = server.kept.get();
    }
    doors.cores = options_.cores;
    server.shard = std::make_unique<Shard>(doors, *placement_, *this, std::move(o));
  }

  Bytes AddressOf(ShardId shard) const override { return nodes_[shard.value]->address; }
  std::string NameOf(ShardId shard) const override { return layout_->member(layout_->MemberOf(shard)).host; }

  SimClusterOptions options_;
  SimClock clock_;
  SimRandom random_;
  SimNetwork network_;
  SimArenaViews views_;
  Secret secret_{}, server_secret_{};
  SessionUuid uuid_{};
  std::unique_ptr<Layout> layout_;
  std::unique_ptr<Placement> placement_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<Lane*> lanes_;
  std::vector<Steppable*> others_;
  ClientId last_process_;
};

}  // namespace mayfly
