// journal: dump, verify, stat, clear. Offline: nothing here needs a server, or disturbs one that comes back.
#include "cli/journal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include "cli/cli.h"
#include "cli/text.h"
#include "inspect/clear.h"
#include "inspect/report.h"
#include "inspect/shard_door.h"
#include "session/process_mark.h"
#include "session/runtime_dir.h"

namespace mayfly::cli {
namespace {

// verify's exit codes beside kDone.
constexpr int kDamaged = 1, kCannotBeRead = 2;

std::string Value(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "none";
    case Json::value_t::boolean:
      return value.get<bool>() ? "yes" : "no";
    case Json::value_t::string: {
      std::string text = Quoted(value.get<std::string>());
      return text.empty() || text.find_first_of(" =\"[]{},") != std::string::npos ? "\"" + text + "\"" : text;
    }
    case Json::value_t::object:
      return "{" + Line(value) + "}";
    case Json::value_t::array: {
      std::string text;
      for (const Json& item : value) text += (text.empty() ? "" : ", ") + Value(item);
      return "[" + text + "]";
    }
    default:
      return value.dump();
  }
}

void PrintStat(const Named& named, const JournalLook& look) {
  const Recovered& r = look.recovered;
  const Superblock& s = r.superblock;
  fmt::print("{}: {}\n", NameOf(named.member, named.shard.shard), Quoted(named.shard.directory));
  fmt::print("  ring        {}, {:.1f}% of it live: {} from LSN {} (tail) to {} (head)\n", Bytes(s.ring_bytes),
             100.0 * static_cast<double>(look.live_bytes()) / static_cast<double>(s.ring_bytes),
             Bytes(look.live_bytes()), s.tail.value, r.end.value);
  fmt::print("  next LSN    {}, wrap generation {}, incarnation {}, durable up to {}\n", look.next().value,
             r.end.value / s.ring_bytes, s.incarnation, s.durable.value);
  fmt::print("  clean       {}; its part in memory: {}\n", s.clean() ? "yes" : "no", Text(look.tail));
  if (s.checkpoint.present != 0) {
    fmt::print("  checkpoint  {}, {}, records from LSN {} on are applied to it\n", s.checkpoint.sequence,
               Bytes(s.checkpoint.bytes), s.checkpoint.start.value);
  } else {
    fmt::print("  checkpoint  none\n");
  }
  fmt::print("  records     {} of changes ({}), {} of padding ({})\n", r.records, Bytes(r.record_bytes), r.pads,
             Bytes(look.pad_bytes));
  const auto print_fields = [](const char* where, const Json& counts) {
    for (const Json& one : counts) {
      fmt::print("  {:<11} {} {:<13} {:>9} of {}\n", where, one["tag"].get<std::string>(), one.value("name", "?"),
                 one["fields"].get<uint64_t>(), Bytes(one["bytes"].get<uint64_t>()));
      where = "";
    }
  };
  const Json stat = DescribeStat(look);
  print_fields("fields", stat["fields"]);
  print_fields("checkpoint", stat["checkpoint_fields"]);
  fmt::print("  {:<11} {}\n", Text(look.verdict()), Explain(look));
}

int Stat(const JournalOptions& options) {
  std::vector<Named> all;
  if (!FindNamed(options, &all)) return kFailed;
  Json document = {{"format", "mayfly-journal-stat"}, {"version", 1}, {"shards", Json::array()}};
  int code = kDone;
  for (const Named& named : all) {
    const Looked looked = LookAt(named, nullptr);
    if (options.as_json) {
      Json one = DescribePlace(named.member, named.shard);
      if (looked.look) one.update(DescribeStat(*looked.look));
      if (!looked.problem.empty()) one["problem"] = looked.problem;
      document["shards"].push_back(std::move(one));
    }
    const bool good = looked.problem.empty() && looked.look && looked.look->read;
    if (good && !options.as_json) PrintStat(named, *looked.look);
    if (!good) {
      code = Fail(!looked.problem.empty()
                      ? looked.problem
                      : fmt::format("{}: {}", NameOf(named.member, named.shard.shard), Explain(*looked.look)));
    }
  }
  if (options.as_json) fmt::print("{}\n", document.dump(2));
  return code;
}

void PrintVerdict(const Named& named, const Looked& looked) {
  if (!looked.problem.empty()) {
    fmt::print("unreadable: {}\n", looked.problem);
    return;
  }
  const JournalLook& look = *looked.look;
  fmt::print("{}: {}: {}\n", Text(look.verdict()), NameOf(named.member, named.shard.shard), Explain(look));
  const Json verdict = DescribeVerdict(look);
  for (const Json& range : verdict.value("damage", Json::array())) {
    fmt::print("  damaged: LSN {} to {}\n", range["from"].get<uint64_t>(), range["to"].get<uint64_t>());
  }
  for (const Json& range : verdict.value("checkpoint_damage", Json::array())) {
    fmt::print("  damaged: checkpoint, byte {} to {}\n", range["from"].get<uint64_t>(), range["to"].get<uint64_t>());
  }
  for (const Json& fault : verdict.value("first_faults", Json::array())) fmt::print("  {}\n", fault.get<std::string>());
}

int Verify(const JournalOptions& options) {
  std::vector<Named> all;
  if (!FindNamed(options, &all)) return kCannotBeRead;
  Json document = {{"format", "mayfly-journal-verify"}, {"version", 1}, {"shards", Json::array()}};
  Verdict worst = Verdict::kWhole;
  for (const Named& named : all) {
    const Looked looked = LookAt(named, nullptr);
    worst = std::max(worst, looked.verdict());
    if (!options.as_json) {
      PrintVerdict(named, looked);
      continue;
    }
    Json one = DescribePlace(named.member, named.shard);
    if (looked.look) one.update(DescribeVerdict(*looked.look));
    one["verdict"] = Text(looked.verdict());
    if (!looked.problem.empty()) one["problem"] = looked.problem;
    document["shards"].push_back(std::move(one));
  }
  document["verdict"] = Text(worst);
  if (options.as_json) fmt::print("{}\n", document.dump(2));
  return worst == Verdict::kUnreadable ? kCannotBeRead : worst == Verdict::kDamaged ? kDamaged : kDone;
}

int ClearJournals(const JournalOptions& options) {
  const PlacesOptions user = OptionsOfThisUser();
  std::vector<MemberPlace> places;
  for (const std::string& directory : options.directories) {
    auto found = FindPlaces(directory, user);
    if (!found.ok()) return Fail(found.failure().sentence);
    for (MemberPlace& place : *found) {
      const auto same = [&](const MemberPlace& other) { return other.directory == place.directory; };
      if (std::none_of(places.begin(), places.end(), same)) places.push_back(std::move(place));
    }
  }
  const ClearPlan plan = PlanClear(std::move(places), user);
  for (const std::string& sentence : plan.elsewhere) std::fprintf(stderr, "mayfly: %s\n", sentence.c_str());
  for (const std::string& sentence : plan.forbidden) Fail(sentence);
  if (!plan.forbidden.empty()) return kFailed;
  if (plan.members.empty()) return Fail("nothing of this host is there to be cleared");
  for (const std::string& sentence : plan.dirty) std::fprintf(stderr, "mayfly: %s\n", sentence.c_str());
  if (!plan.dirty.empty() && !options.force) {
    return Fail(
        "nothing was removed: what these journals hold may be nowhere else; bring it back with `mayflyd --recover`, or "
        "give --force to lose it");
  }
  const std::string what = fmt::format("{} journal{} of {} member{} ({})", plan.journals, plan.journals == 1 ? "" : "s",
                                       plan.members.size(), plan.members.size() == 1 ? "" : "s", Bytes(plan.bytes));
  std::vector<std::string> details;
  for (const MemberPlace& member : plan.members) details.push_back(Quoted(member.directory));
  if (!Agreed(options.yes, "remove " + what, details)) return kFailed;
  const Cleared cleared = Clear(plan, user);
  for (const std::string& path : cleared.removed) fmt::print("removed {}\n", Quoted(path));
  return cleared.result.ok() ? kDone : Fail(cleared.result.failure().sentence);
}

}  // namespace

