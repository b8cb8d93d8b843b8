// `mayfly journal`: looking at the journals of dead servers, offline, and removing them. What the subcommands share.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "inspect/dump.h"
#include "inspect/places.h"

namespace mayfly::cli {

using Json = nlohmann::ordered_json;

struct JournalOptions {
  std::vector<std::string> directories;
  std::optional<uint32_t> shard;  // that one alone
  bool as_json = false;
  DumpRange range;                  // dump
  bool yes = false, force = false;  // clear
};

// The shards that `options` name, in order. False: none, and the sentence was printed.
struct Named {
  MemberPlace member;
  ShardPlace shard;
};
bool FindNamed(const JournalOptions& options, std::vector<Named>* all);

// Who runs this command, and where the sessions of that user are.
PlacesOptions OptionsOfThisUser();

// Whether to do `what` ("remove 3 journals"): `yes` says so, or the person on the terminal, who sees `details` before.
// Else a sentence was printed.
bool Agreed(bool yes, const std::string& what, const std::vector<std::string>& details);

// What a look at one of them gave.
struct Looked {
  std::optional<JournalLook> look;  // none: it was not opened
  std::string problem;              // it cannot be relied on, and why: a server has, or had it open, say
  Verdict verdict() const { return problem.empty() && look ? look->verdict() : Verdict::kUnreadable; }
};
Looked LookAt(const Named& named, LookVisitor* visitor);

// "key=value key=value": the fields of an object in one line, those of a name in `but` left out.
std::string Line(const Json& object, const std::vector<std::string>& but = {});

int DumpJournals(const JournalOptions& options);

}  // namespace mayfly::cli
