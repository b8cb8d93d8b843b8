#include "inspect/salvage_run.h"

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
