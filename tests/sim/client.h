// A process of real clients in a SimCluster: a mount, lanes on it and their helper, on the servers' own node if it is
// given their arenas.
#pragma once

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "client/helper.h"
#include "client/lane.h"
#include "sim/cluster.h"

namespace mayfly {

class SimClient final : public SimCluster::Steppable {
 public:
  explicit SimClient(SimCluster& cluster, ClientOptions options = {}, ArenaViews* views = nullptr, uint64_t host = 0)
      : cluster_(cluster), host_(host), is_near_(views != nullptr), identity_(cluster.ClientIdentity()) {
    timing_.unreachable_after = options.unreachable_after;
    mount_ = std::make_unique<Mount>(cluster.placement(), identity_.cred, options, files_, views);
    mount_->SetWakeHelper([this] { poked_ = true; });
    NewEngine();
    helper_ = std::make_unique<Helper>(*NewEngine().lane);
    cluster.Add(this);
  }
  ~SimClient() override {
    MAYFLY_CHECK(alive());
    helper_->Stop();
    for (auto& engine : engines_) engine->caller->Shutdown();
    for (int i = 0; i < 10000 && cluster_.Step(); ++i) {
    }
    // What waits for a moment before it tries again.
    const auto idle = [](const auto& engine) { return engine->lane->idle(); };
    for (int i = 0; i < 1000 && !std::all_of(engines_.begin(), engines_.end(), idle); ++i) {
      cluster_.RunFor(kMillisecond);
    }
    cluster_.Remove(this);
    for (auto& engine : engines_) {
      engine->lane.reset();
      engine->transport->SetReceiver(nullptr);
    }
  }

  Lane& lane() { return *engines_[0]->lane; }
  Mount& mount() { return *mount_; }
  ClientId process() const { return identity_.process; }
  template <class T>
  T Wait(Task<T> task) {
    return cluster_.Wait(std::move(task));
  }
  FileRef Open(std::string_view path, uint32_t flags) {
    auto fd = Wait(lane().Open(path, flags, 0644));
    return fd.ok() ? Find(*fd) : nullptr;
  }
  FileRef Find(int fd) { return files_.Find(fd); }

  // kill -9 at the n-th moment from now on: before or after a send, or a thing that arrived. What it would have sent
  // from then on is not; what it still does in that turn stays between it and the arenas that it has mapped, as if its
  // messages had not left it yet. Negative: not.
  void KillInside(int64_t moments) {
    moments_ = moments;
    for (auto& engine : engines_) {
      engine->transport->SetOnMoment([this] {
        if (moments_ >= 0 && moments_-- == 0) Die();
      });
    }
  }
  bool alive() const { return alive_; }
  // After its end, between two turns. Nothing of it may run any more, not even its destructor.
  void LetGo() {
    MAYFLY_CHECK(!alive_);
    cluster_.Remove(this);
    for (auto& engine : engines_) cluster_.network().Bury(*engine->transport);
    for (uint32_t s = 0; s < cluster_.shard_count(); ++s) cluster_.arena(s).attached.erase(identity_.process.value);
  }

  bool Step() override {
    bool worked = false;
    if (std::exchange(poked_, false)) helper_->Poke();
    for (auto& engine : engines_) {
      if (alive_) worked |= engine->transport->Progress();
      if (alive_) worked |= engine->executor->RunOnce();
    }
    return worked || poked_;
  }
  Nanos NextTimer() override {
    Nanos next = kNever;
    for (const auto& engine : engines_) next = std::min(next, engine->executor->next_timer());
    return next;
  }

 private:
  void Die() {
    alive_ = false;
    for (auto& engine : engines_) cluster_.network().Kill(*engine->transport, is_near_);
  }

  struct Engine {
    std::unique_ptr<SimTransport> transport;
    std::unique_ptr<Executor> executor;
    std::unique_ptr<Caller> caller;
    std::unique_ptr<Lane> lane;
  };
  Engine& NewEngine() {
    auto engine = std::make_unique<Engine>();
    engine->transport = cluster_.network().Create(host_);
    engine->executor = std::make_unique<Executor>(cluster_.clock());
    Identity mine = identity_;
    mine.client = ClientId(cluster_.random().U64() | 1);
    engine->caller = std::make_unique<Caller>(*engine->executor, *engine->transport, cluster_.random(), cluster_.book(),
                                              mine, timing_);
    engine->transport->SetReceiver(engine->caller.get());
    engine->lane = std::make_unique<Lane>(*engine->executor, *engine->caller, *mount_, cluster_.random().U64());
    engines_.push_back(std::move(engine));
    return *engines_.back();
  }

  SimCluster& cluster_;
  const uint64_t host_;  // SimNetwork's
  const bool is_near_;   // on the servers' node
  Identity identity_;
  Caller::Timing timing_;
  FileTable files_;
  std::unique_ptr<Mount> mount_;
  std::vector<std::unique_ptr<Engine>> engines_;
  std::unique_ptr<Helper> helper_;
  bool poked_ = false;
  bool alive_ = true;
  int64_t moments_ = -1;  // until it is killed
};

}  // namespace mayfly
