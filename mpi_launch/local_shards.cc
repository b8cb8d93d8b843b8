#include "local_shards.h"

#include <unistd.h>

#include <algorithm>

#include "adapt/posix/random.h"
#include "base/log.h"
#include "stop_report.h"
#include "storage.h"

namespace mayfly {
namespace {

constexpr uint32_t kTurnsALook = 8;
constexpr Nanos kSpin = 20 * kMicrosecond, kSpinOversubscribed = 100 * kMicrosecond;  // (source: MEASURED.md)
constexpr Nanos kPingAgainAfter = 200 * kMillisecond;
constexpr Nanos kAskWithin = 10 * kSecond;
constexpr int kAskAttempts = 3;
constexpr Nanos kAskAgainAfter = 500 * kMillisecond;
constexpr Nanos kAwayMax = 60 * kSecond;  // where servers come back, of the root's
// When one of our shards has left and others hear nothing, the message to them is lost.
constexpr auto kOthersLeaveWithin = std::chrono::seconds(5);
constexpr Nanos kWorkersEndWithin = 8 * kSecond;

// One shard's part of the barrier. `missing` is the shard that did not answer.
Task<Status> MeetAsShard(Shard* shard, uint32_t self, uint32_t count, Nanos deadline, ShardId* missing) {
  for (uint32_t distance = 1; distance < count; distance *= 2) {
    const ShardId to((self + distance) % count);
    *missing = to;
    for (;;) {
      const Status status = co_await shard->Ping(to, deadline);
      if (status.ok()) break;
      // Others may be slow to start: whoever is not there yet is asked again.
      if (status.code() == Code::kDenied || status.code() == Code::kShutdown ||
          shard->executor().now() + kPingAgainAfter >= deadline)
        co_return status;
      co_await shard->executor().Sleep(kPingAgainAfter);
    }
  }
  co_return Code::kOk;
}

// Asks the root as `mayfly stop` does, and follows the end until the root says how it went: then *told is true, the
// status is the root's verdict and *report says more. *away_since becomes kNever with each answer.
Task<Status> AskForStop(SideLane* lane, ShardId root, bool flush, Nanos* away_since, bool* told, std::string* report) {
  *told = false;
  FlushSpec spec;
  std::string payload(spec.source.size() + spec.target.size() + spec.pattern.size() + 64, '\0');
  Encoder encoder(MutableBytes(reinterpret_cast<uint8_t*>(payload.data()), payload.size()));
  encoder.Put(spec);
  MAYFLY_CHECK(encoder.ok());
  payload.resize(encoder.size());
  FlushRequest request;
  request.stop = true;
  request.flush = flush;
  FlushReply job;
  CallOptions options;
  options.payload = AsBytes(payload);
  options.deadline = lane->executor().now() + kAskWithin;
  MAYFLY_CO_TRY(co_await lane->caller().Call<Method::kFlush>(root, request, &job, options));
  std::string buffer(kTransferBytesMax, '\0');
  for (;;) {
    co_await lane->executor().Sleep(kAskAgainAfter);
    FlushStatusRequest ask;
    ask.job = job.job;
    FlushStatusReply status;
    CallOptions follow;
    follow.deadline = lane->executor().now() + kAskWithin;
    follow.reply_payload = MutableBytes(reinterpret_cast<uint8_t*>(buffer.data()), buffer.size());
    size_t bytes = 0;
    follow.reply_bytes = &bytes;
    MAYFLY_CO_TRY(co_await lane->caller().Call<Method::kFlushStatus>(root, ask, &status, follow));
    *away_since = kNever;
    if (!status.done) continue;
    *told = true;
    *report = buffer.substr(0, bytes);
    co_return status.result;
  }
}

// In the place of a shard of which there is nothing.
ShardOptions StandInFor(ShardOptions shard) {
  constexpr uint64_t kMemoryBytes = uint64_t{16} << 20;
  shard.role = ShardRole::kStandIn;
  shard.durability = Durability::kNone;
  shard.memory_bytes = kMemoryBytes;
  shard.disk_bytes = shard.prefault_ahead_bytes = 0;
  return shard;
}

}  // namespace

ShardOptions OptionsOfThisProcess(const std::string& host) {
  PosixRandom random;
  ShardOptions shard;
  shard.process = ClientId(random.U64() | 1);
  shard.pid = static_cast<uint32_t>(getpid());
  shard.host = host;
  shard.uid = geteuid();
  shard.gid = getegid();
  return shard;
}

void KeepJournal(ShardOptions* shard, Durability durability, Fsync fsync, const JournalPlan& plan) {
  shard->durability = durability;
  shard->fsync = fsync;
  shard->journal.ring_bytes = plan.bytes;
  shard->journal.window_bytes = WindowBytes(plan.bytes);
  shard->journal.commit_interval = plan.commit_interval;
  if (plan.in_memory) shard->memory_bytes -= shard->journal.ring_bytes + shard->journal.window_bytes;
}

Outcome<std::unique_ptr<LocalShards>> LocalShards::Create(const ServerOptions& options, uint32_t stand_ins) {
  std::unique_ptr<LocalShards> member(new LocalShards);
  member->ucx_ = options.ucx;
  UcxOptions ucx = options.ucx;
  ucx.for_life = true;
  for (uint32_t i = 0; i < options.shards + stand_ins; ++i) {
    std::string why;
    auto transport = UcxTransport::Create(ucx, &why);
    if (transport == nullptr) return Fail(Code::kUnavailable, "no network: {}", why);
    if (transport->address().size() > Hello::kAddressBytesMax) {
      return Fail(Code::kUnavailable,
                  "the network address of this process has {} bytes, {} fit into a handshake; name fewer transports or "
                  "devices in UCX_TLS or UCX_NET_DEVICES",
                  transport->address().size(), Hello::kAddressBytesMax);
    }
    member->transports_.push_back(std::move(transport));
  }
  return member;
}

LocalShards::~LocalShards() {
  Leave();
  if (!threads_.empty()) (void)Wait();
}

std::vector<Bytes> LocalShards::addresses() const {
  std::vector<Bytes> all;
  for (const auto& transport : transports_) all.push_back(transport->address());
  return all;
}

ShardId LocalShards::IdOf(size_t index) const {
  const size_t own = (transports_.empty() ? threads_.size() : transports_.size()) - setup_.stand_ins.size();
  return index < own ? ShardId(setup_.first.value + static_cast<uint32_t>(index)) : setup_.stand_ins[index - own];
}

std::optional<size_t> LocalShards::IndexOfRoot() const {
  const ShardId root = setup_.book->map().placement().RootShard();
  for (size_t i = 0; i < threads_.size(); ++i) {
    if (IdOf(i) == root) return i;
  }
  return std::nullopt;
}

Outcome<Done> LocalShards::OpenDiskOf(size_t index, ShardThread::Options* options) const {
  LocalDiskOptions disk;
  const MemberId member = setup_.book->map().layout().MemberOf(options->shard.self);
  disk.directory.path = ShardStorage(setup_.storage, member, options->shard.self);
  disk.directory.read_only = setup_.look_only;
  disk.at_once_in_memory = true;
  disk.warns = index == 0;
  disk.removed_here = &storage_goes_;
  LocalDiskOpened opened = OpenLocalDisk(std::move(disk));
  if (opened.disk == nullptr) return Fail(opened.failure.code, "{}", opened.failure.sentence);
  if (!opened.warning.empty() && index == 0) MAYFLY_WARN("{}", opened.warning);
  if (index == 0 && setup_.shard.durability == Durability::kNode && opened.disk->facts().in_memory) {
    MAYFLY_WARN("{} lies in memory: what is there survives no loss of power; give a --dir on a disk",
                opened.disk->facts().directory);
  }
  options->disk = std::move(opened.disk);
  options->kept_prefix = KeptPrefix(options->shard.self);
  options->adopt = setup_.recover;
  options->look_only = setup_.look_only;
  return Done{};
}

Outcome<Done> LocalShards::Start(Setup setup) {
  setup_ = std::move(setup);
  stage_host_ = std::make_unique<StageHost>(setup_.session);
  for (uint32_t i = 0; i < transports_.size(); ++i) {
    ShardThread::Options options;
    options.shard = setup_.shard;
    const bool stands_in = i >= transports_.size() - setup_.stand_ins.size();
    if (stands_in) options.shard = StandInFor(setup_.shard);
    options.shard.self = IdOf(i);
    if (setup_.keeper != nullptr) options.shard.view = setup_.keeper->newest();
    options.arena_directory = setup_.arena_directory;
    options.arena_prefix = ArenaPrefix(options.shard.self);
    options.shard.turns_a_look = kTurnsALook;
    if (!setup_.storage.empty() && !stands_in) {
      const Outcome<Done> opened = OpenDiskOf(i, &options);
      if (!opened.ok() && !setup_.look_only) return opened;
      if (!opened.ok()) {
        lacks_.refusals.push_back(opened.failure().sentence);
        options.shard = StandInFor(std::move(options.shard));
      }
    }
    options.look_only |= options.shard.role == ShardRole::kStandIn;
    options.spin = setup_.oversubscribed ? kSpinOversubscribed : kSpin;
    const auto count = [this](size_t* what) {
      return [this, what] {
        std::lock_guard lock(mutex_);
        ++*what;
        changed_.notify_all();
      };
    };
    threads_.push_back(std::make_unique<ShardThread>(std::move(transports_[i]), *setup_.book, std::move(options),
                                                     count(&leaving_), count(&ended_)));
    threads_.back()->Post([host = stage_host_.get(), keeper = setup_.keeper](Shard& shard) {
      if (keeper != nullptr) {
        shard.SetOnView(
            [keeper](View view, const std::vector<Shard::NewAddress>& moved) { return keeper->Learn(view, moved); });
      }
      shard.SetOnStage(
          [host](uint64_t job, uint32_t worker, StageSpec spec) { return host->Begin(job, worker, std::move(spec)); });
    });
  }
  transports_.clear();
  return Done{};
}

Outcome<Done> LocalShards::Open(bool recover) {
  std::vector<std::unique_ptr<RecoveryReport>> reports;
  std::vector<std::future<Status>> all;
  for (auto& thread : threads_) {
    reports.push_back(std::make_unique<RecoveryReport>());
    all.push_back(
        thread->Run([recover, report = reports.back().get()](Shard& shard) { return shard.Open(recover, report); }));
  }
  Outcome<Done> result = Done{};
  for (size_t i = 0; i < all.size(); ++i) {
    const Status status = all[i].get();
    const RecoveryReport& report = *reports[i];
    for (const std::string& damage : report.damage) {
      if (setup_.look_only) lacks_.damage.push_back(fmt::format("shard {}: {}", IdOf(i).value, damage));
      if (setup_.shard.role != ShardRole::kLook) MAYFLY_ERROR("shard {}: {}", IdOf(i).value, damage);
    }
    lacks_.in_doubt += report.in_doubt;
    if (setup_.look_only && !report.refusal.empty()) lacks_.refusals.push_back(report.refusal);
    if (setup_.look_only && status.ok() && !report.refusal.empty()) continue;
    if (report.found) {
      brought_back_.push_back(
          fmt::format("shard {}: {} records of {} brought back {} files and directories in {:.2f} s{}", IdOf(i).value,
                      report.records, SizeText(report.bytes), report.inodes, static_cast<double>(report.took) / 1e9,
                      report.clean ? " (it was closed in order)" : ""));
    }
    if (!status.ok() && result.ok()) {
      result = Fail(status.code(), "{}", report.refusal.empty() ? std::string(TextOf(status.code())) : report.refusal);
    }
  }
  return result;
}

void LocalShards::TakeOver() {
  for (auto& thread : threads_) thread->TakeOver();
}

Outcome<Done> LocalShards::MeetOthers(Nanos within) {
  const uint32_t count = setup_.book->shard_count();
  std::vector<ShardId> missing(threads_.size());
  std::vector<std::future<Status>> all;
  for (uint32_t i = 0; i < threads_.size(); ++i) {
    const uint32_t self = IdOf(i).value;
    all.push_back(threads_[i]->Run([self, count, within, out = &missing[i]](Shard& shard) {
      return MeetAsShard(&shard, self, count, shard.executor().now() + within, out);
    }));
  }
  Outcome<Done> met = Done{};
  for (uint32_t i = 0; i < all.size(); ++i) {
    const Status status = all[i].get();
    if (status.ok() || !met.ok()) continue;
    const char* remedy = status.code() == Code::kDenied
                             ? "another program has its address: start the session again"
                             : "see that the network that UCX chose connects the two nodes (UCX_NET_DEVICES, UCX_TLS, "
                               "--tls, a firewall), or leave that node out";
    const char* cause = status.code() == Code::kTimedOut      ? "it does not answer"
                        : status.code() == Code::kUnavailable ? "no connection can be made"
                        : status.code() == Code::kDenied      ? "it does not know this session"
                                                              : "it answers with an error";
    met =
        Fail(status.code(), "{} cannot be reached from here ({}); {}", setup_.book->NameOf(missing[i]), cause, remedy);
  }
  return met;
}

Outcome<Done> LocalShards::Announce(std::vector<Shard::NewAddress> moved, View view, Nanos within) {
  const Status status = threads_.front()
                            ->Run([moved = std::move(moved), view, within](Shard& shard) {
                              return shard.Announce(moved, view, shard.executor().now() + within);
                            })
                            .get();
  if (status.ok()) return Done{};
  const ShardId root = setup_.book->map().placement().RootShard();
  return Fail(status.code(), "{}, which numbers the views, cannot be told ({}); bring it back first, or try again",
              setup_.book->NameOf(root), TextOf(status.code()));
}

bool LocalShards::has_root() const { return IndexOfRoot().has_value(); }

void LocalShards::RequestStop(const ServerOptions& options) {
  std::lock_guard lock(mutex_);
  if (std::exchange(stop_requested_, true)) return;
  const bool flush = options.flush_at_end && !options.flush_to.empty();
  storage_goes_ = !flush;
  if (const auto root = IndexOfRoot()) {
    threads_[*root]->Post([=](Shard& shard) { shard.BeginStop(flush); });
    return;
  }
  asker_ = std::thread([this, flush] { AskRoot(flush); });
}

// The root's shard takes a repetition for the stop that runs already, so all ranks may ask.
void LocalShards::AskRoot(bool flush) {
  const ShardId root = setup_.book->map().placement().RootShard();
  auto lane = SideLane::Create(ucx_, *setup_.book, setup_.shard.secret, setup_.shard.host);
  if (!lane.ok()) {
    request_failure_ = lane.failure().sentence;
    root_lost_ = true;
    Leave();
    return;
  }
  SideLane* const side = lane->get();
  Status status;
  bool told = false;
  std::string report;
  Nanos away_since = kNever;
  for (int attempt = 0; !told && !asker_ends_; ++attempt) {
    const Nanos now = side->executor().clock().Now();
    away_since = std::min(away_since, now);
    const bool comes_back = setup_.shard.durability != Durability::kNone && now < away_since + kAwayMax;
    if (attempt >= kAskAttempts && !comes_back) break;
    status = side->Drive(AskForStop(side, root, flush, &away_since, &told, &report), &asker_ends_);
  }
  if (told && status.ok()) return;
  if (told) {
    const StopSentence said = SentenceOfStop(false, report);
    request_failure_ = said.sentence;
    request_missing_ = said.missing;
    // A session goes on after a flush that failed, for whoever stopped it to mend; but a signal's word is final.
    status = side->Drive(AskForStop(side, root, false, &away_since, &told, &report), &asker_ends_);
  }
  if (told || asker_ends_) return;
  request_failure_ = fmt::format(
      "{}, which coordinates the end of the session, cannot be reached ({}); what this "
      "server held was not flushed",
      setup_.book->NameOf(root), TextOf(status.code()));
  root_lost_ = true;
  Leave();
}

void LocalShards::Leave() {
  for (auto& thread : threads_) thread->Leave();
}

LocalShards::End LocalShards::Wait() {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return leaving_ > 0; });
    stage_host_->Stop();
    asker_ends_ = true;  // the end is here: whether by its asking or not does not matter
    if (!changed_.wait_for(lock, kOthersLeaveWithin, [this] { return leaving_ == threads_.size(); })) Leave();
    changed_.wait(lock, [this] { return ended_ == threads_.size(); });
  }
  std::thread asker;
  {
    std::lock_guard lock(mutex_);
    stop_requested_ = true;
    asker.swap(asker_);
  }
  if (asker.joinable()) asker.join();
  End end;
  if (!stage_host_->Join(kWorkersEndWithin)) {
    MAYFLY_WARN("a stage-in does not end (a file system that hangs?); leaving it behind");
    end.stuck = true;
    (void)stage_host_.release();
  }
  end.request_failure = request_failure_;
  end.missing = request_missing_;
  end.root_lost = root_lost_;
  for (auto& thread : threads_) {
    const ShardThread::End& shard = thread->end();
    end.stuck |= shard.stuck;
    end.kept |= shard.kept;
    if (!shard.root) continue;
    end.root = true;
    end.resumed_of_signal = shard.verdict.resumed_of_signal;
    if (!shard.verdict.ended) {  // by Leave, or something that must not be taken for success
      end.complete = false;
      end.sentence = "the servers left before the end of the session was done; not everything was flushed";
      continue;
    }
    StopSentence said = SentenceOfStop(shard.verdict.result == Code::kOk, shard.report);
    end.complete = said.complete;
    end.sentence = std::move(said.sentence);
    if (!said.missing.empty()) end.missing = std::move(said.missing);
  }
  if (end.stuck) {
    for (auto& thread : threads_) (void)thread.release();  // what is stuck uses it
  }
  threads_.clear();
  return end;
}

}  // namespace mayfly
