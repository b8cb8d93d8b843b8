// mayfly_scale_client: the load of benchmarks/scale/run, by the library's own engines: any number of lanes in one
// thread, each with its connections and its creates in flight. (A thread a lane would measure the scheduler.)
//
//   mayfly_scale_client create|mkdir|tree|ping|connect --count N [--lanes N] [--depth N] [--in DIR] [--latency] [--wait
//   SECONDS]
//
// create opens a new file and closes it, mkdir makes directories, tree makes a directory and a file in it, ping sends
// empty requests to the root's shard; connect is the first ping of each lane. Says "ready" once all lanes are connected
// to all shards (connect: to none), starts at a line on standard input, prints what it did as one JSON object, and ends
// at the next line: whoever measures the servers can look at them in between. Without --in each process works in a
// directory of its own.
#include <sched.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "adapt/posix/clock.h"
#include "capi/entry.h"
#include "capi/posix_platform.h"

namespace mayfly {
namespace {

struct Options {
  std::string what, in;
  uint64_t count = 10000;  // of all lanes
  uint32_t lanes = 1, depth = 1;
  uint32_t wait = 60;  // seconds, for the session to be ready
  bool latency = false;
};

[[noreturn]] void Die(const std::string& what) {
  std::cerr << "mayfly_scale_client: " << what << std::endl;
  exit(1);
}

double CpuSeconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

class Load {
 public:
  explicit Load(const Options& options) : o_(options) {
    auto platform = PosixPlatform::Connect("", o_.wait * kSecond, UcxOptions());
    if (!platform.ok()) Die(platform.failure().sentence);
    ClientOptions waiting;
    waiting.own_after = ~0u;  // each create is waited for: what is measured is its way there and back
    fs_ = ConnectTo(std::move(*platform), waiting, o_.wait * kSecond);
    if (fs_ == nullptr) Die(mayfly_error());
    instance_ = &InstanceOf(fs_);
    for (uint32_t i = 0; i < o_.lanes; ++i) {
      std::string why;
      engines_.push_back(instance_->NewEngine(&why));
      if (engines_.back() == nullptr) Die(why);
    }
    directory_ = o_.in.empty() ? "/scale." + std::to_string(getpid()) : o_.in;
  }

  void Prepare() {
    if (o_.what == "connect") return;
    const uint32_t shards = instance_->platform().placement().shard_count();
    for (uint32_t s = 0; s < shards; ++s) {
      std::vector<Task<Status>> pings;
      for (auto& engine : engines_) {
        engine->Look();
        pings.push_back(engine->lane().Ping(ShardId(s), engine->lane().Deadline()));
      }
      Finish(pings);
      for (auto& ping : pings) Need(ping.Take(), "a ping");
    }
    Engine& first = *engines_.front();
    Task<Status> made = first.lane().Mkdir(directory_, 0755);
    first.Finish(made);
    const Status status = made.Take();
    if (status.code() != Code::kExists) Need(status, "mkdir " + directory_);
    // Every lane's path cache, and every shard's part of the directory, before anything is measured.
    const uint64_t count = o_.count;
    const bool latency = o_.latency;
    o_.count = 64 * shards + 4 * o_.lanes;
    o_.latency = false;
    prefix_ = "warm." + std::to_string(getpid()) + ".";
    Drive();
    o_.count = count;
    o_.latency = latency;
    prefix_ = "file." + std::to_string(getpid()) + ".";
  }

  nlohmann::json Run() {
    taken_ = 0;
    const double cpu = CpuSeconds();
    const Nanos begin = clock_.Now();
    Drive();
    const double seconds = static_cast<double>(clock_.Now() - begin) / 1e9;
    nlohmann::json out = {{"count", done_}, {"seconds", seconds}, {"cpu_seconds", CpuSeconds() - cpu}};
    if (!latency_.empty()) {
      std::sort(latency_.begin(), latency_.end());
      // The middle of each of 200 equal parts.
      for (size_t i = 0; i < 200; ++i) out["latency_ns"].push_back(latency_[latency_.size() * (2 * i + 1) / 400]);
    }
    return out;
  }