bool Agreed(bool yes, const std::string& what, const std::vector<std::string>& details) {
  if (yes) return true;
  if (::isatty(STDIN_FILENO) == 0) return Fail(fmt::format("to {} without being asked, give --yes", what)), false;
  for (const std::string& line : details) std::fprintf(stderr, "%s\n", line.c_str());
  std::string question = what, answer;
  question[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(question[0])));
  std::fprintf(stderr, "%s? [y/N] ", question.c_str());
  if (std::getline(std::cin, answer) && (answer == "y" || answer == "Y" || answer == "yes")) return true;
  return Fail("nothing was changed"), false;
}

PlacesOptions OptionsOfThisUser() {
  const char* runtime = std::getenv("MAYFLY_RUNTIME_DIR");
  PlacesOptions options;
  options.uid = ::geteuid();
  options.host = MarkOfThisProcess().host;
  options.runtime_path = RuntimeDir::PathFor(runtime != nullptr ? runtime : "", options.uid);
  return options;
}

std::string Line(const Json& object, const std::vector<std::string>& but) {
  std::string text;
  for (const auto& [key, value] : object.items()) {
    if (std::find(but.begin(), but.end(), key) != but.end()) continue;
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", key, Value(value));
  }
  return text;
}

bool FindNamed(const JournalOptions& options, std::vector<Named>* all) {
  const PlacesOptions user = OptionsOfThisUser();
  for (const std::string& directory : options.directories) {
    auto found = FindPlaces(directory, user);
    if (!found.ok()) return Fail(found.failure().sentence), false;
    for (const MemberPlace& member : *found) {
      for (const ShardPlace& shard : member.shards) {
        if (!options.shard || shard.shard.value == *options.shard) all->push_back({member, shard});
      }
    }
  }
  if (!all->empty()) return true;
  return Fail(options.shard ? fmt::format("there is no shard {}; without --shard all that are there are looked at",
                                          *options.shard)
                            : std::string("there is no shard in what was named")),
         false;
}

