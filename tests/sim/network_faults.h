// Who disturbs the network of a SimCluster, by a seed: hosts that cannot reach each other for a while (connections
// break, or nobody is told and all that is sent waits), messages that arrive late, twice or never. One host a member,
// and one a client.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <utility>
#include <vector>

#include "sim/cluster.h"
#include "wire/header.h"

namespace mayfly {

class NetworkFaults final : public SimCluster::Steppable {
 public:
  struct Options {
    uint64_t seed = 1;
    uint32_t clients = 1;
    uint64_t one_in = 2;               // a call of Plan begins a partition
    Nanos servers_most = 8 * kSecond;  // how long servers are apart
    Nanos silent_most = 8 * kSecond;   // or anybody, where nobody is told
    // Connections to clients break for no longer: who calls nothing tries for two seconds to be connected again, and
    // one that is not for five is taken for dead.
    Nanos clients_most = kSecond;
  };
  struct Counts {
    uint64_t partitions = 0, late = 0, twice = 0, lost = 0;
  };

  NetworkFaults(SimCluster& cluster, Options options)
      : cluster_(cluster), options_(options), random_(options.seed * 7349 + 17) {
    for (uint32_t m = 0; m < cluster.layout().member_count(); ++m) servers_.push_back(cluster.HostOf(MemberId(m)));
    for (uint32_t c = 0; c < options.clients; ++c) clients_.push_back(ClientHost(c));
    late_ = OneIn(2) ? Below(60) : 0;
    twice_ = OneIn(2) ? Below(100) : 0;
    lost_ = OneIn(3) ? Below(20) : 0;
    cluster_.Add(this);
  }
  ~NetworkFaults() override {
    Mend();
    cluster_.Remove(this);
  }
  static uint64_t ClientHost(uint32_t client) { return 1'000'000 + client; }

  // Before an operation.
  void Plan() {
    if (quiet_ || !apart_.empty() || cluster_.clock().Now() < begin_after_ || !OneIn(options_.one_in)) return;
    Part();
  }
  // Of each message.
  SimNetwork::Fate Pass(const SimNetwork::Passing& passing) {
    SimNetwork::Fate fate;
    if (quiet_ || IsGreeting(passing.header)) return fate;
    if (random_.PerMille(static_cast<uint32_t>(late_))) {
      fate.delay = static_cast<Nanos>(Below(OneIn(4) ? 15 * kSecond : 200 * kMillisecond));
      ++counts_.late;
    }
    if (random_.PerMille(static_cast<uint32_t>(twice_))) {
      fate.duplicate = true;
      ++counts_.twice;
    }
    if (random_.PerMille(static_cast<uint32_t>(lost_))) {
      fate.drop = true;
      ++counts_.lost;
    }
    return fate;
  }
  // All faults are over.
  void Mend() {
    quiet_ = true;
    Join();
  }

  bool Step() override {
    if (apart_.empty() || cluster_.clock().Now() < until_) return false;
    Join();
    return true;
  }
  Nanos NextTimer() override { return apart_.empty() ? kNever : until_; }
  const Counts& counts() const { return counts_; }

 private:
  uint64_t Below(uint64_t n) { return random_.U64() % n; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }
  // A client whose greetings fare badly would be taken for dead in the end.
  static bool IsGreeting(Bytes header) {
    Decoder d(header);
    Prefix prefix;
    d.Get(prefix);
    return prefix.kind == MessageKind::kHello || prefix.kind == MessageKind::kWelcome;
  }

  void Part() {
    const bool silent = OneIn(2), with_clients = silent || servers_.size() == 1 || OneIn(2);
    std::vector<uint64_t> all = servers_;
    if (with_clients) all.insert(all.end(), clients_.begin(), clients_.end());
    std::vector<uint64_t> sides[2];
    if (OneIn(2)) {  // a pair
      const size_t one = Below(all.size());
      const size_t other = (one + 1 + Below(all.size() - 1)) % all.size();
      sides[0] = {all[one]};
      sides[1] = {all[other]};
    } else {
      for (uint64_t host : all) sides[Below(2)].push_back(host);
    }
    for (uint64_t a : sides[0]) {
      for (uint64_t b : sides[1]) {
        if (a >= ClientHost(0) && b >= ClientHost(0)) continue;
        apart_.emplace_back(a, b);
        if (silent) {
          cluster_.network().HoldHosts(a, b);
        } else {
          cluster_.network().CutHosts(a, b);
        }
      }
    }
    if (apart_.empty()) return;
    ++counts_.partitions;
    const Nanos most = silent ? options_.silent_most : with_clients ? options_.clients_most : options_.servers_most;
    until_ = cluster_.clock().Now() + 1 + static_cast<Nanos>(Below(static_cast<uint64_t>(most)));
    Say(silent ? "holds its breath" : "is cut");
  }
  void Join() {
    if (apart_.empty()) return;
    for (const auto& [a, b] : apart_) cluster_.network().MendHosts(a, b);
    apart_.clear();
    begin_after_ = cluster_.clock().Now() + 3 * kSecond;  // until everybody has found everybody again
    Say("is whole");
  }
  void Say(const char* what) {
    if (std::getenv("MAYFLY_TRACE") == nullptr) return;
    std::printf("%.6f the network %s:", static_cast<double>(cluster_.clock().Now()) / 1e9, what);
    for (const auto& [a, b] : apart_) std::printf(" %lu-%lu", a, b);
    std::printf("\n");
  }

  SimCluster& cluster_;
  const Options options_;
  SimRandom random_;
  std::vector<uint64_t> servers_, clients_;
  uint64_t late_ = 0, twice_ = 0, lost_ = 0;  // of a thousand messages
  bool quiet_ = false;
  std::vector<std::pair<uint64_t, uint64_t>> apart_;
  Nanos until_ = 0, begin_after_ = 0;
  Counts counts_;
};

}  // namespace mayfly
