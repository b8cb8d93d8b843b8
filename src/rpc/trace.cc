#include "rpc/trace.h"

#include <algorithm>

namespace mayfly {

// ---- a shard's book -------------------------------------------------------------------------------------------------

Status TraceBook::Switch(uint64_t trace, Nanos how_long) {
  if (trace == 0) return Code::kInvalid;
  if (trace != trace_) {
    if (trace_ != 0 && !read_) return Code::kBusy;  // T2
    if (how_long == 0) return {};                   // it has ended already
    Forget();
    trace_ = trace;
  }
  on_ = how_long != 0;
  if (on_) read_ = false;
  Wait(on_ ? std::min(how_long, TraceRequest::kForMsMax * kMillisecond) : kKeptFor);
  return {};
}

void TraceBook::Wait(Nanos how_long) {
  executor_.Cancel(timer_);
  timer_ = executor_.At(
      executor_.now() + how_long, [](void* self) { static_cast<TraceBook*>(self)->Ended(); }, this);
}

// T1
void TraceBook::Ended() {
  timer_ = {};
  if (std::exchange(on_, false)) {
    Wait(kKeptFor);
  } else {
    Forget();
  }
}

void TraceBook::Forget() {
  executor_.Cancel(timer_);
  timer_ = {};
  on_ = read_ = false;
  trace_ = 0;
  histograms_.clear();
  histograms_.shrink_to_fit();
}

void TraceBook::Add(Method method, TraceStage stage, Nanos took) {
  if (!collects()) return;
  const auto row = static_cast<size_t>(method), column = static_cast<size_t>(stage);
  if (row >= histograms_.size()) histograms_.resize(row + 1);
  auto& histogram = histograms_[row][column];
  if (histogram == nullptr) histogram = std::make_unique<Histogram>();
  histogram->Add(took);
}

Result<std::vector<TraceLine>> TraceBook::Read(uint64_t trace) {
  if (trace == 0 || trace != trace_) return Code::kNoEntry;
  read_ = !on_;
  std::vector<TraceLine> lines;
  for (size_t row = 0; row < histograms_.size(); ++row) {
    for (size_t column = 0; column < kStages; ++column) {
      const Histogram* histogram = histograms_[row][column].get();
      if (histogram == nullptr) continue;
      TraceLine& line = lines.emplace_back();
      line.method = static_cast<Method>(row);
      line.stage = static_cast<TraceStage>(column);
      line.sum = histogram->sum();
      line.max = histogram->max();
      for (uint32_t i = 0; i < Histogram::kBuckets; ++i) {
        if (histogram->InBucket(i) == 0) continue;
        TraceBucket& bucket = line.buckets.emplace_back();
        bucket.bucket = static_cast<uint16_t>(i);
        bucket.count = histogram->InBucket(i);
      }
    }
  }
  return lines;
}

// ---- a client's notes -----------------------------------------------------------------------------------------------

void TraceNotes::Heard(bool on) {
  on_ = on;
  if (on && notes_ == nullptr) notes_ = std::make_unique<std::array<TraceNote, kNotesMax>>();
}

void TraceNotes::Add(Method method, TraceStage stage, Nanos took) {
  if (notes_ == nullptr || count_ == kNotesMax) return;
  if (count_ == 0) oldest_ = Now();
  (*notes_)[count_++] = TraceNote{method, stage, took};
}

Nanos TraceNotes::Begin(Method method) {
  if (began_ == 0) return Now();
  first_ = method;
  return std::exchange(began_, 0);
}

void TraceNotes::Leave() {
  if (entered_ != 0 && began_ == 0 && on_) Add(first_, TraceStage::kCall, Now() - entered_);
  entered_ = began_ = 0;
}

void TraceNotes::Copied(Method method, Nanos since) {
  if (since == 0) return;
  const Nanos took = Now() - since;
  Add(method, TraceStage::kCopy, took);
  if (began_ != 0) began_ += took;  // it is no part of what the request waited for
}

size_t TraceNotes::Take(MutableBytes to, Nanos now) {
  const size_t count = std::exchange(count_, 0);
  if (count == 0 || now > oldest_ + kTooOld) return 0;
  Encoder e(to);
  for (size_t i = 0; i < count; ++i) e.Put((*notes_)[i]);
  MAYFLY_CHECK(e.ok());
  return e.size();
}

}  // namespace mayfly
