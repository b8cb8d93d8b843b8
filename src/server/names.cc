// Requests about one name in one directory, sent to the shard that holds (or would hold) the entry.
#include "base/log.h"
#include "meta/permissions.h"
#include "server/shard.h"
#include "server/transaction.h"
#include "wire/payload.h"

namespace mayfly {

Status Shard::MaySearch(const Request& r, InodeId dir) const {
  const Cred& cred = r.party().cred;
  if (options_.uid != 0 || cred.uid == 0) return Code::kOk;
  const DirRights* rights = names_.Rights(dir);
  if (rights == nullptr) return Code::kOk;  // then there is no entry of it here
  return MayAccess(FileType::kDirectory, rights->permissions, rights->uid, rights->gid, cred, kMayExec) ? Code::kOk
                                                                                                        : Code::kAccess;
}

Task<Status> Shard::HandleLookup(Request* r, const LookupRequest& q, LookupReply* a, ReplyPayload* out) {
  auto entry = names_.Find(q.parent, q.name);
  if (!entry.ok()) co_return entry.code();
  if (entry->busy) co_return Code::kBusy;
  if (entry->type == FileType::kDirectory) names_.Expose(q.parent, q.name);
  const InodeId id = entry->inode;
  const FileType type = entry->type;
  if (entry->local != nullptr) {
    if (type == FileType::kSymlink) out->text = entry->local->Extra().target;
    const bool elsewhere = type != FileType::kSymlink && q.exact_size;
    if (!elsewhere) {
      a->attr = names_.AttrOf(*entry->local);
      co_return Code::kOk;
    }
    if (ExactAttrIsHere(*entry->local, r->party().process, &a->attr)) {
      ShowWalks(*r);
      if (q.watch) TellKnown(*r, *entry->local, a);
      co_return Code::kOk;
    }
    Status status = co_await EndSole(id, r->party().process, r->deadline());
    if (status.ok()) status = co_await ExactAttr(id, r->deadline(), &a->attr);
    co_return status.code() == Code::kStale ? Code::kConflict : status.code();
  }
  // The inode stayed behind at its home when its entry was renamed or linked to here.
  if (type == FileType::kSymlink) {
    InodeRequest request;
    request.inode = id;
    Empty empty;
    out->text.resize(kTargetBytesMax);
    size_t bytes = 0;
    CallOptions options = PeerCall(r->deadline());
    options.reply_payload = MutableBytes(reinterpret_cast<uint8_t*>(out->text.data()), out->text.size());
    options.reply_bytes = &bytes;
    Status status = co_await caller_.Call<Method::kReadLink>(id.home(), request, &empty, options);
    if (!status.ok()) co_return status.code() == Code::kStale ? Code::kConflict : status.code();
    out->text.resize(bytes);
  }
  GetAttrRequest request;
  request.inode = id;
  request.exact_size = q.exact_size;
  AttrReply reply;
  CallOptions options = PeerCall(r->deadline());
  Status status = co_await caller_.Call<Method::kGetAttr>(id.home(), request, &reply, options);
  a->attr = reply.attr;
  // Unlinked in between: the entry is no longer what was read.
  co_return status.code() == Code::kStale ? Code::kConflict : status.code();
}

Task<Status> Shard::HandleOpen(Request* r, const OpenRequest& q, OpenReply* a, ReplyPayload* out) {
  for (;;) {
    auto entry = names_.Find(q.parent, q.name);
    if (entry.ok()) {
      if (entry->busy) co_return Code::kBusy;
      if ((q.flags & kOpenCreate) != 0 && (q.flags & kOpenExclusive) != 0) co_return Code::kExists;
      a->attr.inode = entry->inode;
      a->attr.type = entry->type;
      if (entry->type == FileType::kSymlink) {
        if ((q.flags & kOpenNoFollow) != 0) {
          if ((q.flags & kOpenCreate) != 0) MAYFLY_CO_TRY(co_await MayCreateOverLink(r, q.parent, entry->inode));
          co_return (q.flags & kOpenDirectory) != 0 ? Code::kNotDirectory : Code::kLoop;
        }
        if (entry->local == nullptr) {
          a->elsewhere = true;
          co_return Code::kOk;
        }
        a->attr = names_.AttrOf(*entry->local);
        out->text = entry->local->Extra().target;
        co_return Code::kOk;
      }
      if (entry->local == nullptr) {
        a->elsewhere = true;
        co_return Code::kOk;
      }
      co_return co_await OpenHere(r, entry->local, q.flags, false, a);
    }
    if ((q.flags & kOpenCreate) == 0) co_return entry.code();
    Namespace::Creation what;
    what.parent = q.parent;
    what.name = q.name;
    what.type = FileType::kFile;
    what.permissions = q.permissions;
    what.chunk_bits = q.chunk_bits;
    auto inode = co_await CreateEntry(r, what);
    if (inode.code() == Code::kExists) continue;  // another came first while this one waited to join
    if (!inode.ok()) co_return inode.code();
    a->created = true;
    if ((q.flags & kOpenBrief) != 0) {
      a->attr.inode = (*inode)->id;
      co_return Code::kOk;
    }
    // No suspension since the creation: nobody else has seen it.
    names_.RegisterOpen(**inode, r->party().process, (q.flags & kOpenWrite) != 0);
    a->attr = names_.AttrOf(**inode);
    a->grant = grants_.Make(r->party(), (*inode)->id, q.flags);  // whatever its permissions are
    if ((q.flags & kOpenWrite) != 0 && (q.flags & kOpenUnshared) == 0) {
      soles_[(*inode)->id] = Sole{r->party().process, false};
      SetSole((*inode)->id, r->party().process);
      a->sole = true;
    }
    OwnPart part;
    if ((q.flags & kOpenOwn) != 0 && OfferPart(*r, q.parent, false, &part)) {
      a->own = true;
      out->text = EncodedPayload(part, OwnPart::kBytesMax);
    }
    co_return Code::kOk;
  }
}

// In a sticky directory that all may write to (/tmp, say) Linux refuses who would create where a symlink of another is,
// and only then says that the name is one.
Task<Status> Shard::MayCreateOverLink(Request* r, InodeId dir, InodeId link) {
  const DirRights* rights = names_.Rights(dir);
  constexpr uint16_t kForAll = 0002;
  if (rights == nullptr || (rights->permissions & kSticky) == 0 || (rights->permissions & kForAll) == 0) {
    co_return Code::kOk;
  }
  const uint32_t owner = rights->uid;
  auto attr = co_await AttrAt(link, r->deadline());
  if (!attr.ok()) co_return attr.code() == Code::kStale ? Code::kConflict : attr.code();
  co_return attr->uid == owner || attr->uid == r->party().cred.uid ? Code::kOk : Code::kAccess;
}

// A new inode and its entry, once this shard is joined to the directory.
Task<Result<Inode*>> Shard::CreateEntry(Request* r, Namespace::Creation what) {
  if (what.chunk_bits != 0 && (what.chunk_bits < kChunkBitsMin || what.chunk_bits > kChunkBitsMax)) {
    co_return Code::kInvalid;
  }
  while (!names_.Joined(what.parent)) {
    MAYFLY_CO_TRY(co_await JoinDir(what.parent, r->deadline()));
    if (Stale(*r)) co_return Code::kGeneration;  // V1
    if (executor_.now() >= r->deadline()) co_return Code::kTimedOut;
  }
  // Whoever has joined it may be alone there by now.
  while (IsOwnedByOther(what.parent, r->party().process)) {
    MAYFLY_CO_TRY(co_await EndOwner(what.parent, r->party().process, r->deadline()));
    if (Stale(*r)) co_return Code::kGeneration;
  }
  MAYFLY_CO_TRY(RoomForTables());
  co_return names_.Create(what, r->party().cred, wall());
}

// Opens an inode of this home: rights (`inherited`: those of another's open), truncation, registration.
Task<Status> Shard::OpenHere(Request* r, Inode* inode, uint32_t flags, bool inherited, OpenReply* a) {
  const Cred& cred = r->party().cred;
  const InodeId id = inode->id;
  if (inode->type == FileType::kDirectory) {
    if ((flags & (kOpenWrite | kOpenCreate | kOpenTruncate)) != 0) co_return Code::kIsDirectory;
  } else if ((flags & kOpenDirectory) != 0) {
    co_return Code::kNotDirectory;
  }
  uint32_t want = 0;
  if ((flags & kOpenRead) != 0) want |= kMayRead;
  if ((flags & (kOpenWrite | kOpenTruncate)) != 0) want |= kMayWrite;
  if (!inherited && !MayAccess(inode->type, inode->permissions, inode->uid, inode->gid, cred, want)) {
    co_return Code::kAccess;
  }
  if ((flags & kOpenBrief) != 0) {
    if ((flags & kOpenTruncate) != 0) co_return Code::kInvalid;
    a->attr = names_.AttrOf(*inode);
    co_return Code::kOk;  // whoever writes behind goes on: nothing is read or written by this open
  }
  // Registered first: while a truncation below suspends, the inode must not die.
  const bool writes = (flags & (kOpenWrite | kOpenTruncate)) != 0;
  names_.RegisterOpen(*inode, r->party().process, writes);
  Status status;
  if (inode->type == FileType::kFile) {
    // Closes travel late, so a process that opens a file again may seem to have it open still: it knows itself.
    const ClientId process = r->party().process;
    const bool wants_alone = (flags & kOpenWrite) != 0 && (flags & kOpenUnshared) == 0;
    if (wants_alone) RegisterHolds(*inode);
    const bool holds_back = (flags & kOpenTruncate) != 0 && (flags & kOpenHolding) != 0;
    const bool may_be_alone = wants_alone && !holds_back && names_.OpensByOthers(*inode, process) == 0;
    if (inode->opens != 1) status = co_await EndSole(id, may_be_alone ? process : ClientId(), r->deadline());
    if (status.ok() && writes && !read_leases_.empty()) status = co_await EndReadLeases(id, process, r->deadline());
    if (status.ok() && (flags & kOpenTruncate) != 0) status = co_await Truncate(id, 0, true, r->deadline());
    inode = names_.FindInode(id);
    if (status.ok() && inode == nullptr) status = Code::kStale;
    if (status.ok() && (flags & kOpenTruncate) != 0) names_.ClearPrivileges(*inode, cred);
    if (status.ok() && wants_alone) RegisterHolds(*inode);  // some may have come meanwhile
    if (status.ok() && wants_alone && names_.OpensByOthers(*inode, process) == 0) {
      const auto [entry, fresh] = soles_.try_emplace(id, Sole{process});
      if (fresh) SetSole(id, process);
      const Sole& sole = entry->second;
      a->sole = sole.process == process && !sole.revoking;
    }
  }
  if (!status.ok()) {
    std::vector<InodeId> died;
    names_.ReleaseOpen(id, r->party().process, &died);
    (void)co_await Bury(std::move(died), r->deadline());
    co_return status;
  }
  if (!keeps_opens()) {
    // Its close might come when a server that knows nothing of it has counted another open by this process.
    std::vector<InodeId> died;
    names_.ReleaseOpen(id, r->party().process, &died);
    a->uncounted = true;
  }
  a->attr = names_.AttrOf(*inode);
  a->grant = grants_.Make(r->party(), id, flags);
  if ((flags & kOpenPlaced) != 0) {
    ShowWalks(*r);
    TellContent(r->party().process, *inode, &a->placed);
    if (a->placed.told && MayWatch(*r, *inode, &a->watched)) {
      (void)ExactAttrIsHere(*inode, r->party().process, &a->attr);
    }
  }
  co_return Code::kOk;
}

Task<Status> Shard::HandleMkdir(Request* r, const MkdirRequest& q, AttrReply* a, ReplyPayload*) {
  auto entry = names_.Find(q.parent, q.name);
  if (entry.ok()) co_return entry->busy ? Code::kBusy : Code::kExists;
  Namespace::Creation what;
  what.parent = q.parent;
  what.name = q.name;
  what.type = FileType::kDirectory;
  what.permissions = q.permissions;
  auto inode = co_await CreateEntry(r, what);
  if (!inode.ok()) co_return inode.code();
  a->attr = names_.AttrOf(**inode);
  co_return Code::kOk;
}

Task<Status> Shard::HandleSymlink(Request* r, const NameRequest& q, AttrReply* a, ReplyPayload*) {
  auto target = co_await FetchText(r, kTargetBytesMax);
  if (!target.ok()) co_return target.code() == Code::kTooBig ? Code::kNameTooLong : target.code();
  if (target->empty()) co_return Code::kNoEntry;
  if (Stale(*r)) co_return Code::kGeneration;
  auto entry = names_.Find(q.parent, q.name);
  if (entry.ok()) co_return entry->busy ? Code::kBusy : Code::kExists;
  Namespace::Creation what;
  what.parent = q.parent;
  what.name = q.name;
  what.type = FileType::kSymlink;
  what.permissions = 0777;
  what.target = *target;
  auto inode = co_await CreateEntry(r, what);
  if (!inode.ok()) co_return inode.code();
  a->attr = names_.AttrOf(**inode);
  co_return Code::kOk;
}

Task<Status> Shard::HandleUnlink(Request* r, const NameRequest& q, Empty*, ReplyPayload*) {
  const Cred& cred = r->party().cred;
  auto entry = names_.Find(q.parent, q.name);
  if (!entry.ok()) co_return entry.code();
  if (entry->busy) co_return Code::kBusy;
  if (entry->type == FileType::kDirectory) {
    Status rights = names_.MayRemove(q.parent, entry->local != nullptr ? entry->local->uid : cred.uid, cred);
    co_return rights.ok() ? Code::kIsDirectory : rights.code();
  }
  if (entry->local != nullptr) {
    auto inode = names_.Unlink(q.parent, q.name, cred, wall());
    if (!inode.ok()) co_return inode.code();
    if ((*inode)->dead()) {
      // Without other shards there is nothing to wait for: the answer is in the same record.
      if ((*inode)->extra != nullptr && !(*inode)->extra->shards.empty()) r->AnswerAhead(Empty());
      co_return co_await BuryOne((*inode)->id, r->deadline());
    }
    co_return Code::kOk;
  }
  // The inode lives elsewhere: entry and link count go together or not at all.
  const InodeId id = entry->inode;
  const FileType type = entry->type;
  MAYFLY_CO_TRY(names_.MayRemove(q.parent, cred.uid, cred));
  auto attr = co_await AttrAt(id, r->deadline());
  if (!attr.ok()) co_return attr.code() == Code::kStale ? Code::kConflict : attr.code();

  Transaction txn(this, cred, r->deadline());
  std::vector<std::pair<ShardId, TxnOp>> ops;
  TxnOp remove;
  remove.kind = TxnKind::kDentry;
  remove.inode = q.parent;
  remove.name = std::string(q.name);
  remove.expect = id;
  remove.expect_type = type;
  remove.check = remove.sticky_check = true;
  remove.expect_uid = attr->uid;
  ops.emplace_back(options_.self, std::move(remove));
  TxnOp unlink;
  unlink.kind = TxnKind::kLink;
  unlink.inode = id;
  unlink.delta = -1;
  ops.emplace_back(id.home(), std::move(unlink));
  Status status = co_await PrepareAll(&txn, std::move(ops));
  if (status.ok() && Stale(*r)) status = Code::kGeneration;
  if (status.ok()) r->AnswerAhead(Empty());
  (void)co_await DecideAll(&txn, status.ok());
  co_return status;
}

// Linux asks whether the directory may be linked to at all (its owner might), whether a name may be added, and only
// then whether it is a directory.
Task<Status> Shard::RefuseLinkOfDirectory(Request* r, const LinkRequest& q) {
  auto attr = co_await AttrAt(q.inode, r->deadline());
  if (!attr.ok()) co_return attr.code() == Code::kStale ? Code::kConflict : attr.code();
  const Cred& cred = r->party().cred;
  if (cred.uid != 0 && cred.uid != attr->uid) co_return Code::kPermission;
  if (!names_.Joined(q.parent)) MAYFLY_CO_TRY(co_await JoinDir(q.parent, r->deadline()));
  if (Stale(*r)) co_return Code::kGeneration;
  MAYFLY_CO_TRY(names_.MayCreateIn(q.parent, cred));
  co_return Code::kPermission;
}

// A further name for an inode: the entry here, the link count at its home.
Task<Status> Shard::HandleLink(Request* r, const LinkRequest& q, AttrReply* a, ReplyPayload*) {
  if (q.inode.home().value >= placement_.shard_count()) co_return Code::kInvalid;
  auto entry = names_.Find(q.parent, q.name);
  if (entry.ok()) co_return entry->busy ? Code::kBusy : Code::kExists;
  if (entry.code() == Code::kBusy) co_return Code::kBusy;
  if (q.type == FileType::kDirectory) co_return co_await RefuseLinkOfDirectory(r, q);
  MAYFLY_CO_TRY(RoomForTables());
  Transaction txn(this, r->party().cred, r->deadline());
  std::vector<std::pair<ShardId, TxnOp>> ops;
  TxnOp link;
  link.kind = TxnKind::kLink;
  link.inode = q.inode;
  link.delta = 1;
  link.check = true;
  link.expect_type = q.type;  // the client's word, which the new entry takes
  ops.emplace_back(q.inode.home(), std::move(link));
  TxnOp add;
  add.kind = TxnKind::kDentry;
  add.inode = q.parent;
  add.name = std::string(q.name);
  add.set = q.inode;
  add.set_type = q.type;
  add.check = true;
  ops.emplace_back(options_.self, std::move(add));
  Status status = co_await PrepareAll(&txn, std::move(ops));
  if (status.ok() && Stale(*r)) status = Code::kGeneration;
  a->attr.inode = q.inode;
  a->attr.type = q.type;
  if (status.ok()) r->AnswerAhead(*a);
  Status decided = co_await DecideAll(&txn, status.ok());
  if (status.code() == Code::kConflict) {
    auto now = names_.Find(q.parent, q.name);
    if (now.ok() && !now->busy) co_return Code::kExists;
  }
  MAYFLY_CO_TRY(status);
  MAYFLY_CO_TRY(decided);
  co_return Code::kOk;
}

Task<Status> Shard::HandlePeek(Request*, const PeekRequest& q, PeekReply* a, ReplyPayload*) {
  if (names_.Joined(q.parent)) {
    a->rights = names_.MayCreateIn(q.parent, q.cred).code();
    a->sticky = names_.OwnOnly(q.parent, q.cred);
  }
  auto entry = names_.Find(q.parent, q.name);
  a->busy = entry.ok() ? entry->busy : entry.code() == Code::kBusy;
  if (a->busy && IoIfStuck(Code::kBusy, q.parent, q.name).code() == Code::kIo) co_return Code::kIo;
  if (!entry.ok()) co_return Code::kOk;
  a->inode = entry->inode;
  a->type = entry->type;
  a->exposed = entry->exposed;
  co_return Code::kOk;
}

}  // namespace mayfly
