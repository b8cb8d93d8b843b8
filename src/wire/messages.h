// Every request and its reply, and the one table they are generated from: the enum of methods, their limits, and the
// dispatch of the server (server/dispatch.cc) all expand MAYFLY_METHODS.
// A message lists its fields once (Fields); views (std::string_view) point into the header that was received.
// Bulk bytes travel as the payload beside the message; the comment of each message says what its payload is.
#pragma once

#include "wire/data_messages.h"
#include "wire/flush_messages.h"
#include "wire/member_messages.h"
#include "wire/name_messages.h"
#include "wire/outbox.h"
#include "wire/peer_messages.h"
#include "wire/session_messages.h"
#include "wire/stage_messages.h"
#include "wire/trace_messages.h"

namespace mayfly {

struct Empty {
  template <class Io>
  void Fields(Io&) {}
};

// ---- the table ------------------------------------------------------------------------------------------------------
// X(Name, number, Request, Reply, once, who): `once`: executes once (kept in the duplicate table). who: kAny, kPeer
// (another server only). Numbers travel: append only.
// Sync, to a file's home: at level `node`, answered when all that was acknowledged of it is durable, on all its shards.
#define MAYFLY_METHODS(X)                                                        \
  X(Ping, 1, Empty, Empty, false, kAny)                                          \
  X(Lookup, 2, LookupRequest, LookupReply, false, kAny)                          \
  X(Open, 3, OpenRequest, OpenReply, true, kAny)                                 \
  X(Mkdir, 4, MkdirRequest, AttrReply, true, kAny)                               \
  X(Symlink, 5, NameRequest, AttrReply, true, kAny)                              \
  X(Unlink, 6, NameRequest, Empty, true, kAny)                                   \
  X(Rmdir, 7, NameRequest, Empty, true, kAny)                                    \
  X(Link, 8, LinkRequest, AttrReply, true, kAny)                                 \
  X(Rename, 9, RenameRequest, Empty, true, kAny)                                 \
  X(RenameDir, 10, RenameRequest, Empty, true, kAny)                             \
  X(OpenInode, 11, OpenInodeRequest, OpenReply, true, kAny)                      \
  X(Close, 12, CloseRequest, Empty, true, kAny)                                  \
  X(GetAttr, 13, GetAttrRequest, AttrReply, false, kAny)                         \
  X(SetAttr, 14, SetAttrRequest, AttrReply, true, kAny)                          \
  X(ReadLink, 15, InodeRequest, Empty, false, kPeer)                             \
  X(GetXattr, 16, XattrRequest, Empty, false, kAny)                              \
  X(SetXattr, 17, XattrRequest, Empty, true, kAny)                               \
  X(ListXattr, 18, InodeRequest, Empty, false, kAny)                             \
  X(RemoveXattr, 19, XattrRequest, Empty, true, kAny)                            \
  X(Shards, 20, ShardsRequest, ShardsReply, false, kAny)                         \
  X(ReadDir, 21, ReadDirRequest, ReadDirReply, false, kAny)                      \
  X(Write, 22, WriteRequest, Empty, true, kAny)                                  \
  X(Read, 23, ReadRequest, ReadReply, false, kAny)                               \
  X(Append, 24, AppendRequest, OffsetReply, true, kAny)                          \
  X(ChunkReserve, 25, RangeRequest, Empty, true, kAny)                           \
  X(ChunkPunch, 26, RangeRequest, Empty, true, kAny)                             \
  X(Extend, 27, RangeRequest, Empty, true, kAny)                                 \
  X(ChunkSeek, 28, SeekRequest, OffsetReply, false, kAny)                        \
  X(DirJoin, 29, DirJoinRequest, DirRights, true, kPeer)                         \
  X(DirUpdate, 30, DirRights, Empty, true, kPeer)                                \
  X(DirPart, 31, InodeRequest, DirPartReply, false, kPeer)                       \
  X(DirParent, 32, InodeRequest, ParentReply, false, kPeer)                      \
  X(FileJoin, 33, FileJoinRequest, FileJoinReply, true, kPeer)                   \
  X(Glimpse, 34, GlimpseRequest, GlimpseReply, false, kPeer)                     \
  X(ChunkTruncate, 35, TruncateRequest, Empty, true, kPeer)                      \
  X(DropFile, 36, InodeRequest, Empty, true, kPeer)                              \
  X(Peek, 37, PeekRequest, PeekReply, false, kPeer)                              \
  X(Prepare, 38, PrepareRequest, PrepareReply, true, kPeer)                      \
  X(Decide, 39, DecideRequest, Empty, true, kPeer)                               \
  X(Bump, 40, Empty, LeaseReply, false, kPeer)                                   \
  X(SetGeneration, 41, GenerationRequest, Empty, false, kPeer)                   \
  X(Lease, 42, Empty, LeaseReply, false, kPeer)                                  \
  X(StatFs, 43, Empty, StatFsReply, false, kAny)                                 \
  X(GetStatus, 44, StatusRequest, Empty, false, kAny)                            \
  X(Flush, 45, FlushRequest, FlushReply, true, kAny)                             \
  X(FlushStatus, 46, FlushStatusRequest, FlushStatusReply, false, kAny)          \
  X(FlushDir, 47, FlushDirRequest, FlushWorkReply, false, kPeer)                 \
  X(FlushFile, 48, FlushFileRequest, FlushWorkReply, false, kPeer)               \
  X(FlushChunks, 49, FlushFileRequest, FlushWorkReply, false, kPeer)             \
  X(Refuse, 50, RefuseRequest, Empty, true, kPeer)                               \
  X(Leave, 51, LeaveRequest, Empty, true, kPeer)                                 \
  X(Revoked, 52, Empty, CountReply, false, kAny)                                 \
  X(Yielded, 53, CloseRequest, Empty, true, kAny)                                \
  X(ArenaName, 54, Empty, Empty, false, kAny)                                    \
  X(Loan, 55, LoanRequest, LoanReply, true, kAny)                                \
  X(Commit, 56, CommitRequest, LoanReply, true, kAny)                            \
  X(Return, 57, ReturnRequest, Empty, true, kAny)                                \
  X(StageStart, 58, Empty, StageStartReply, true, kAny)                          \
  X(StageInvite, 59, StageInviteRequest, Empty, true, kPeer)                     \
  X(StageWork, 60, StageWorkRequest, StageWorkReply, true, kAny)                 \
  X(StageStatus, 61, StageStatusRequest, StageStatusReply, false, kAny)          \
  X(Privileged, 62, PrivilegedRequest, Empty, true, kPeer)                       \
  X(DropPrivileges, 63, DropPrivilegesRequest, DropPrivilegesReply, true, kPeer) \
  X(ReadLease, 64, ReadLeaseRequest, ReadLeaseReply, false, kAny)                \
  X(Outcome, 65, OutcomeRequest, OutcomeReply, false, kPeer)                     \
  X(Rejoin, 66, Empty, ViewReply, false, kPeer)                                  \
  X(SetView, 67, ViewRequest, ViewReply, false, kPeer)                           \
  X(Sync, 68, InodeRequest, Empty, false, kAny)                                  \
  X(Trace, 69, TraceRequest, Empty, false, kAny)                                 \
  X(Lookups, 70, Empty, Empty, false, kAny)                                      \
  X(Bundle, 71, BundleRequest, Empty, true, kAny)

enum class Method : uint16_t {
#define MAYFLY_ENUM(name, number, request, reply, once, who) k##name = number,
  MAYFLY_METHODS(MAYFLY_ENUM)
#undef MAYFLY_ENUM
};

enum class Who : uint8_t { kAny, kPeer };

struct MethodInfo {
  std::string_view name;
  bool once = false;
  Who who = Who::kAny;
};
// Null for a number that is no method.
const MethodInfo* InfoOf(Method method);
inline bool IsKnown(Method method) { return InfoOf(method) != nullptr; }

// Request and reply type of a method at compile time: MethodTypes<Method::kOpen>::Request.
template <Method M>
struct MethodTypes;
#define MAYFLY_TYPES(name, number, request, reply, once_, who) \
  template <>                                                  \
  struct MethodTypes<Method::k##name> {                        \
    using Request = request;                                   \
    using Reply = reply;                                       \
    static constexpr bool kOnce = once_;                       \
  };
MAYFLY_METHODS(MAYFLY_TYPES)
#undef MAYFLY_TYPES

}  // namespace mayfly
