// Parts of directories in which one process alone makes entries, so that it need not wait for each
// (client/own_parts.h). Such a part is in soles_, as a file is whose writes one process may hold back: whoever else
// wants to look into it waits until that process has yielded it, all that it made having come.
// Invariants  O1  while a process is alone in a part no transaction holds an entry there, and whoever comes from
//                 elsewhere waits in EndOwner before it looks. The process itself keeps its requests in order.
//             O2  a number that was lent is given to nobody else, whether it is used or not.
#include "server/shard.h"

namespace mayfly {
namespace {

constexpr Nanos kSharedFor = kSecond;
constexpr size_t kSharedMax = 4096;

}  // namespace

bool Shard::IsOwnedByOther(InodeId dir, ClientId process) const {
  if (!own_parts_.contains(dir)) return false;
  const auto sole = soles_.find(dir);
  return sole != soles_.end() && sole->second.process != process;
}

Task<Status> Shard::EndOwner(InodeId dir, ClientId except, Nanos deadline) {
  if (!IsOwnedByOther(dir, except)) co_return Code::kOk;
  if (shared_until_.size() >= kSharedMax) shared_until_.clear();
  shared_until_[dir] = executor_.now() + kSharedFor;
  co_return co_await EndSole(dir, except, deadline);
}

// To who has just made a file there and would like to make others. `knows`: that it is alone there.
bool Shard::OfferPart(const Request& r, InodeId dir, bool knows, OwnPart* part) {
  const ClientId process = r.party().process;
  if (r.party().peer || !attached_.contains(process) || arena_memory_.Board() == nullptr || log_.failed()) return false;
  // What is made without waiting must not fail for want of memory.
  if (refusing_ || collecting_ || is_degraded() || !MayLendAhead()) return false;
  const auto sole = soles_.find(dir);
  if (sole == soles_.end()) {
    if (names_.prepared() != 0) return false;  // O1
    const auto shared = shared_until_.find(dir);
    if (shared != shared_until_.end() && executor_.now() < shared->second) return false;
    if (names_.PartOf(dir).entries > OwnPart::kNamesMax) return false;
    soles_[dir] = Sole{process};
    own_parts_.insert(dir);
    SetSole(dir, process);
  } else if (sole->second.process != process || sole->second.revoking) {
    return false;
  }
  if (!knows) {
    if (names_.PartOf(dir).entries > OwnPart::kNamesMax) return false;
    part->begins = true;
    part->names = names_.NamesOf(dir);
  }
  part->first = names_.next_sequence();
  names_.ReserveSequences(part->first + OwnPart::kNumbers);  // O2
  for (uint64_t i = 0; i < OwnPart::kNumbers; ++i) {
    part->tags.push_back(grants_.MakeBirth(r.party(), InodeId::Make(options_.self, part->first + i)).tag);
  }
  ShowWalks(r);
  return true;
}

}  // namespace mayfly
