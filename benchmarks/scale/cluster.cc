#include "scale/cluster.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "base/check.h"
#include "client/close_queue.h"
#include "ring/placement.h"
#include "scale/engine.h"

namespace mayfly::scale {
namespace {

constexpr double kFullBatch = CloseQueue::kBatch;
constexpr uint32_t kClosesUnderWay = 64;  // of a shard, on average

// splitmix64: a run must not depend on a library's distributions.
class Chance {
 public:
  explicit Chance(uint64_t seed) : state_(seed) {}
  uint64_t U64() {
    uint64_t x = state_ += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
  }
  uint64_t Below(uint64_t limit) { return U64() % limit; }
  double Unit() { return static_cast<double>(U64() >> 11) * 0x1p-53; }  // [0, 1)
  double Exponential(double mean) { return -mean * std::log1p(-Unit()); }

 private:
  uint64_t state_;
};

class Bits {
 public:
  Bits(uint64_t rows, uint64_t columns) : columns_(columns), words_((rows * columns + 63) / 64) {}
  // False if it was set already.
  bool Set(uint64_t row, uint64_t column) {
    const uint64_t at = row * columns_ + column;
    uint64_t& word = words_[at / 64];
    const uint64_t bit = uint64_t{1} << at % 64;
    if ((word & bit) != 0) return false;
    word |= bit;
    return true;
  }
  bool Has(uint64_t row, uint64_t column) const {
    const uint64_t at = row * columns_ + column;
    return (words_[at / 64] >> at % 64 & 1) != 0;
  }

 private:
  uint64_t columns_;
  std::vector<uint64_t> words_;
};

Result<Layout> EqualMembers(const Options& o) {
  std::vector<Member> members(o.members);
  for (uint32_t i = 0; i < o.members; ++i) members[i] = {.id = MemberId(static_cast<uint16_t>(i)), .shards = o.shards};
  return Layout::Build(std::move(members));
}

class Cluster {
 public:
  Cluster(const Options& options, Layout layout, Placement placement)
      : o_(options),
        layout_(std::move(layout)),
        placement_(std::move(placement)),
        shards_(layout_.shard_count()),
        clients_(o_.clients_total != 0 ? o_.clients_total : o_.members * o_.clients),
        jobs_(clients_ * o_.window),
        close_jobs_(o_.cold ? 0 : kClosesUnderWay * shards_),
        chance_(o_.seed),
        client_list_(clients_),
        job_list_(uint64_t{jobs_} + shards_ + close_jobs_),
        creates_of_(shards_),
        engine_(*this, shards_ + clients_, static_cast<uint32_t>(job_list_.size()), o_.cores) {
    if (o_.cold) {
      connected_.emplace(clients_, shards_);
      joined_.emplace(o_.shared_directory ? 1 : clients_, shards_);
    }
    for (uint32_t i = 0; i < close_jobs_; ++i) free_closes_.push_back(jobs_ + shards_ + i);
    create_ = o_.costs.create + GrowthAt(o_.costs, clients_);
    lone_close_odds_ = std::max(0.0, 1 / o_.closes_a_message - 1 / kFullBatch);
    MakeDirectories();
  }

  Outcome Run();

  // Of Engine.
  Nanos Work(uint32_t job, uint32_t station);
  void Done(uint32_t job, uint32_t station);

 private:
  enum class Phase : uint8_t { kAtClient, kHello, kCreate, kJoin, kJoined, kClose, kLease, kLeased };
  struct Job {
    Phase phase = Phase::kAtClient;
    uint32_t shard = 0;
    uint64_t directory = 0;  // of a join
  };
  struct Client {
    InodeId directory;
    uint32_t member = 0;
    uint64_t named = 0, ended = 0;
  };

