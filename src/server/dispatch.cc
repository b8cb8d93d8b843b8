// From a verified message to its handler and back: one row of the method table each. Decoding failures, requests under
// an old generation and requests to a session that is stopping end here.
#include "base/log.h"
#include "flush/flusher.h"
#include "server/shard.h"

namespace mayfly {
namespace {

// The methods that name an entry below a directory of a path walk (V1).
constexpr bool NamesAnEntry(Method m) {
  switch (m) {
    case Method::kLookup:
    case Method::kOpen:
    case Method::kMkdir:
    case Method::kSymlink:
    case Method::kUnlink:
    case Method::kRmdir:
    case Method::kLink:
    case Method::kRename:
    case Method::kRenameDir:
      return true;
    default:
      return false;
  }
}

// Errors that say something about names. Such an answer, too, must be about one moment at which the walk was true (V1).
constexpr bool SpeaksOfNames(Code code) {
  switch (code) {
    case Code::kNoEntry:
    case Code::kExists:
    case Code::kNotDirectory:
    case Code::kIsDirectory:
    case Code::kNotEmpty:
    case Code::kInvalid:
    case Code::kAccess:
    case Code::kPermission:
    case Code::kTooManyLinks:
    case Code::kLoop:
      return true;
    default:
      return false;
  }
}

// What a process may do in a part of a directory that it is alone in: it knows by itself of what it makes there.
constexpr bool OwnerMay(Method m) {
  switch (m) {
    case Method::kLookup:
    case Method::kOpen:
    case Method::kMkdir:
    case Method::kSymlink:
    case Method::kUnlink:
    case Method::kRmdir:
    case Method::kReadDir:
      return true;
    default:
      return false;
  }
}
// The methods that look into a directory, or change who may.
constexpr bool LooksIntoADirectory(Method m) {
  switch (m) {
    case Method::kReadDir:
    case Method::kPeek:
    case Method::kDirUpdate:
    case Method::kFlushDir:
      return true;
    default:
      return NamesAnEntry(m);
  }
}

// What a stopping session still answers: what a client needs to send the rest of its data and to watch the end.
constexpr bool AllowedWhileStopping(Method m) {
  switch (m) {
    case Method::kPing:
    case Method::kClose:
    case Method::kRevoked:
    case Method::kYielded:
    case Method::kBundle:
    case Method::kFlushStatus:
    case Method::kFlush:
    case Method::kGetStatus:
    case Method::kTrace:
      return true;
    default:
      return false;
  }
}

// What a stand-in does: what concerns the session as a whole,
constexpr bool StandInServes(Method m) {
  switch (m) {
    case Method::kRefuse:
    case Method::kLeave:
    case Method::kLease:
    case Method::kBump:
    case Method::kSetGeneration:
    case Method::kSetView:
    case Method::kStatFs:
      return true;
    default:
      return AllowedWhileStopping(m);
  }
}
// and it takes note, as it were, of what others settle: nobody asks it for that.
constexpr bool StandInAcknowledges(Method m) {
  switch (m) {
    case Method::kDecide:
    case Method::kDropFile:
    case Method::kChunkTruncate:
    case Method::kDirUpdate:
    case Method::kPrivileged:
      return true;
    default:
      return false;
  }
}
// What may want room for a name or a value.
constexpr bool TakesTables(Method m) {
  if (m == Method::kLookup || m == Method::kUnlink || m == Method::kRmdir) return false;
  return NamesAnEntry(m) || m == Method::kSetXattr;
}
constexpr uint32_t kOpenToChange = kOpenWrite | kOpenCreate | kOpenTruncate | kOpenAppend;
template <class T>
constexpr bool OnlyReads(const T&) {
  return false;
}
constexpr bool OnlyReads(const OpenRequest& q) { return (q.flags & kOpenToChange) == 0; }
constexpr bool OnlyReads(const OpenInodeRequest& q) { return (q.flags & kOpenToChange) == 0; }
// Its journal has not kept what this takes back: it is in memory, and would be read as the file's end.
constexpr bool OnlyReads(const TruncateRequest& q) { return q.unanswered; }

}  // namespace

// What a server whose journal has failed still does of what is done once: nothing that anybody counts on is lost with
// it.
bool Shard::AllowedWhileReadOnly(Method m) {
  switch (m) {
    case Method::kReturn:
    case Method::kStageStart:
    case Method::kStageInvite:
    case Method::kStageWork:
    case Method::kRefuse:
    case Method::kLeave:
      return true;
    default:
      return AllowedWhileStopping(m);
  }
}

template <Method M, class Request_>
Task<Status> Shard::EndOwners(const Request* r, const Request_& q) {
  const ClientId except = OwnerMay(M) && !r->party().peer ? r->party().process : ClientId();
  absl::InlinedVector<InodeId, 2> dirs;
  if constexpr (requires { q.parent; }) dirs.push_back(q.parent);
  if constexpr (requires { q.new_parent; }) dirs.push_back(q.new_parent);
  if constexpr (requires { q.dir; }) dirs.push_back(q.dir);
  for (size_t i = 0; i < dirs.size(); ++i) {
    if (!IsOwnedByOther(dirs[i], except)) continue;
    MAYFLY_CO_TRY(co_await EndOwner(dirs[i], except, r->deadline()));
    if constexpr (NamesAnEntry(M)) {
      if (Stale(*r)) co_return Code::kGeneration;
    }
    i = size_t(-1);  // meanwhile another's may have begun
  }
  co_return Code::kOk;
}

template <Method M, auto Fn>
Task<Status> Shard::Run(Request* r) {
  typename MethodTypes<M>::Request q;
  typename MethodTypes<M>::Reply a;
  ReplyPayload out;
  Decoder d(r->body());
  q.Fields(d);
  Status status = d.Finish();
  if (!status.ok()) responder_.CountMalformed();
  if (status.ok() && refusing_ && !r->party().peer && !AllowedWhileStopping(M)) status = Code::kShutdown;
  bool acknowledged = false;
  if (status.ok() && is_degraded()) {
    // Peers settle what was under way.
    bool changes = false, root = false;
    if constexpr (MethodTypes<M>::kOnce) changes = !r->party().peer && !AllowedWhileReadOnly(M) && !OnlyReads(q);
    if constexpr (M == Method::kGetAttr) root = is_root() && q.inode == placement_.RootInode();  // walks begin there
    acknowledged = stands_in_ && StandInAcknowledges(M);
    if (changes) {
      status = Code::kReadOnly;
    } else if (stands_in_ && !StandInServes(M) && !acknowledged && !root) {
      status = Code::kIo;
    }
  }
  if constexpr (MethodTypes<M>::kOnce) {
    if (status.ok() && log_.failed() && !AllowedWhileReadOnly(M) && !OnlyReads(q)) status = Code::kReadOnly;
    // Peers work for a request that was let in.
    const bool waits = !r->party().peer && !AllowedWhileStopping(M);
    if (status.ok() && waits && !log_.failed() && !log_.HasRoom()) status = co_await log_.WaitForRoom(r->deadline());
    const bool takes = waits && TakesTables(M) && !OnlyReads(q);
    if (status.ok() && takes && LacksTableRoom(2)) status = co_await AwaitTableRoom(r->deadline());
  }
  if constexpr (NamesAnEntry(M)) {
    if (status.ok()) {
      const std::optional<Status> entered = EnterWalk(*r);
      if (entered) {
        status = *entered;
      } else {
        status = co_await EnterWalkSlowly(r);
      }
    }
    if (status.ok()) status = MaySearch(*r, q.parent);
  }
  if constexpr (LooksIntoADirectory(M)) {
    if (status.ok() && !own_parts_.empty()) status = co_await EndOwners<M>(r, q);
  }
  if (status.ok() && !acknowledged) {
    status = co_await (this->*Fn)(r, q, &a, &out);
    if constexpr (NamesAnEntry(M)) {
      if (SpeaksOfNames(status.code()) && Stale(*r)) status = Code::kGeneration;
      status = IoIfStuck(status, q.parent, q.name);
    }
  }
  if constexpr (MethodTypes<M>::kOnce) {
    // It was let in before the journal failed; what it has changed since then is recorded nowhere.
    if (status.ok() && log_.failed() && !AllowedWhileReadOnly(M) && !OnlyReads(q)) status = Code::kIo;
  }
  ChargeTables();
  if (!r->answered()) co_await r->Reply(status.code(), a, status.ok() ? out.bytes() : Bytes());
  r->Finish();
  co_return Code::kOk;
}

// Lets the cache misses of requests that came together overlap: one after the other they are half of a create's time
// where thousands of clients take turns (share/doc/SCALING.md).
void Shard::Foresee() {
  std::array<Namespace::Foreseen, kForeseenMax> seen;
  size_t count = 0;
  uint64_t births = 0;
  responder_.ForEachArrived([&](const Request& r) {
    const Method m = r.method();
    if (m != Method::kOpen && m != Method::kLookup && m != Method::kUnlink && m != Method::kMkdir) return true;
    Decoder d(r.body());
    InodeId parent;
    std::string_view name;
    d.Get(parent);  // the first two fields of each of them
    d.Get(name);
    if (!d.ok()) return true;
    seen[count++] = names_.Foresee(parent, name, r.party().process, births);
    if (m == Method::kOpen || m == Method::kMkdir) ++births;
    return count < kForeseenMax;
  });
  for (size_t i = 0; i < count; ++i) names_.Foresee(seen[i]);
}

void Shard::Serve(Request* r) {
  switch (r->method()) {
#define MAYFLY_DISPATCH(name, number, request, reply, once, who)                         \
  case Method::k##name:                                                                  \
    gate_.Spawn(Run<Method::k##name, &Shard::Handle##name>(r), "a request (" #name ")"); \
    return;
    MAYFLY_METHODS(MAYFLY_DISPATCH)
#undef MAYFLY_DISPATCH
  }
  r->Finish();  // cannot be: the responder refuses unknown methods
}

}  // namespace mayfly
