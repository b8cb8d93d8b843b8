// A cluster that creates files, in virtual time: clients that each wait for their creates, shards that serve one
// request after the other, the real placement between them, and what else travels: handshakes, shards that join a
// directory, closes, leases. It answers how the rate grows with the members when each client and each shard has a core
// of its own. What is left out is listed in share/doc/SCALING.md. Invariants  C1  every create that was begun ends; in
// a cold run each client makes exactly `creates`.
//             C2  a run is a function of its options.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace mayfly::scale {

// Times of one core, in ns. benchmarks/scale/run measures them.
struct Costs {
  Nanos create = 1500;  // of a shard: one file opened, registered and closed, closes by full batches
  // How much a create differs from the mean, one value for each equally probable part; none: not at all.
  std::vector<int64_t> create_spread;
  // How much more a create costs a shard with so many clients: {clients, ns} in ascending order, between them by the
  // logarithm; before the first nothing, past the last no more.
  std::vector<std::pair<uint32_t, Nanos>> growth;
  bool exponential = false;  // the times of creates are that instead
  Nanos message = 500;       // of a shard: an empty request; a join, a lease, a close that travels alone
  Nanos hello = 50'000;      // of a shard: a connection
  Nanos client = 1500;       // of a client: one file
  Nanos hop = 2000;          // one way between two nodes
  Nanos hop_here = 300;      // within one
};

struct Options {
  uint32_t members = 1;
  uint32_t shards = 1;            // of a member
  uint32_t clients = 16;          // of a member, each a process of one thread; spread evenly
  uint32_t clients_total = 0;     // not 0: so many in all instead
  uint32_t window = 1;            // creates that a client has in flight
  bool shared_directory = false;  // else each client has its own
  // Cold: nothing is connected or joined, each client makes `creates` files and stops. Else: all is, and after
  // `warm_up` creates a shard the next `creates` a shard are measured.
  bool cold = false;
  uint64_t creates = 2000, warm_up = 500;
  double closes_a_message = 32;   // see ClosesAMessage; the costs above have full batches
  Nanos lease_renewal = kSecond;  // each shard asks the root's so often; 0: never
  uint32_t cores = 0;             // not 0: all stations share so many
  uint64_t seed = 1;
  Costs costs;
};

struct Outcome {
  uint64_t begun = 0, ended = 0;           // creates, of the whole run
  uint64_t creates = 0;                    // of the part that was measured
  double seconds = 0;                      // of it
  double rate = 0;                         // creates a second
  double first_half = 0, second_half = 0;  // rates of the halves: equal if the run was long enough
  double busy_mean = 0, busy_most = 0;     // of the shards' time
  double busy_root = 0;
  double share_most = 0;  // slots of the fullest shard, 1 is its fair part: 1 / it bounds the efficiency
  uint64_t joins = 0, hellos = 0, leases = 0, lone_closes = 0;  // of the whole run
};

// Fails with kInvalid if the options make no cluster.
Result<Outcome> Simulate(const Options& options);

// What Costs::growth says of so many clients.
Nanos GrowthAt(const Costs& costs, uint32_t clients);

// How many closes a client's messages carry on average if it closes `rate` files a second, evenly over so many shards:
// by the library's own queue, with its helper looking twice a second.
double ClosesAMessage(uint32_t shards, double rate, uint64_t seed);

}  // namespace mayfly::scale
