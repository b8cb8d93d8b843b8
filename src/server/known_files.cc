// Files that processes of this node look at and read without a message: what they are told once (WatchedFile) is so
// while the file's count of changes stands and the board (os/arena_memory.h) says that this shard serves the walk that
// leads to it; what they have open is in their holds on the board.
#include "server/shard.h"
#include "wire/payload.h"

namespace mayfly {
namespace {

constexpr Nanos kShownFor = ReadLeases::kLease;  // a restart waits for it

}  // namespace

// Not a file whose writer may hold bytes back, nor one of several shards: of such changes the count does not tell.
bool Shard::MayWatch(const Request& r, const Inode& inode, WatchedFile* watched) {
  if (inode.type != FileType::kFile || (inode.extra != nullptr && !inode.extra->shards.empty())) return false;
  if (!attached_.contains(r.party().process) || soles_.contains(inode.id)) return false;
  const ArenaStamp* const count = ChangesOf(inode.id);
  if (count == nullptr || arena_memory_.Board() == nullptr) return false;
  names_.SetCounts(arena_memory_.Changes());  // from now on somebody watches; there are none before the first segment
  watched->told = true;
  watched->counter = static_cast<uint16_t>(count - arena_memory_.Changes().data());
  watched->changes = count->load(std::memory_order_relaxed);
  return true;
}

void Shard::TellKnown(const Request& r, const Inode& inode, LookupReply* a) {
  if (!MayWatch(r, inode, &a->watched)) return;
  if (!MayAccess(inode.type, inode.permissions, inode.uid, inode.gid, r.party().cred, kMayRead)) return;
  a->grant = grants_.Make(r.party(), inode.id, kOpenRead);
  TellContent(r.party().process, inode, &a->placed);
}

// For who has just made them: an entry is what it is, however the walk to its directory went.
Task<Status> Shard::HandleLookups(Request* r, const Empty&, Empty*, ReplyPayload* out) {
  auto text = co_await FetchText(r, kPageBytesMax);
  if (!text.ok()) co_return text.code();
  std::vector<NameToLookUp> names;
  MAYFLY_CO_TRY(DecodePayload(*text, &names));
  if (names.size() > kLookupsMax) co_return Code::kInvalid;
  if (!is_root() && executor_.now() >= lease_until_) MAYFLY_CO_TRY(co_await RenewLease(r->deadline()));
  ShowWalks(*r);
  std::vector<LookedUp> found;
  for (size_t i = 0; i < names.size(); ++i) {
    if (IsOwnedByOther(names[i].parent, r->party().process)) continue;
    const auto entry = names_.Find(names[i].parent, names[i].name);
    if (!entry.ok() || entry->busy || entry->local == nullptr || !MaySearch(*r, names[i].parent).ok()) continue;
    LookedUp one;
    one.at = static_cast<uint16_t>(i);
    if (!ExactAttrIsHere(*entry->local, r->party().process, &one.reply.attr)) continue;
    TellKnown(*r, *entry->local, &one.reply);
    if (one.reply.watched.told) found.push_back(one);
  }
  out->text = EncodedPayload(found, 4 + found.size() * kLookedUpBytesMax);
  co_return Code::kOk;
}

// B1
void Shard::ShowWalks(const Request& r) {
  ArenaBoard* const board = arena_memory_.Board();
  if (board == nullptr || !attached_.contains(r.party().process)) return;
  Nanos until = executor_.now() + kShownFor;
  if (!is_root()) until = std::min(until, lease_until_);
  board->generation.store(generation_.value, std::memory_order_relaxed);
  board->until.store(until, std::memory_order_release);
}

// From now on this shard knows who has the file open: it goes when they have closed it, and nobody writes it alone.
void Shard::RegisterHolds(Inode& inode) {
  ArenaBoard* const board = arena_memory_.Board();
  if (board == nullptr || attached_.empty()) return;
  CountChange(inode.id);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // B2
  for (size_t i = 0; i < ArenaBoard::kProcesses; ++i) {
    const ClientId process(board->processes[i].load(std::memory_order_relaxed));
    if (process.value == 0 || !attached_.contains(process)) continue;
    for (ArenaBoard::Hold& hold : board->holds[i]) {
      uint64_t file = inode.id.value;
      if (hold.load(std::memory_order_relaxed) != file) continue;
      if (hold.compare_exchange_strong(file, ~file)) names_.RegisterOpen(inode, process);  // B3
    }
  }
}

// B4
void Shard::RingBell(ClientId process) {
  ArenaBoard* const board = arena_memory_.Board();
  if (board == nullptr || !attached_.contains(process)) return;
  for (size_t i = 0; i < ArenaBoard::kProcesses; ++i) {
    if (board->processes[i].load(std::memory_order_relaxed) == process.value) ++board->bells[i];
  }
}

// Of processes that are gone.
void Shard::ClearHolds() {
  ArenaBoard* const board = arena_memory_.Board();
  if (board == nullptr) return;
  for (size_t i = 0; i < ArenaBoard::kProcesses; ++i) {
    const uint64_t process = board->processes[i];
    if (process == 0 || attached_.contains(ClientId(process)) || arena_memory_.IsAttached(process)) continue;
    for (ArenaBoard::Hold& hold : board->holds[i]) hold = 0;
    board->processes[i] = 0;
  }
}

}  // namespace mayfly
