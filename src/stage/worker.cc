#include "stage/worker.h"

#include <algorithm>
#include <chrono>
#include <system_error>

#include "wire/payload.h"

namespace mayfly::stage {
namespace {

using SteadyClock = std::chrono::steady_clock;
constexpr auto kReportEvery = std::chrono::milliseconds(250);
// A report is sent when what it found takes so much. One more piece (of 20 KiB at most) and its sentences fit as well.
constexpr size_t kReportBytes = 28 * 1024;
constexpr size_t kFailuresAtOnce = 4, kSentenceBytes = 1500;
static_assert(kReportBytes + 21 * 1024 + 2 * kFailuresAtOnce * kSentenceBytes < kPageBytesMax);

size_t BytesOf(const StageItem& item) {
  size_t bytes = 64 + item.path.size();
  for (const std::string& name : item.names) bytes += 4 + name.size();
  return bytes;
}

}  // namespace

// ---- the way to the root's shard
// --------------------------------------------------------------------------------------

class Worker::ThreadOutbox final : public Outbox {
 public:
  explicit ThreadOutbox(Worker* worker) : worker_(*worker), sent_(SteadyClock::now()) {}

  bool Find(StageItem item) override {
    if (full_ && item.kind == StageKind::kEntries && !item.command_only) return false;
    bytes_ += BytesOf(item);
    report_.found.push_back(std::move(item));
    if (bytes_ >= kReportBytes) (void)Send();
    return true;
  }
  bool Breathe() override {
    const bool due = report_.failures.size() >= kFailuresAtOnce || SteadyClock::now() - sent_ >= kReportEvery;
    if (due) (void)Send();
    return !worker_.over_ && !worker_.options_.stop->load();
  }
  // With everything that has gathered. False: the worker ends.
  bool Exchange(StageWorkRequest request, StageWorkReply* reply, StageItem* item) {
    request.job = worker_.options_.job;
    request.worker = worker_.options_.number;
    if (report_.failures.size() > 2 * kFailuresAtOnce) report_.failures.resize(2 * kFailuresAtOnce);
    for (std::string& sentence : report_.failures) {
      if (sentence.size() > kSentenceBytes) sentence.resize(kSentenceBytes);
    }
    const std::string payload = EncodedPayload(report_, kPageBytesMax);
    MAYFLY_CHECK(!payload.empty());
    report_ = StageReport();
    bytes_ = 0;
    if (mayfly_stage_work(worker_.fs_, request, payload, reply, item) != 0) {
      worker_.over_ = true;
      std::lock_guard lock(worker_.mutex_);
      if (worker_.failure_.empty()) worker_.failure_ = mayfly_error();
      return false;
    }
    sent_ = SteadyClock::now();
    full_ = reply->full;
    if (reply->over) worker_.over_ = true;
    return !reply->over;
  }

 private:
  bool Send() {
    StageWorkReply reply;
    return Exchange(StageWorkRequest(), &reply, nullptr);
  }

  Worker& worker_;
  SteadyClock::time_point sent_;
  size_t bytes_ = 0;
  bool full_ = false;
};

// ---- threads
// ----------------------------------------------------------------------------------------------------------

Worker::Worker(mayfly_fs* fs, Options options) : fs_(fs), options_(std::move(options)), source_(options_.spec.source) {}

bool Worker::SeesTheSource() {
  if (source_.Open() != 0) return false;
  struct stat st;
  return source_.Stat("", &st) && FactsOf(st) == options_.spec.facts;
}

int Worker::Run() {
  const bool sees = SeesTheSource();
  if (!sees && options_.number != 0) {
    StageWorkRequest request;
    request.declines = true;
    StageWorkReply reply;
    ThreadOutbox(this).Exchange(request, &reply, nullptr);
  } else {
    Work();
  }
  for (;;) {
    std::vector<std::thread> threads;
    {
      std::lock_guard lock(mutex_);
      threads.swap(threads_);
    }
    if (threads.empty()) break;
    for (std::thread& thread : threads) thread.join();
  }
  if (failure_.empty()) return 0;
  // An answer that never came may have brought a piece: nobody is to wait for it.
  StageWorkRequest request;
  request.declines = true;
  StageWorkReply reply;
  ThreadOutbox(this).Exchange(request, &reply, nullptr);
  return -1;
}

void Worker::AddThread() {
  std::lock_guard lock(mutex_);
  if (threads_.size() + 1 >= options_.spec.threads) return;
  try {
    threads_.emplace_back([this] { Work(); });
  } catch (const std::system_error&) {
    // The system has no more threads for us: those that there are go on.
  }
}

void Worker::Work() {
  ThreadOutbox outbox(this);
  Copier copier(fs_, options_.spec, source_, options_.number == 0 ? &links_ : nullptr, &outbox);
  StageWorkRequest request;
  for (;;) {
    const bool stop = options_.stop->load();
    request.take = !stop && !over_;
    StageWorkReply reply;
    StageItem item;
    if (!outbox.Exchange(request, &reply, &item) || !request.take) return;
    request = StageWorkRequest();
    if (reply.item == 0) continue;
    if (reply.waiting != 0) AddThread();
    request.item = reply.item;
    request.end = copier.Do(item);
  }
}

}  // namespace mayfly::stage