Looked LookAt(const Named& named, LookVisitor* visitor) {
  Looked looked;
  auto door = ShardDoor::Open(named.member, named.shard, OptionsOfThisUser());
  if (!door.ok()) {
    looked.problem = door.failure().sentence;
    return looked;
  }
  ShardDoor& shard = **door;
  looked.look = shard.Run(LookAtJournal(&shard.executor(), shard.from(), visitor));
  if (!looked.look->read) return looked;
  const Outcome<Done> unchanged = shard.Unchanged(looked.look->recovered.superblock);
  if (!unchanged.ok()) looked.problem = unchanged.failure().sentence;
  return looked;
}

void AddJournal(CLI::App& app, Context* context) {
  CLI::App* journal = app.add_subcommand(
      "journal",
      "Look at, or remove, the journals that servers left. They need not run, and must not.\n"
      "DIR is the directory or device of mayflyd's --dir, or a session's, a member's or a shard's below it; without\n"
      "--dir the session's in the runtime directory, /dev/shm/mayfly-UID/UUID. Nothing but `clear` writes anything.");
  journal->require_subcommand(1);
  const auto add = [&](const char* name, const char* text, int (*run)(const JournalOptions&)) {
    auto options = std::make_shared<JournalOptions>();
    CLI::App* command = journal->add_subcommand(name, text);
    command->add_option("DIR", options->directories, "Directories to look into")->required();
    command->callback([=] { context->run = [=] { return run(*options); }; });
    return std::pair(command, options);
  };
  const auto add_look = [&](const char* name, const char* text, int (*run)(const JournalOptions&)) {
    auto [command, options] = add(name, text, run);
    command->add_option("--shard", options->shard, "Only the shard of this number");
    command->add_flag("--json", options->as_json, "One JSON document, for programs");
    return std::pair(command, options);
  };
  auto [dump, range] =
      add_look("dump", "Print superblocks, checkpoint and all records with their fields", DumpJournals);
  dump->add_option("--from", range->range.from.value, "Only what begins at this LSN or behind; no checkpoint");
  dump->add_option("--to", range->range.to.value, "Only what begins before this LSN; no checkpoint");
  add_look("verify",
           "Read all that a recovery would read, with all checksums.\n"
           "Exit status 0: whole, or with the torn tail of a normal crash; 1: damaged, the ranges are printed; 2: it "
           "cannot be read.",
           Verify);
  add_look("stat", "Size, occupancy, positions, and counts by type and tag", Stat);
  auto [clear, answers] = add("clear",
                              "Remove journals, checkpoints and what else dead servers left there and in memory.\n"
                              "A session whose servers live is never cleared.",
                              ClearJournals);
  clear->add_flag("-y,--yes", answers->yes, "Do not ask");
  clear->add_flag("--force", answers->force, "Also what was not closed in order: what it holds is lost");
}

}  // namespace mayfly::cli
