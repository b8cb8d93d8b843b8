#include "inspect/salvage_run.h"

#include <fmt/format.h>

#include "adapt/posix/clock.h"
#include "adapt/posix/pfs_tree.h"
#include "inspect/storage_sources.h"

namespace mayfly {
namespace {

Outcome<std::shared_ptr<PfsRoot>> OpenTarget(const std::string& path, bool* made) {
  PosixPfsTree tree;
  std::shared_ptr<PfsRoot> root;
  PfsStatus status = tree.Open(path, true, &root, made);
  bool empty = true;
  if (status.ok()) status = root->List("", [&empty](std::string_view) { empty = false; });
  if (!status.ok()) return Fail(status.code, "{}", status.why);
  if (empty) return root;
  return Fail(Code::kNotEmpty, "{} is not empty: name a directory that is, or is not there yet", path);
}

// Of all shards that are there. What of it stays undone becomes a problem of the storage.
WrittenDown DoAllWrittenDown(const std::vector<SalvageShard>& shards, Storage* storage) {
  PosixClock clock;
  const OutboxTimes times{.now = clock.Now(), .wall = clock.Wall()};
  WrittenDown all;
  for (size_t i = 0; i < shards.size(); ++i) {
    // One that was closed in order had been told of all.
    if (shards[i].tables == nullptr || storage->shards[i]->tail == TailMemory::kNotNeeded) continue;
    const StoredShard& shard = *storage->shards[i];
    const WrittenDown here = DoWrittenDown(shards[i], storage->placement ? &*storage->placement : nullptr, times);
    all.done += here.done;
    all.left_out += here.left_out;
    all.unread += here.unread;
    const std::string name = NameOf(shard.member, shard.place.shard);
    if (here.left_out != 0) {
      storage->problems.push_back(
          fmt::format("{}: {} of the changes that processes of its node had written down for it just before it ended "
                      "contradict the rest and are left out",
                      name, here.left_out));
    }
    if (here.unread == 0) continue;
    storage->problems.push_back(fmt::format(
        "{}: the outboxes of {} of its node, in which they write down files that they make and remove, are in memory "
        "that is not there: what they did last may be missing{}",
        name, here.unread == 1 ? "a process" : fmt::format("{} processes", here.unread),
        shard.tail == TailMemory::kElsewhere ? "; salvage on the host that served it, if that still runs" : ""));
  }
  return all;
}

}  // namespace

Outcome<Salvaged> SalvageTo(const SalvageRequest& request, SalvageSink* sink) {
  Outcome<Storage> storage = OpenStorage(request.directories, {.user = request.user, .may_guess = true});
  if (!storage.ok()) return storage.failure();
  SalvageInput input;
  Outcome<std::shared_ptr<PfsRoot>> target = OpenTarget(request.target, &input.target_made);
  if (!target.ok()) return target.failure();
  const StorageSources sources(&*storage);
  Salvaged salvaged;
  salvaged.session = storage->session;
  salvaged.in_doubt = sources.settled();
  salvaged.written_down = DoAllWrittenDown(sources.shards(), &*storage);
  input.shards = sources.shards();
  input.layout = &storage->layout;
  input.placement = storage->placement ? &*storage->placement : nullptr;
  input.root = storage->root;
  input.target = target->get();
  input.number = PosixClock().Wall();
  const Outcome<SalvageCounts> counts = Salvage(input, sink);
  if (!counts.ok()) return counts.failure();
  if (const Outcome<Done> unchanged = Unchanged(*storage); !unchanged.ok()) return unchanged.failure();
  salvaged.counts = *counts;
  salvaged.problems = std::move(storage->absent);
  for (std::string& problem : storage->problems) salvaged.problems.push_back(std::move(problem));
  salvaged.notes = std::move(storage->notes);
  return salvaged;
}

}  // namespace mayfly
