// wait, status, ring, df: the session as a whole.
#include <fmt/format.h>
#include <sys/statvfs.h>

#include <chrono>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>

#include "cli/cli.h"
#include "cli/text.h"
#include "ring/balance.h"
#include "ring/ring.h"
#include "session/discover.h"
#include "wire/header.h"

namespace mayfly::cli {
namespace {

using Json = nlohmann::json;

constexpr std::chrono::milliseconds kAskAgainAfter{100};

// A report of the library; prints why there is none.
bool Report(mayfly_fs* fs, const char* what, std::string* text) {
  char* json = mayfly_report(fs, what);
  if (json == nullptr) {
    Fail(Why(std::string("no ") + what));
    return false;
  }
  *text = json;
  std::free(json);
  return true;
}

// Those that do not answer, by name, separated by commas; `answering` counts the others.
std::string NotAnswering(const std::string& ping, int* answering) {
  const Json report = Json::parse(ping, nullptr, false);
  std::string names;
  for (const Json& shard : report.value("shards", Json::array())) {
    if (!shard.value("answers", false)) names += (names.empty() ? "" : ", ") + shard.value("name", "?");
  }
  *answering = report.value("shards_answering", 0);
  return names;
}

int Wait(const Context& c, uint32_t seconds) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  Context waiting = c;
  waiting.wait_seconds = seconds;
  Session session(waiting);
  if (!session) return kFailed;
  for (;;) {
    std::string text;
    if (!Report(session.get(), "ping", &text)) return kFailed;
    int answering = 0;
    const std::string missing = NotAnswering(text, &answering);
    if (missing.empty()) {
      fmt::print("ready: {} shards answer\n", answering);
      return kDone;
    }
    // A server that was killed may be on its way back.
    if (std::chrono::steady_clock::now() >= until) {
      return Fail(fmt::format("the session is up but these members do not answer: {}", missing));
    }
    std::this_thread::sleep_for(kAskAgainAfter);
  }
}

// What a shard counts and drops, as the report calls it and as a person reads it.
constexpr const char* kFalseAnswers = "false answers";
constexpr std::pair<const char*, const char*> kRefusals[] = {{"malformed", "malformed"},
                                                             {"truncated", "truncated"},
                                                             {"oversized", "too large"},
                                                             {"unauthenticated", "not authenticated"},
                                                             {"unknown_connection", "of no connection"},
                                                             {"denied", "not allowed"},
                                                             {kFalseAnswers, kFalseAnswers}};

// "3 malformed, 1 too large"; empty if there is nothing to say.
std::string Refused(const std::map<std::string, uint64_t>& counts) {
  std::string list;
  for (const auto& [key, text] : kRefusals) {
    const auto found = counts.find(key);
    if (found == counts.end() || found->second == 0) continue;
    list += fmt::format("{}{} {}", list.empty() ? "" : ", ", found->second, text);
  }
  return list;
}

// What the shards' journals say together.
struct Journals {
  // `whose`: "shard 1 on node0".
  void Add(const Json& j, const std::string& whose) {
    if (count++ == 0) {
      how = j.value("how", "?") + (j.value("in_memory", false) ? ", in memory" : "");
      durability = j.value("durability", "?");
    }
    registered += j.value("registered_bytes", uint64_t{0});
    live += j.value("live_bytes", uint64_t{0});
    ring += j.value("ring_bytes", uint64_t{0});
    records += j.value("records", uint64_t{0});
    flushes += j.value("flushes", uint64_t{0});
    groups += j.value("groups", uint64_t{0});
    waiters += j.value("group_waiters", uint64_t{0});
    largest = std::max(largest, j.value("group_largest", uint64_t{0}));
    checkpoints += j.value("checkpoints", uint64_t{0});
    checkpoint_ms = std::max(checkpoint_ms, j.value("checkpoint_ms", uint64_t{0}));
    stalls += j.value("stalls", uint64_t{0});
    stalled_ms += j.value("stalled_ms", uint64_t{0});
    in_doubt += j.value("in_doubt", uint64_t{0});
    const Json data = j.value("data", Json());
    if (data.is_object()) {
      const auto figure = [&data](const char* name) { return data.value(name, uint64_t{0}); };
      ++disks;
      capacity += figure("bytes");
      used += figure("bytes") - figure("bytes_free");
      evicted += figure("evicted_bytes");
      waits += figure("eviction_waits");
      read_back += figure("read_back_bytes");
      hits += figure("hits");
    }
    if (j.value("failed", false)) failed += (failed.empty() ? "" : ", ") + whose;
  }
  void Print() const {
    if (count == 0) return;
    const std::string memory = registered != 0 ? fmt::format(", {} of memory registered", Bytes(registered)) : "";
    fmt::print(
        "durability {}: {} journals ({}{}), {} of {} in use; {} records, {} flushes{}, {} checkpoints{}, {} stalls{}\n",
        durability, count, how, memory, Bytes(live), Bytes(ring), records, flushes,
        groups != 0 ? fmt::format(" for groups of {:.1f} ({} at most)",
                                  static_cast<double>(waiters) / static_cast<double>(groups), largest)
                    : "",
        checkpoints, checkpoints != 0 ? fmt::format(" (the last took {} ms)", checkpoint_ms) : "", stalls,
        stalls != 0 ? fmt::format(" of {} ms in all", stalled_ms) : "");
    if (disks != 0) {
      fmt::print(
          "data on the disk: {} of {}; {} left memory ({} waits for it), {} were read back, {} reads found theirs in "
          "memory\n",
          Bytes(used), Bytes(capacity), Bytes(evicted), waits, Bytes(read_back), hits);
    }
    if (in_doubt != 0) fmt::print("{} changes wait for a server that has not come back\n", in_doubt);
    if (failed.empty()) return;
    fmt::print(
        "WARNING: the journal of {} has failed: what is there can be read, and `mayfly stop` flushes it, but that "
        "server changes nothing any more\n",
        failed);
  }
  uint64_t count = 0, registered = 0, live = 0, ring = 0, records = 0, in_doubt = 0;
  uint64_t flushes = 0, groups = 0, waiters = 0, largest = 0, checkpoints = 0, checkpoint_ms = 0, stalls = 0,
           stalled_ms = 0;
  uint64_t disks = 0, capacity = 0, used = 0, evicted = 0, waits = 0, read_back = 0, hits = 0;
  std::string how, durability, failed;
};

// How the shards came up, and whether they serve all that there was.
struct Recoveries {
  void Add(const Json& shard, const std::string& whose) {
    const std::string role = shard.value("role", "serves");
    if (role == "missing") missing += (missing.empty() ? "" : ", ") + whose;
    if (role == "read-only") ++read_only;
    const Json r = shard.value("recovery", Json());
    if (!r.is_object()) return;
    ++count;
    if (r.value("closed_in_order", false)) ++closed;
    records += r.value("records_read", uint64_t{0});
    bytes += r.value("read_bytes", uint64_t{0});
    took_ms = std::max(took_ms, r.value("recovery_ms", uint64_t{0}));
    given_up += r.value("given_up", uint64_t{0});
    damaged += r.value("damaged", uint64_t{0});
  }
  void Print() const {
    if (count != 0) {
      fmt::print("recovery: {} journals, {} of them closed in order; {} records, {} read, {} ms at most\n", count,
                 closed, records, Bytes(bytes), took_ms);
    }
    if (damaged != 0)
      fmt::print("WARNING: {} ranges of the journals are damaged, and what they held is lost\n", damaged);
    if (read_only != 0 || !missing.empty()) {
      fmt::print("WARNING: this session is degraded: it can be read and flushed, and changes nothing\n");
    }
    if (!missing.empty()) fmt::print("WARNING: missing: {}; what they held gives an input/output error\n", missing);
    if (given_up != 0) {
      fmt::print(
          "WARNING: {} changes across several members were under way, had no end that is known here and are "
          "taken as not done\n",
          given_up);
    }
  }
  uint64_t took_ms = 0, count = 0, closed = 0, records = 0, bytes = 0, given_up = 0, damaged = 0, read_only = 0;
  std::string missing;
};

int Status(const Context& c, bool as_json) {
  Session session(c);
  if (!session) return kFailed;
  std::string text;
  if (!Report(session.get(), "status", &text)) return kFailed;
  if (as_json) {
    fmt::print("{}\n", text);
    return kDone;
  }
  const Json report = Json::parse(text, nullptr, false);
  if (report.is_discarded()) return Fail("the status report does not parse; `mayfly status --json` shows it");
  fmt::print("session {}\n", report.value("session", "?"));
  fmt::print("{:>5} {:<16} {:>8} {:>10} {:>10} {:>9} {:>9} {:>11} {}\n", "shard", "host", "pid", "memory", "used",
             "inodes", "clients", "requests", "transport");
  std::map<std::string, uint64_t> refused;
  uint64_t corrupt = 0;
  Journals journals;
  Recoveries recoveries;
  for (const Json& shard : report.value("shards", Json::array())) {
    if (!shard.contains("status") || !shard["status"].contains("memory")) {
      fmt::print("{:>5} {} does not answer\n", shard.value("shard", -1), shard.value("name", "?"));
      continue;
    }
    const Json& s = shard["status"];
    const Json& r = s["requests"];
    fmt::print("{:>5} {:<16} {:>8} {:>10} {:>10} {:>9} {:>9} {:>11} {}\n", s.value("shard", -1), s.value("host", "?"),
               s.value("pid", 0), Bytes(s["memory"].value("limit", uint64_t{0})),
               Bytes(s["memory"].value("used", uint64_t{0})), s["names"].value("inodes", uint64_t{0}),
               r.value("connections", uint64_t{0}), r.value("served", uint64_t{0}), s.value("transport", "?"));
    for (const auto& [key, text] : kRefusals) refused[key] += r.value(key, uint64_t{0});
    refused[kFalseAnswers] += s["calls"].value("refused", uint64_t{0});
    corrupt += s["data"].value("corrupt_blocks", uint64_t{0});
    recoveries.Add(s, shard.value("name", "?"));
    if (s.contains("journal") && s["journal"].is_object()) {
      journals.Add(s["journal"], fmt::format("shard {} on {}", s.value("shard", -1), s.value("host", "?")));
    }
  }
  journals.Print();
  recoveries.Print();
  if (const std::string list = Refused(refused); !list.empty()) fmt::print("messages refused: {}\n", list);
  if (corrupt != 0) fmt::print("WARNING: {} blocks of data did not match their checksum\n", corrupt);
  return kDone;
}

// Needs no server: everything is in the node's map.
int RingCommand(const Context& c, bool as_json) {
  auto found = Discover(DiscoverOptions::FromEnvironment(c.session, ProtocolRange{kWireVersion, kWireVersion}));
  if (!found.ok()) return Fail(found.failure().sentence);
  auto map = OpenNodeMap(*found);
  if (!map.ok()) return Fail(map.failure().sentence);
  auto ring = Ring::Build(map->layout(), map->ring());
  if (!ring.ok()) return Fail("the session's layout gives no ring: the node map is damaged, restart the servers");
  const Balance balance = BalanceOf(map->layout(), *ring, map->placement());
  if (as_json) {
    Json out = {{"members", Json::array()}, {"slots", map->placement().slot_count()}};
    for (const MemberBalance& m : balance.members) {
      const Member& member = map->layout().member(m.id);
      out["members"].push_back({{"member", m.id.value},
                                {"host", member.host},
                                {"shards", member.shards},
                                {"weight", member.weight},
                                {"fair", m.fair},
                                {"ring", m.ring},
                                {"table", m.table}});
    }
    fmt::print("{}\n", out.dump());
    return kDone;
  }
  fmt::print("{} members, {} shards, {} slots; root on shard {}\n", map->layout().member_count(),
             map->layout().shard_count(), map->placement().slot_count(), map->placement().RootShard().value);
  fmt::print("{:>6} {:<20} {:>6} {:>6} {:>9} {:>11} {:>11}\n", "member", "host", "shards", "weight", "share",
             "slot table", "plain ring");
  for (const MemberBalance& m : balance.members) {
    const Member& member = map->layout().member(m.id);
    fmt::print("{:>6} {:<20} {:>6} {:>6} {:>8.3f}% {:>10.3f}% {:>10.3f}%\n", m.id.value, member.host, member.shards,
               member.weight, m.fair, m.table, m.ring);
  }
  fmt::print("heaviest member: {:.1f}% of its share by the slot table, {:.1f}% by the plain ring\n", balance.table.max,
             balance.ring.max);
  return kDone;
}

int Df(const Context& c) {
  Session session(c);
  if (!session) return kFailed;
  struct statvfs st;
  if (mayfly_statvfs(session.get(), &st) != 0) return Fail(Why("df"));
  const uint64_t size = uint64_t{st.f_blocks} * st.f_frsize, free = uint64_t{st.f_bavail} * st.f_frsize;
  fmt::print("{:>12} {:>12} {:>12} {:>5} {:>12} {:>12}\n", "size", "used", "free", "use%", "inodes", "inodes free");
  fmt::print("{:>12} {:>12} {:>12} {:>4}% {:>12} {:>12}\n", Bytes(size), Bytes(size - free), Bytes(free),
             size == 0 ? 0 : (size - free) * 100 / size, uint64_t{st.f_files} - st.f_ffree, uint64_t{st.f_ffree});
  return kDone;
}

}  // namespace

void AddSession(CLI::App& app, Context* context) {
  auto seconds = std::make_shared<uint32_t>(120);
  CLI::App* wait = app.add_subcommand("wait", "Wait until the servers are ready; says what is missing if they are not");
  wait->add_option("--timeout", *seconds, "Seconds")->capture_default_str();
  wait->callback([=] { context->run = [=] { return Wait(*context, *seconds); }; });

  auto json = std::make_shared<bool>(false);
  CLI::App* status = app.add_subcommand("status", "Members, memory and counters");
  status->add_flag("--json", *json, "For programs");
  status->callback([=] { context->run = [=] { return Status(*context, *json); }; });

  CLI::App* ring = app.add_subcommand("ring", "Placement: members, shares and how even they are");
  ring->add_flag("--json", *json, "For programs");
  ring->callback([=] { context->run = [=] { return RingCommand(*context, *json); }; });

  CLI::App* df = app.add_subcommand("df", "Space of the whole session");
  df->callback([=] { context->run = [=] { return Df(*context); }; });
}

}  // namespace mayfly::cli
