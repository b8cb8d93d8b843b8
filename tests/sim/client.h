// A process of real clients in a SimCluster: a mount, lanes on it and their helper, on the servers' own node if it is
// given their arenas.
#pragma once

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
      : cluster_(cluster), host_(host), identity_(cluster.ClientIdentity()) {
    timing_.unreachable_after = options.unreachable_after;
    mount_ = std::make_unique<Mount>(cluster.placement(), identity_.cred, options, files_, views);
    mount_->SetWakeHelper([this] { poked_ = true; });
    NewEngine();
    helper_ = std::make_unique<Helper>(*NewEngine().lane);
    cluster.Add(this);
  }
  ~SimClient() override {
    helper_->Stop();
    for (auto& engine : engines_) engine->caller->Shutdown();
    for (int i = 0; i < 10000 && cluster_.Step(); ++i) {
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

  bool Step() override {
    bool worked = false;
    if (std::exchange(poked_, false)) helper_->Poke();
    for (auto& engine : engines_) {
      worked |= engine->transport->Progress();
      worked |= engine->executor->RunOnce();
    }
    return worked || poked_;
  }
  Nanos NextTimer() override {
    Nanos next = kNever;
    for (const auto& engine : engines_) next = std::min(next, engine->executor->next_timer());
    return next;
  }

 private:
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
  Identity identity_;
  Caller::Timing timing_;
  FileTable files_;
  std::unique_ptr<Mount> mount_;
  std::vector<std::unique_ptr<Engine>> engines_;
  std::unique_ptr<Helper> helper_;
  bool poked_ = false;
};

}  // namespace mayfly
