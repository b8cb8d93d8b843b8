// Lanes of one or several processes before a FakeServer. Nothing runs by itself: Wait steps everybody in turn and moves
// the clock when nobody has work.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "client/helper.h"
#include "client/lane.h"
#include "unit/client/fake_server.h"

namespace mayfly {

class ClientWorld;

// One process: a mount, and lanes on it.
struct ClientProcess {
  ClientProcess(ClientWorld& world, ClientOptions options, uint32_t uid);
  ~ClientProcess();
  Lane& lane() { return *engines[0]->lane; }

  struct Engine {
    std::unique_ptr<SimTransport> transport;
    std::unique_ptr<Executor> executor;
    std::unique_ptr<Caller> caller;
    std::unique_ptr<Lane> lane;
  };
  Engine& NewEngine();
  // Starts the helper on a lane of its own.
  void StartHelper();
  bool Step();
  Nanos next() const;

  ClientWorld& world;
  Identity identity;
  FileTable files;
  std::unique_ptr<Mount> mount;
  std::vector<std::unique_ptr<Engine>> engines;
  std::unique_ptr<Helper> helper;
  bool poked = false;
};

class ClientWorld {
 public:
  explicit ClientWorld(uint32_t shards = 4) : network(NetworkOptions()), server(network, clock, shards) {}

  bool Step() {
    bool worked = server.Step();
    for (ClientProcess* process : processes) worked |= process->Step();
    return worked;
  }
  // One turn; the clock goes on when nobody has work. False: nothing will ever happen.
  bool Turn() {
    if (Step()) return true;
    Nanos next = std::min(network.next_event(), server.next());
    for (ClientProcess* process : processes) next = std::min(next, process->next());
    if (next == kNever) return false;
    clock.AdvanceTo(next);
    return true;
  }
  template <class T>
  T Wait(Task<T> task) {
    while (!task.done()) MAYFLY_CHECK(Turn());
    return task.Take();
  }
  void RunFor(Nanos nanos) {
    const Nanos until = clock.Now() + nanos;
    while (clock.Now() < until) {
      if (!Step()) clock.Advance(kMillisecond);
    }
  }

  SimClock clock;
  SimRandom random{3};
  SimNetwork network;
  FakeServer server;
  std::vector<ClientProcess*> processes;

 private:
  SimNetwork::Options NetworkOptions() {
    SimNetwork::Options options;
    options.clock = &clock;
    return options;
  }
};

inline ClientProcess::ClientProcess(ClientWorld& w, ClientOptions options, uint32_t uid)
    : world(w), identity(w.server.identity(uid)) {
  mount = std::make_unique<Mount>(w.server.placement(), identity.cred, options, files);
  mount->SetWakeHelper([this] { poked = true; });
  NewEngine();
  w.processes.push_back(this);
}

inline ClientProcess::~ClientProcess() {
  if (helper != nullptr) helper->Stop();
  for (auto& engine : engines) engine->caller->Shutdown();
  for (int i = 0; i < 10000 && world.Step(); ++i) {
  }
  std::erase(world.processes, this);
  for (auto& engine : engines) {
    engine->lane.reset();
    engine->transport->SetReceiver(nullptr);
  }
}

inline ClientProcess::Engine& ClientProcess::NewEngine() {
  auto engine = std::make_unique<Engine>();
  engine->transport = world.network.Create();
  engine->executor = std::make_unique<Executor>(world.clock);
  Identity mine = identity;
  mine.client = ClientId(world.random.U64() | 1);
  engine->caller = std::make_unique<Caller>(*engine->executor, *engine->transport, world.random, world.server, mine,
                                            Caller::Timing());
  engine->transport->SetReceiver(engine->caller.get());
  engine->lane = std::make_unique<Lane>(*engine->executor, *engine->caller, *mount, world.random.U64());
  engines.push_back(std::move(engine));
  return *engines.back();
}

inline void ClientProcess::StartHelper() { helper = std::make_unique<Helper>(*NewEngine().lane); }

inline bool ClientProcess::Step() {
  bool worked = false;
  if (helper != nullptr && std::exchange(poked, false)) helper->Poke();
  for (auto& engine : engines) {
    worked |= engine->transport->Progress();
    worked |= engine->executor->RunOnce();
  }
  return worked || (poked && helper != nullptr);
}

inline Nanos ClientProcess::next() const {
  Nanos next = kNever;
  for (const auto& engine : engines) next = std::min(next, engine->executor->next_timer());
  return next;
}

}  // namespace mayfly
