// mayfly_scale_simulation: one run of the simulated cluster (cluster.h); prints what came of it as one JSON object.
//
//   mayfly_scale_simulation --members N [--shards N] [--clients N] [--window N] [--shared] [--cold] [--creates N] ...
//     [--costs FILE]   the times, in ns, as benchmarks/scale/run measured them; what it lacks is as in cluster.h
#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "scale/cluster.h"

namespace mayfly::scale {
namespace {

void Read(const nlohmann::json& from, bool shared, Costs* to) {
  const auto take = [&](const char* name, auto* value) {
    if (from.contains(name)) from.at(name).get_to(*value);
  };
  take("create", &to->create);
  take("create_spread", &to->create_spread);
  take(shared ? "growth_shared" : "growth", &to->growth);
  take("message", &to->message);
  take("hello", &to->hello);
  take("client", &to->client);
  take("hop", &to->hop);
  take("hop_here", &to->hop_here);
}

int Main(int argc, char** argv) {
  Options o;
  std::string costs;
  Nanos hop = 0;
  bool close_queue = false, no_leases = false, no_growth = false, constant = false;
  CLI::App app("Creates in a simulated cluster.");
  app.add_option("--members", o.members)->required();
  app.add_option("--shards", o.shards, "of a member");
  app.add_option("--clients", o.clients, "of a member");
  app.add_option("--clients-total", o.clients_total, "in all, instead of --clients");
  app.add_option("--window", o.window, "creates that a client has in flight");
  app.add_flag("--shared", o.shared_directory, "one directory for all; else one for each client");
  app.add_flag("--cold", o.cold, "from the first handshake on, --creates a client; else in the steady state, a shard");
  app.add_option("--creates", o.creates);
  app.add_option("--warm-up", o.warm_up, "creates a shard before the measured ones");
  app.add_option("--cores", o.cores, "all servers and clients share so many; 0: each has its own");
  app.add_flag("--no-leases", no_leases, "shards do not ask the root's for leases");
  app.add_flag("--no-growth", no_growth, "a create costs the same however many clients there are");
  app.add_option("--seed", o.seed);
  app.add_option("--costs", costs);
  app.add_option("--hop", hop, "one way between nodes, in ns, instead of that of --costs");
  app.add_flag("--constant", constant, "every create takes the mean time");
  app.add_flag("--exponential", o.costs.exponential, "creates take exponentially distributed times");
  app.add_flag("--close-queue", close_queue,
               "closes come in batches as the library's queue makes them at the rate found");
  CLI11_PARSE(app, argc, argv);
  if (!costs.empty()) {
    std::ifstream file(costs);
    const auto json = nlohmann::json::parse(file, nullptr, false);
    if (!json.is_object()) {
      std::cerr << "mayfly_scale_simulation: " << costs << " is not a JSON object of costs" << std::endl;
      return 1;
    }
    Read(json, o.shared_directory, &o.costs);
  }
  if (hop != 0) o.costs.hop = hop;
  if (constant) o.costs.create_spread.clear();
  if (no_growth) o.costs.growth.clear();
  if (no_leases) o.lease_renewal = 0;
  const uint32_t clients = o.clients_total != 0 ? o.clients_total : o.members * o.clients;
  auto outcome = Simulate(o);
  if (outcome.ok() && close_queue) {
    o.closes_a_message = ClosesAMessage(o.members * o.shards, outcome->rate / clients, o.seed);
    outcome = Simulate(o);
  }
  if (!outcome.ok()) {
    std::cerr << "mayfly_scale_simulation: these options make no cluster that can be simulated" << std::endl;
    return 1;
  }
  const Outcome& out = *outcome;
  const nlohmann::json json = {{"members", o.members},
                               {"shards", o.members * o.shards},
                               {"clients", clients},
                               {"begun", out.begun},
                               {"ended", out.ended},
                               {"creates", out.creates},
                               {"seconds", out.seconds},
                               {"rate", out.rate},
                               {"first_half", out.first_half},
                               {"second_half", out.second_half},
                               {"busy_mean", out.busy_mean},
                               {"busy_most", out.busy_most},
                               {"busy_root", out.busy_root},
                               {"share_most", out.share_most},
                               {"joins", out.joins},
                               {"hellos", out.hellos},
                               {"leases", out.leases},
                               {"lone_closes", out.lone_closes},
                               {"closes_a_message", o.closes_a_message}};
  std::cout << json.dump() << std::endl;
  return 0;
}

}  // namespace
}  // namespace mayfly::scale

int main(int argc, char** argv) { return mayfly::scale::Main(argc, argv); }
