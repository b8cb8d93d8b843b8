// A platform whose doors are simulated: whoever waits in an engine drives the whole world meanwhile, in one thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "capi/platform.h"
#include "fake/sim_clock.h"
#include "fake/sim_network.h"
#include "fake/sim_random.h"

namespace mayfly {

// The others of the world: a turn of theirs, and when the next thing is due there.
struct SimWorld {
  SimClock* clock = nullptr;
  SimNetwork* network = nullptr;
  std::function<bool()> step;
  std::function<Nanos()> next;
};

class SimGround final : public Ground {
 public:
  SimGround(SimWorld world, uint64_t seed) : world_(std::move(world)), idle_(world_), random_(seed) {
    transport_ = world_.network->Create();
  }
  Clock& clock() override { return *world_.clock; }
  Idle& idle() override { return idle_; }
  Random& random() override { return random_; }
  Transport& transport() override { return *transport_; }
  void Abandon() override {}

 private:
  class WorldIdle final : public Idle {
   public:
    explicit WorldIdle(SimWorld& world) : world_(world) {}
    void Sleep(Nanos until) override {
      if (world_.step()) return;
      const Nanos next = std::min({until, world_.next(), world_.network->next_event()});
      MAYFLY_CHECK(next != kNever);  // nothing would ever happen
      world_.clock->AdvanceTo(next);
    }
    void Yield() override {
      if (!world_.step()) world_.clock->Advance(10 * kMicrosecond);
    }
    void Wake() override {}

   private:
    SimWorld& world_;
  };
  SimWorld world_;
  WorldIdle idle_;
  SimRandom random_;
  std::unique_ptr<SimTransport> transport_;
};

class SimPlatform final : public Platform {
 public:
  SimPlatform(SimWorld world, const Layout& layout, const Placement& placement, const AddressBook& book,
              Identity identity)
      : world_(std::move(world)), layout_(layout), placement_(placement), book_(book), identity_(std::move(identity)) {}
  std::unique_ptr<Ground> NewGround(std::string*) override {
    return std::make_unique<SimGround>(world_, identity_.process.value + ++grounds_);
  }
  const AddressBook& book() const override { return book_; }
  const Layout& layout() const override { return layout_; }
  const Placement& placement() const override { return placement_; }
  RingOptions ring() const override { return {}; }
  Identity identity() const override { return identity_; }
  bool SessionIsGone() override { return gone; }
  bool MayStartThreads() const override { return false; }

  bool gone = false;

 private:
  SimWorld world_;
  const Layout& layout_;
  const Placement& placement_;
  const AddressBook& book_;
  Identity identity_;
  uint64_t grounds_ = 0;
};

}  // namespace mayfly