  void End() {
    for (auto& engine : engines_) {
      if (!engine->Close(engine->now() + 5 * kSecond)) (void)engine.release();
    }
    engines_.clear();
    if (mayfly_disconnect(fs_) != 0) Die(mayfly_error());
  }

 private:
  static void Need(const Status& status, const std::string& what) {
    if (!status.ok()) Die(what + ": " + std::string(TextOf(status.code())));
  }

  static Task<Status> Work(Load* load, Engine* engine, std::string* at) {
    Lane& lane = engine->lane();
    const Options& o = load->o_;
    while (load->taken_ < (o.what == "connect" ? o.lanes : o.count)) {
      const uint64_t number = load->taken_++;
      *at = load->directory_ + "/" + load->prefix_ + std::to_string(number);
      const Nanos begin = o.latency ? load->clock_.Now() : 0;
      if (o.what == "mkdir" || o.what == "tree") {
        const Status made = co_await lane.Mkdir(*at, 0755);
        Need(made, "mkdir " + *at);
        if (o.what == "tree") *at += "/file";
      }
      if (o.what == "create" || o.what == "tree") {
        auto fd = co_await lane.Open(*at, kOpenCreate | kOpenExclusive | kOpenWrite, 0644);
        Need(fd.status(), "creating " + *at);
        const Status closed = co_await lane.Close(*fd);
        Need(closed, "closing " + *at);
      }
      if (o.what == "ping" || o.what == "connect") {
        const ShardId root = lane.mount().placement().RootShard();
        const Status answered = co_await lane.Ping(root, lane.Deadline());
        Need(answered, "a ping");
      }
      if (o.latency) load->latency_.push_back(load->clock_.Now() - begin);
      ++load->done_;
      if (o.what == "connect") break;
    }
    co_return Code::kOk;
  }

  void Drive() {
    done_ = 0;
    latency_.clear();
    std::vector<std::string> names(size_t{o_.lanes} * o_.depth);
    std::vector<Task<Status>> workers;
    for (size_t i = 0; i < names.size(); ++i) {
      Engine* engine = engines_[i % o_.lanes].get();
      engine->Look();
      workers.push_back(Work(this, engine, &names[i]));
    }
    Finish(workers);
  }

  void Finish(std::vector<Task<Status>>& tasks) {
    if (engines_.size() == 1) {
      for (auto& task : tasks) engines_.front()->Finish(task);
      return;
    }
    const auto all_done = [&] { return std::all_of(tasks.begin(), tasks.end(), [](auto& t) { return t.done(); }); };
    while (!all_done()) {
      bool any = false;
      for (auto& engine : engines_) any |= engine->Turn();
      if (any) continue;
      sched_yield();
      for (auto& engine : engines_) engine->Look();
    }
  }

  Options o_;
  PosixClock clock_;
  mayfly_fs* fs_ = nullptr;
  Instance* instance_ = nullptr;
  std::vector<std::unique_ptr<Engine>> engines_;
  std::string directory_, prefix_;
  uint64_t taken_ = 0, done_ = 0;
  std::vector<Nanos> latency_;
};

int Main(int argc, char** argv) {
  Options o;
  CLI::App app("The load of benchmarks/scale/run.");
  app.add_option("what", o.what)->required()->check(CLI::IsMember({"create", "mkdir", "tree", "ping", "connect"}));
  app.add_option("--count", o.count);
  app.add_option("--lanes", o.lanes)->check(CLI::Range(1, 4096));
  app.add_option("--depth", o.depth)->check(CLI::Range(1, 1024));
  app.add_option("--in", o.in);
  app.add_option("--wait", o.wait);
  app.add_flag("--latency", o.latency);
  CLI11_PARSE(app, argc, argv);
  Load load(o);
  load.Prepare();
  std::string line;
  std::cout << "ready" << std::endl;
  std::getline(std::cin, line);
  const nlohmann::json done = load.Run();
  std::cout << done.dump() << std::endl;
  std::getline(std::cin, line);
  load.End();
  return 0;
}

}  // namespace
}  // namespace mayfly

int main(int argc, char** argv) { return mayfly::Main(argc, argv); }
