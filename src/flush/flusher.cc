#include "flush/flusher.h"

#include "flush/coordinator.h"
#include "flush/worker.h"

namespace mayfly {

struct Flusher::Impl {
  explicit Impl(FlushContext c) : context(std::move(c)), worker(&context), coordinator(&context, &worker) {}
  FlushContext context;
  flush_internal::Worker worker;
  flush_internal::Coordinator coordinator;
};

Flusher::Flusher(FlushContext context) : impl_(std::make_unique<Impl>(std::move(context))) {}
Flusher::~Flusher() = default;

Result<uint64_t> Flusher::Start(FlushSpec spec, uint64_t job) { return impl_->coordinator.Start(std::move(spec), job); }
Result<FlushStatusReply> Flusher::StatusOf(uint64_t job) const { return impl_->coordinator.StatusOf(job); }
Status Flusher::Cancel(uint64_t job) { return impl_->coordinator.Cancel(job); }
Result<std::string> Flusher::ReportOf(uint64_t job) const { return impl_->coordinator.ReportOf(job); }
Task<Status> Flusher::Wait(uint64_t job, Nanos deadline) { return impl_->coordinator.Wait(job, deadline); }
bool Flusher::busy() const { return impl_->coordinator.busy(); }

uint64_t Flusher::bytes_written() const { return impl_->worker.bytes_written(); }

Task<Status> Flusher::ServeDir(FlushDirRequest request, std::string payload, FlushWorkReply* reply, std::string* out) {
  return impl_->worker.ServeDir(request, std::move(payload), reply, out);
}
Task<Status> Flusher::ServeFile(FlushFileRequest request, std::string payload, FlushWorkReply* reply,
                                std::string* out) {
  return impl_->worker.ServeFile(request, std::move(payload), reply, out);
}
Task<Status> Flusher::ServeChunks(FlushFileRequest request, std::string payload, FlushWorkReply* reply,
                                  std::string* out) {
  return impl_->worker.ServeChunks(request, std::move(payload), reply, out);
}

Task<Status> Flusher::Shutdown(Nanos deadline) {
  constexpr Nanos kLookEvery = 20 * kMillisecond;
  impl_->coordinator.Close();
  impl_->worker.Close();
  while (impl_->worker.running() != 0) {
    if (impl_->context.executor.now() >= deadline) co_return Code::kTimedOut;
    co_await impl_->context.executor.Sleep(kLookEvery);
  }
  co_return Code::kOk;
}

}  // namespace mayfly
