// mayfly trace: where the time of requests goes.
#include <fmt/format.h>

#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/cli.h"
#include "wire/header.h"

namespace mayfly::cli {
namespace {

using Json = nlohmann::ordered_json;

struct TraceOptions {
  unsigned seconds = 5;
  bool json = false;
  std::string method;
};

// As a person reads it; what is part of another stage stands below that.
std::string TextOf(TraceStage stage) {
  std::string text(NameOf(stage));
  for (char& c : text) c = c == '_' ? ' ' : c;
  return (stage == TraceStage::kPull || stage == TraceStage::kWait ? "  of it " : "  ") + text;
}

void Print(const Json& method, double seconds) {
  const auto count = method.value("count", uint64_t{0});
  fmt::print("\n{}: {} requests, {:.0f}/s\n", method.value("method", "?"), count,
             static_cast<double>(count) / (seconds > 0 ? seconds : 1));
  fmt::print("  {:<16} {:>10} {:>10} {:>10} {:>10} {:>10}  us\n", "stage", "count", "p50", "p90", "p99", "max");
  const Json& stages = method["stages"];
  for (const TraceStage stage : kTraceStages) {
    const auto found = stages.find(std::string(NameOf(stage)));
    if (found == stages.end()) continue;
    fmt::print("{:<18} {:>10} {:>10.2f} {:>10.2f} {:>10.2f} {:>10.2f}\n", TextOf(stage),
               found->value("count", uint64_t{0}), found->value("p50_us", 0.0), found->value("p90_us", 0.0),
               found->value("p99_us", 0.0), found->value("max_us", 0.0));
  }
}

int Trace(const Context& c, const TraceOptions& o) {
  Session session(c);
  if (!session) return kFailed;
  char* text = mayfly_trace(session.get(), o.seconds * 1000);
  if (text == nullptr) return Fail(mayfly_error());
  Json report = Json::parse(text, nullptr, false);
  std::free(text);
  if (report.is_discarded()) return Fail("the servers' report does not parse; are they of this version of mayfly?");
  if (!o.method.empty()) {
    Json chosen = Json::array();
    for (const Json& method : report["methods"]) {
      if (method.value("method", "") == o.method) chosen.push_back(method);
    }
    report["methods"] = std::move(chosen);
  }
  if (o.json) {
    fmt::print("{}\n", report.dump(2));
    return kDone;
  }
  const double seconds = report.value("seconds", 0.0);
  fmt::print("{:.1f} s, {} shards\n", seconds, report.value("shards", 0));
  if (report["methods"].empty()) fmt::print("no requests came{}\n", o.method.empty() ? "" : " of " + o.method);
  for (const Json& method : report["methods"]) Print(method, seconds);
  return kDone;
}

// CLI11's check: empty if there is such a method.
std::string IsAMethod(const std::string& name) {
  std::string all;
#define MAYFLY_NAME(method, number, request, reply, once, who) \
  if (name == #method) return {};                              \
  all += std::string(all.empty() ? "" : ", ") + #method;
  MAYFLY_METHODS(MAYFLY_NAME)
#undef MAYFLY_NAME
  return "there is no method " + name + "; there are " + all;
}

}  // namespace

void AddTrace(CLI::App& app, Context* context) {
  auto* sub = app.add_subcommand("trace", "Where the time of requests goes: percentiles of each stage, by method");
  sub->footer(
      "Stages:\n"
      "  call          all of the C interface's call that began with this request\n"
      "  client queue  from that call's beginning until the transport got the message\n"
      "  copy          bytes copied into or out of a server's mapped arena\n"
      "  wire          transports and network, there and back (and hold)\n"
      "  server queue  from the message's arrival until its handler starts\n"
      "  work          the handler; of it pull: the payload is brought in; wait: from where it waited first\n"
      "  hold          the reply waits for the disk (durability node)\n"
      "  wake          from the reply's arrival until the client goes on\n"
      "Servers and clients time requests meanwhile, which costs each some looks at the clock.");
  auto o = std::make_shared<TraceOptions>();
  sub->add_option("--seconds", o->seconds, "How long")->check(CLI::Range(1, 3600))->capture_default_str();
  sub->add_option("--method", o->method, "Only this one, as in the table that is printed")
      ->check(CLI::Validator(IsAMethod, "METHOD"));
  sub->add_flag("--json", o->json, "For programs");
  sub->callback([context, o] { context->run = [context, o] { return Trace(*context, *o); }; });
}

}  // namespace mayfly::cli