  void MakeDirectories();
  bool IsClient(uint32_t station) const { return station >= shards_; }
  uint32_t ClientOf(uint32_t job) const { return job / o_.window; }
  uint32_t MemberOf(uint32_t shard) const { return layout_.MemberOf(ShardId(shard)).value; }
  Nanos Hop(uint32_t member, uint32_t shard) const {
    return MemberOf(shard) == member ? o_.costs.hop_here : o_.costs.hop;
  }
  uint64_t DirectoryOf(uint32_t client) const { return o_.shared_directory ? 0 : client; }
  // Nothing queues at a client with one create in flight and a core of its own.
  bool client_is_delay() const { return o_.window == 1 && o_.cores == 0; }
  Nanos CreateTime();
  void NextFile(uint32_t job, Nanos after);
  void Created(uint32_t job);
  void JoinedBy(uint32_t job);
  void Measure();

  const Options o_;
  const Layout layout_;
  const Placement placement_;
  const uint32_t shards_, clients_, jobs_, close_jobs_;
  Chance chance_;
  std::vector<Client> client_list_;
  std::vector<Job> job_list_;  // creates, then a lease a shard, then closes
  std::vector<uint32_t> free_closes_;
  std::vector<uint64_t> creates_of_;
  std::optional<Bits> connected_, joined_;                                  // by client, by directory; cold
  std::map<std::pair<uint64_t, uint32_t>, std::vector<uint32_t>> joining_;  // {directory, shard}: who waits
  Nanos create_ = 0;                                                        // mean, with so many clients
  double lone_close_odds_ = 0;
  std::string name_;
  Outcome out_;
  Nanos half_at_ = 0;
  uint64_t measured_from_ = 0;  // creates that had ended by then
  Nanos began_ = 0;
  Engine<Cluster> engine_;
};

// As mdtest does: a directory below the root's, in it one for each client, or the files.
void Cluster::MakeDirectories() {
  const InodeId root = placement_.RootInode();
  const InodeId top = InodeId::Make(placement_.DentryShard(root, "mdtest"), 2);
  for (uint32_t c = 0; c < clients_; ++c) {
    Client& client = client_list_[c];
    client.member = c % o_.members;
    const std::string name = std::to_string(c);
    client.directory = o_.shared_directory ? top : InodeId::Make(placement_.DentryShard(top, name), 3 + c);
  }
}

Nanos Cluster::CreateTime() {
  const double mean = static_cast<double>(create_);
  if (o_.costs.exponential) return static_cast<Nanos>(chance_.Exponential(mean));
  if (o_.costs.create_spread.empty()) return create_;
  const int64_t more = o_.costs.create_spread[chance_.Below(o_.costs.create_spread.size())];
  return static_cast<Nanos>(std::max<int64_t>(0, static_cast<int64_t>(create_) + more));
}

Nanos Cluster::Work(uint32_t job, uint32_t) {
  switch (job_list_[job].phase) {
    case Phase::kAtClient:
      return o_.costs.client;
    case Phase::kHello:
      return o_.costs.hello;
    case Phase::kCreate:
      return CreateTime();
    case Phase::kJoin:
    case Phase::kJoined:
    case Phase::kClose:
    case Phase::kLease:
    case Phase::kLeased:
      return o_.costs.message;
  }
  return 0;
}

// The client is done with its last file, or with its work for this one; the request leaves after `after`.
void Cluster::NextFile(uint32_t job, Nanos after) {
  const uint32_t c = ClientOf(job);
  Client& client = client_list_[c];
  if (o_.cold && client.named == o_.creates) return;
  name_ = "file.";
  if (o_.shared_directory) name_.append(std::to_string(c)).push_back('.');
  name_ += std::to_string(client.named++);
  ++out_.begun;
  Job& j = job_list_[job];
  j.shard = placement_.DentryShard(client.directory, name_).value;
  j.phase = Phase::kCreate;
  if (connected_ && connected_->Set(c, j.shard)) {
    j.phase = Phase::kHello;
    ++out_.hellos;
  }
  engine_.Send(job, j.shard, after + Hop(client.member, j.shard));
}

void Cluster::Done(uint32_t job, uint32_t station) {
  Job& j = job_list_[job];
  switch (j.phase) {
    case Phase::kAtClient:
      NextFile(job, 0);
      return;
    case Phase::kHello:  // the welcome, and the request behind it
      j.phase = Phase::kCreate;
      engine_.Send(job, station, 2 * Hop(client_list_[ClientOf(job)].member, station));
      return;
    case Phase::kCreate: {
      const uint64_t directory = DirectoryOf(ClientOf(job));
      if (!joined_ || joined_->Has(directory, station)) {
        Created(job);
        return;
      }
      const auto [waiting, first] = joining_.try_emplace({directory, station});
      waiting->second.push_back(job);
      if (!first) return;
      const uint32_t home = client_list_[ClientOf(job)].directory.home().value;
      j.directory = directory;
      if (home == station) {
        JoinedBy(job);
        return;
      }
      ++out_.joins;
      j.phase = Phase::kJoin;
      engine_.Send(job, home, Hop(MemberOf(station), home));
      return;
    }
    case Phase::kJoin:
      j.phase = Phase::kJoined;
      engine_.Send(job, j.shard, Hop(MemberOf(station), j.shard));
      return;
    case Phase::kJoined:
      JoinedBy(job);
      return;
    case Phase::kClose:
      free_closes_.push_back(job);
      return;
    case Phase::kLease: {
      const uint32_t shard = job - jobs_;
      j.phase = Phase::kLeased;
      engine_.Send(job, shard, Hop(MemberOf(shard), station));
      return;
    }
    case Phase::kLeased:
      ++out_.leases;
      j.phase = Phase::kLease;
      engine_.Send(job, placement_.RootShard().value, o_.lease_renewal);
      return;
  }
}

void Cluster::JoinedBy(uint32_t job) {
  const Job& j = job_list_[job];
  joined_->Set(j.directory, j.shard);
  const auto waited = joining_.extract({j.directory, j.shard});
  for (const uint32_t waiter : waited.mapped()) Created(waiter);
}

void Cluster::Created(uint32_t job) {
  Job& j = job_list_[job];
  const uint32_t c = ClientOf(job);
  const Nanos hop = Hop(client_list_[c].member, j.shard);
  ++out_.ended;
  ++creates_of_[j.shard];
  ++client_list_[c].ended;
  // The client's earlier closes that come alone, as others of the same shard do not come fast enough.
  if (lone_close_odds_ > 0 && !o_.cold && chance_.Unit() < lone_close_odds_) {
    MAYFLY_CHECK(!free_closes_.empty());
    const uint32_t close = free_closes_.back();
    free_closes_.pop_back();
    job_list_[close].phase = Phase::kClose;
    engine_.Send(close, j.shard, 0);
    ++out_.lone_closes;
  }
  j.phase = Phase::kAtClient;
  if (client_is_delay()) {
    NextFile(job, hop + o_.costs.client);
  } else {
    engine_.Send(job, shards_ + c, hop);
  }
}

void Cluster::Measure() {
  const Nanos now = engine_.now();
  out_.creates = out_.ended - measured_from_;
  out_.seconds = static_cast<double>(now - began_) / 1e9;
  out_.rate = static_cast<double>(out_.creates) / out_.seconds;
  Nanos sum = 0, most = 0;
  for (uint32_t s = 0; s < shards_; ++s) {
    sum += engine_.busy(s);
    most = std::max(most, engine_.busy(s));
  }
  const double whole = static_cast<double>(now - began_);
  out_.busy_mean = static_cast<double>(sum) / shards_ / whole;
  out_.busy_most = static_cast<double>(most) / whole;
  out_.busy_root = static_cast<double>(engine_.busy(placement_.RootShard().value)) / whole;
  std::vector<uint32_t> slots(shards_);
  for (const uint32_t shard : placement_.tables().slots) ++slots[shard];
  out_.share_most = static_cast<double>(*std::max_element(slots.begin(), slots.end())) * shards_ /
                    static_cast<double>(placement_.slot_count());
}

Outcome Cluster::Run() {
  const Nanos cycle = create_ + o_.costs.client + 2 * o_.costs.hop;
  for (uint32_t j = 0; j < jobs_; ++j) {
    // Cold: all come from a barrier.
    const Nanos at = o_.cold ? 0 : chance_.Below(cycle);
    client_is_delay() ? NextFile(j, at + o_.costs.client) : engine_.Send(j, shards_ + ClientOf(j), at);
  }
  for (uint32_t s = 0; s < shards_ && o_.lease_renewal != 0; ++s) {
    if (ShardId(s) == placement_.RootShard()) continue;
    job_list_[jobs_ + s].phase = Phase::kLease;
    engine_.Send(jobs_ + s, placement_.RootShard().value, chance_.Below(o_.lease_renewal));
  }
  if (o_.cold) {
    const uint64_t all = o_.creates * clients_;
    while (out_.ended < all && engine_.Step()) {
    }
    MAYFLY_CHECK(out_.ended == all && out_.begun == all);  // C1
    for (const Client& client : client_list_) MAYFLY_CHECK(client.ended == o_.creates);
    Measure();
    return out_;
  }
  const auto until = [&](uint64_t creates) {
    while (out_.ended < creates && engine_.Step()) {
    }
  };
  measured_from_ = o_.warm_up * shards_;
  until(measured_from_);
  engine_.ForgetBusy();
  began_ = engine_.now();
  const uint64_t half = o_.creates * shards_ / 2;
  until(measured_from_ + half);
  half_at_ = engine_.now();
  until(measured_from_ + 2 * half);
  Measure();
  out_.first_half = static_cast<double>(half) / static_cast<double>(half_at_ - began_) * 1e9;
  out_.second_half = static_cast<double>(half) / static_cast<double>(engine_.now() - half_at_) * 1e9;
  return out_;
}

}  // namespace

Result<Outcome> Simulate(const Options& o) {
  if (o.members == 0 || o.members > Layout::kMembersMax || o.shards == 0 || o.window == 0 || o.creates == 0 ||
      (o.clients == 0 && o.clients_total == 0) || o.closes_a_message < 1 || o.costs.create == 0)
    return Code::kInvalid;
  auto layout = EqualMembers(o);
  if (!layout.ok()) return layout.code();
  auto placement = Placement::Build(*layout);
  if (!placement.ok()) return placement.code();
  return Cluster(o, std::move(*layout), std::move(*placement)).Run();
}

Nanos GrowthAt(const Costs& costs, uint32_t clients) {
  const auto& growth = costs.growth;
  if (growth.empty() || clients <= growth.front().first) return 0;
  const auto above = std::find_if(growth.begin(), growth.end(), [&](const auto& at) { return at.first >= clients; });
  if (above == growth.end()) return growth.back().second;
  const auto below = above - 1;
  const double part = std::log(static_cast<double>(clients) / below->first) /
                      std::log(static_cast<double>(above->first) / below->first);
  const auto from = static_cast<double>(below->second), to = static_cast<double>(above->second);
  return static_cast<Nanos>(from + part * (to - from));
}

double ClosesAMessage(uint32_t shards, double rate, uint64_t seed) {
  constexpr Nanos kLooksEvery = CloseQueue::kAgeMax / 2;       // client/helper.cc
  constexpr Nanos kBegins = 2 * kSecond, kEnds = 6 * kSecond;  // the first batches are younger than later ones
  CloseQueue queue;
  Chance chance(seed);
  const double every = 1e9 / rate;
  uint64_t closes = 0, messages = 0;
  Nanos look = kLooksEvery;
  const auto count = [&](const CloseQueue::Batch& batch, Nanos now) {
    if (batch.empty() || now < kBegins) return;
    closes += batch.size();
    ++messages;
  };
  for (double at = every; at < kEnds; at += every) {
    const auto now = static_cast<Nanos>(at);
    for (; look <= now; look += kLooksEvery) {
      if (look <= CloseQueue::kAgeMax) continue;
      for (const auto& batch : queue.TakeOlder(look - CloseQueue::kAgeMax)) count(batch, look);
    }
    count(queue.Add(InodeId::Make(ShardId(static_cast<uint32_t>(chance.Below(shards))), 1), now), now);
  }
  return messages == 0 ? 1 : static_cast<double>(closes) / static_cast<double>(messages);
}

}  // namespace mayfly::scale
