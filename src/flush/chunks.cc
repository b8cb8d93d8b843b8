// Copier: the data of a file that is on this shard, in rounds: write some slices, bring them to storage, read them
// back.
#include <fmt/format.h>

#include "flush/copier.h"
#include "flush/offloaded.h"
#include "flush/outcome.h"

namespace mayfly::flush_internal {
namespace {

constexpr uint32_t kSlicesInFlight = 3;  // of one file at one shard
constexpr uint32_t kSlicesARound = 64;
constexpr uint32_t kPiecesAtOnce = 4;
constexpr size_t kPiecesMax = 512;  // of a slice

}  // namespace

struct Copier::Writing {
  Writing(Executor& executor, std::shared_ptr<PfsFile> f, FlushWork* w, Written* out)
      : file(std::move(f)), work(w), written(out), window(executor, kSlicesInFlight), gate(executor) {}
  std::shared_ptr<PfsFile> file;
  FlushWork* work;
  Written* written;
  Semaphore window;
  Gate gate;
  std::vector<std::shared_ptr<ReadBackParts>> round;  // to be read back

  void Fail(PfsStatus status) {
    if (written->status.ok()) written->status = std::move(status);
  }
};

Task<Result<uint64_t>> Copier::Gather(InodeId id, uint64_t from, Slice* slice) {
  while (from != ChunkStore::kDone && slice->bytes < Flusher::kSliceBytes && slice->pieces.size() < kPiecesMax) {
    const size_t first = slice->pieces.size();
    from = context_.store.LiveData(id, from, kPiecesAtOnce, &slice->pieces);
    for (size_t i = first; i < slice->pieces.size(); ++i) slice->bytes += slice->pieces[i].bytes;
  }
  if (context_.fetch) MAYFLY_CO_TRY(co_await context_.fetch(&slice->pieces));
  for (const ReadPiece& piece : slice->pieces) {
    Stretch stretch;
    stretch.offset = piece.file_offset;
    stretch.data = piece.data;
    if (context_.checksums) MAYFLY_CO_TRY(context_.store.PieceSums(piece, &stretch.sums));
    slice->stretches.push_back(std::move(stretch));
  }
  co_return from;
}

Task<Status> Copier::WriteSlice(Writing* w, std::unique_ptr<Slice> slice) {
  auto parts = std::make_shared<ReadBackParts>();
  w->round.push_back(parts);
  auto stretches = std::make_shared<std::vector<Stretch>>(std::move(slice->stretches));
  std::function<PfsStatus()> work = [file = w->file, stretches, parts] {
    return WriteStretches(*file, *stretches, parts.get());
  };
  PfsStatus status = co_await Offloaded<PfsStatus>(context_.executor, context_.offload, std::move(work));
  if (status.ok()) {
    bytes_written_ += slice->bytes;
    w->written->bytes += slice->bytes;
    w->work->outcome.progress_bytes += slice->bytes;
  } else {
    w->Fail(std::move(status));
  }
  slice.reset();  // C3
  w->window.Release();
  co_return Code::kOk;
}

Task<Status> Copier::CheckSlice(Writing* w, std::shared_ptr<ReadBackParts> parts) {
  std::function<PfsStatus()> work = [file = w->file, parts] { return ReadBack(*file, *parts); };
  PfsStatus status = co_await Offloaded<PfsStatus>(context_.executor, context_.offload, std::move(work));
  if (!status.ok()) w->Fail(std::move(status));
  w->window.Release();
  co_return Code::kOk;
}

Task<Status> Copier::WriteHere(InodeId id, std::shared_ptr<PfsFile> file, FlushWork* work, Written* written) {
  Writing w(context_.executor, std::move(file), work, written);
  uint64_t from = 0;
  while (from != ChunkStore::kDone && written->status.ok() && !written->stopped) {
    while (from != ChunkStore::kDone && w.round.size() < kSlicesARound && written->status.ok()) {
      co_await w.window.Acquire();
      written->stopped = work->job->Stopped(context_.executor.now());
      auto slice = std::make_unique<Slice>();
      Result<uint64_t> next = from;
      if (!written->stopped) next = co_await Gather(id, from, slice.get());
      if (!next.ok()) {
        PfsStatus lost;
        lost.code = next.code();
        lost.why = WhyLost(next.code(), from);
        w.Fail(std::move(lost));
      } else {
        from = *next;
      }
      if (written->stopped || !next.ok() || slice->stretches.empty()) {
        slice.reset();
        w.window.Release();
        if (written->stopped || !next.ok()) break;
      } else {
        w.gate.Spawn(WriteSlice(&w, std::move(slice)), "writing a part of a file");
      }
    }
    co_await w.gate.Drain();
    if (!written->status.ok() || written->stopped || w.round.empty()) continue;
    std::function<PfsStatus()> sync = [f = w.file] {
      PfsStatus status = f->Sync();
      if (status.ok()) f->DropCache(0, 0);
      return status;
    };
    PfsStatus synced = co_await Offloaded<PfsStatus>(context_.executor, context_.offload, std::move(sync));
    if (!synced.ok()) w.Fail(std::move(synced));
    std::vector<std::shared_ptr<ReadBackParts>> round = std::move(w.round);
    w.round.clear();
    for (auto& parts : round) {
      if (!written->status.ok()) break;
      co_await w.window.Acquire();
      w.gate.Spawn(CheckSlice(&w, std::move(parts)), "reading back a part of a file");
    }
    co_await w.gate.Drain();
  }
  co_return Code::kOk;
}

Task<Status> Copier::WriteChunks(InodeId id, std::string path, std::shared_ptr<FlushWork> work) {
  if (context_.store.Figures(id).slices == 0) co_return Code::kOk;
  struct Opened {
    PfsStatus status;
    std::shared_ptr<PfsFile> file;
  };
  std::function<Opened()> open = [root = work->job->root, path] {
    Opened opened;
    std::unique_ptr<PfsFile> file;
    opened.status = root->OpenFile(path, &file);
    opened.file = std::move(file);
    return opened;
  };
  Opened opened = co_await Offloaded<Opened>(context_.executor, context_.offload, std::move(open));
  Written written;
  written.status = opened.status;
  if (opened.status.ok()) {
    Status ignored = co_await WriteHere(id, opened.file, work.get(), &written);
    (void)ignored;
    std::function<bool()> close = [file = std::move(opened.file)]() mutable {
      file.reset();
      return true;
    };
    (void)co_await Offloaded<bool>(context_.executor, context_.offload, std::move(close));
  }
  work->outcome.bytes += written.bytes;
  if (written.stopped) ++work->outcome.missing;
  if (!written.status.ok()) AddFailure(&work->outcome, written.status.code, written.status.why);
  co_return Code::kOk;
}

}  // namespace mayfly::flush_internal
