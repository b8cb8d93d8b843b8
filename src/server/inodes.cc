// Requests about an inode, sent to its home: attributes, xattrs, opening and closing, and the end of an inode.
#include <algorithm>

#include "base/log.h"
#include "server/images.h"
#include "server/shard.h"

namespace mayfly {

// ---- open and close -----------------------------------------------------------------------------------------------

Task<Status> Shard::HandleOpenInode(Request* r, const OpenInodeRequest& q, OpenReply* a, ReplyPayload* out) {
  Inode* inode = names_.FindInode(q.inode);
  const bool inherited = q.opener.value != 0;
  if (inherited) MAYFLY_CO_TRY(grants_.CheckInherited(r->party(), q.opener, q.inode, q.grant, q.flags));
  // An unlinked file may be opened again by who inherited it, while another still has it open; by nobody else.
  if (inode == nullptr || (inode->nlink == 0 && (inode->opens == 0 || !inherited))) co_return Code::kStale;
  if (inode->type == FileType::kSymlink) {
    a->attr = names_.AttrOf(*inode);
    out->text = inode->Extra().target;
    co_return Code::kOk;
  }
  co_return co_await OpenHere(r, inode, q.flags, inherited, a);
}

Task<Status> Shard::HandleClose(Request* r, const CloseRequest& q, Empty*, ReplyPayload*) {
  if (q.inodes.size() > CloseRequest::kClosesMax) co_return Code::kInvalid;
  const ClientId process = r->party().process;
  std::vector<InodeId> died;
  for (InodeId id : q.inodes) EndOpen(id, process, &died);
  if (died.empty()) co_return Code::kOk;
  r->AnswerAhead(Empty());  // a second time it would close what others of the process have open
  co_return co_await Bury(std::move(died), r->deadline());
}

// One close.
void Shard::EndOpen(InodeId id, ClientId process, std::vector<InodeId>* died) {
  names_.ReleaseOpen(id, process, died);
  auto it = soles_.find(id);
  if (it == soles_.end() || it->second.process != process || it->second.told || own_parts_.contains(id)) return;
  if (names_.OpenBy(id, process)) return;  // this was the close of an earlier open
  EraseSole(it);
  yielded_.WakeAll();
}

// ---- write-behind of a sole opener --------------------------------------------------------------------------------

Task<Status> Shard::EndSole(InodeId id, ClientId except, Nanos deadline) {
  for (;;) {
    auto it = soles_.find(id);
    if (it == soles_.end() || it->second.process == except) co_return Code::kOk;
    if (!it->second.revoking) {
      it->second.revoking = true;
      to_revoke_[it->second.process].push_back(id);
      RingBell(it->second.process);
      revoke_news_.WakeAll();
    }
    MAYFLY_CO_TRY(co_await yielded_.Wait(deadline));
    if (leaving_) co_return Code::kShutdown;
  }
}

void Shard::SetSole(InodeId id, ClientId process) {
  SoleImage image;
  image.inode = id;
  image.process = process;
  log_.Record(kTagSole, image, SoleImage::kBytes);
}

void Shard::EraseSole(Soles::iterator it) {
  SetSole(it->first, ClientId());
  own_parts_.erase(it->first);
  soles_.erase(it);
}

Task<Status> Shard::HandleRevoked(Request* r, const Empty&, CountReply* a, ReplyPayload* out) {
  const ClientId process = r->party().process;
  const Nanos until = std::min(r->deadline(), executor_.now() + kRevokePollMs * kMillisecond);
  for (;;) {
    auto it = to_revoke_.find(process);
    if (it != to_revoke_.end()) {
      // Named again by every poll until the process yields or closes: an answer may be lost.
      std::erase_if(it->second, [&](InodeId id) {
        auto sole = soles_.find(id);
        return sole == soles_.end() || sole->second.process != process;
      });
      if (!it->second.empty()) {
        a->count = static_cast<uint32_t>(std::min<size_t>(it->second.size(), kPageBytesMax / 8));
        out->text.assign(reinterpret_cast<const char*>(it->second.data()), a->count * 8);
        for (uint32_t i = 0; i < a->count; ++i) soles_.at(it->second[i]).told = true;
        co_return Code::kOk;
      }
      to_revoke_.erase(it);
    }
    if (leaving_ || executor_.now() >= until) co_return Code::kOk;
    (void)co_await revoke_news_.Wait(until);
  }
}

Task<Status> Shard::HandleYielded(Request* r, const CloseRequest& q, Empty*, ReplyPayload*) {
  for (InodeId id : q.inodes) {
    auto it = soles_.find(id);
    if (it != soles_.end() && it->second.process == r->party().process) EraseSole(it);
  }
  yielded_.WakeAll();
  co_return Code::kOk;
}

// ---- attributes ---------------------------------------------------------------------------------------------------

Task<Status> Shard::HandleGetAttr(Request* r, const GetAttrRequest& q, AttrReply* a, ReplyPayload*) {
  Inode* inode = names_.FindInode(q.inode);
  if (inode == nullptr) co_return Code::kStale;
  if (!q.exact_size) {
    a->attr = names_.AttrOf(*inode);
    co_return Code::kOk;
  }
  const ClientId asker = r->party().peer ? ClientId() : r->party().process;
  if (ExactAttrIsHere(*inode, asker, &a->attr)) co_return Code::kOk;
  MAYFLY_CO_TRY(co_await EndSole(q.inode, asker, r->deadline()));
  co_return co_await ExactAttr(q.inode, r->deadline(), &a->attr);
}

Task<Result<Attr>> Shard::AttrAt(InodeId id, Nanos deadline) {
  if (id.home().value >= placement_.shard_count()) co_return Code::kCorrupt;
  if (IsHome(id)) {
    Inode* inode = names_.FindInode(id);
    if (inode == nullptr) co_return Code::kStale;
    co_return names_.AttrOf(*inode);
  }
  GetAttrRequest request;
  request.inode = id;
  AttrReply reply;
  CallOptions options = PeerCall(deadline);
  Status status = co_await caller_.Call<Method::kGetAttr>(id.home(), request, &reply, options);
  if (!status.ok()) co_return status.code();
  co_return reply.attr;
}

bool Shard::ExactAttrIsHere(const Inode& inode, ClientId asker, Attr* attr) {
  if (inode.type == FileType::kDirectory || (inode.extra != nullptr && !inode.extra->shards.empty())) return false;
  if (auto sole = soles_.find(inode.id); sole != soles_.end() && sole->second.process != asker) return false;
  *attr = names_.AttrOf(inode);
  attr->partial = false;
  if (inode.type == FileType::kFile) attr->blocks = store_.Figures(inode.id).allocated_bytes / 512;
  return true;
}

Task<Status> Shard::ExactAttr(InodeId id, Nanos deadline, Attr* attr) {
  Inode* inode = names_.FindInode(id);
  if (inode == nullptr) co_return Code::kStale;
  if (inode->type == FileType::kDirectory) co_return co_await ExactDirAttr(id, deadline, attr);
  // The answers are of different moments. Between two rounds that agree about the size it had that size; one round
  // will do for a file that nobody writes.
  constexpr Nanos kRecently = kSecond;
  constexpr int kRoundsMax = 8;
  const Nanos begun = wall();
  for (int round = 1;; ++round) {
    const uint64_t before = attr->size;
    bool whole = false;
    MAYFLY_CO_TRY(co_await GlimpseAll(id, deadline, attr, &whole));
    const bool alone = whole && (!attr->partial || attr->ctime + kRecently < begun);
    if (alone || round == kRoundsMax || (whole && round > 1 && attr->size == before)) break;
    if (executor_.now() >= deadline) co_return Code::kTimedOut;
  }
  attr->partial = false;
  co_return Code::kOk;
}

// One round of asking a file's shards. `whole`: no truncation came in between.
Task<Status> Shard::GlimpseAll(InodeId id, Nanos deadline, Attr* attr, bool* whole) {
  Inode* inode = names_.FindInode(id);
  while (inode != nullptr && inode->extra != nullptr && inode->extra->truncating) {
    if (CutIsStuck(id)) co_return Code::kIo;
    MAYFLY_CO_TRY(co_await size_locks_.at(id)->Wait(deadline));
    inode = names_.FindInode(id);
  }
  if (inode == nullptr) co_return Code::kStale;
  std::vector<ShardId> shards;
  uint64_t epoch = 0;
  if (inode->extra != nullptr) {
    shards = inode->extra->shards;
    epoch = inode->extra->truncate_epoch;
  }
  std::vector<GlimpseReply> glimpses(shards.size());
  std::vector<Task<Status>> tasks;
  GlimpseRequest request;
  request.inode = id;
  for (size_t i = 0; i < shards.size(); ++i) tasks.push_back(GlimpseAt(shards[i], request, &glimpses[i], deadline));
  MAYFLY_CO_TRY(co_await All(std::move(tasks)));
  inode = names_.FindInode(id);  // the answers took time
  if (inode == nullptr) co_return Code::kStale;
  *whole = inode->extra == nullptr || (inode->extra->truncate_epoch == epoch && inode->extra->shards == shards);
  *attr = names_.AttrOf(*inode);
  if (inode->type == FileType::kFile) attr->blocks = store_.Figures(id).allocated_bytes / 512;
  Nanos written = 0;
  for (const GlimpseReply& glimpse : glimpses) {
    attr->size = std::max(attr->size, glimpse.end);
    attr->blocks += glimpse.blocks;
    written = std::max(written, glimpse.mtime);
    attr->ctime = std::max(attr->ctime, glimpse.mtime);
    attr->version += glimpse.writes;
  }
  // utimens made the shards forget theirs, and its own time may be of any year.
  if (written != 0 && (inode->mtime_set != 0 || written > attr->mtime)) attr->mtime = written;
  co_return Code::kOk;
}

Task<Status> Shard::ExactDirAttr(InodeId id, Nanos deadline, Attr* attr) {
  Inode* inode = names_.FindInode(id);
  if (inode == nullptr) co_return Code::kStale;
  const std::vector<ShardId> shards = inode->Extra().shards;
  std::vector<DirPartReply> parts(shards.size());
  std::vector<Task<Status>> tasks;
  for (size_t i = 0; i < shards.size(); ++i) tasks.push_back(DirPartAt(shards[i], id, &parts[i], deadline));
  const Status asked = co_await All(std::move(tasks));
  // What a missing member has of it is missing in its times and its count of links; its names are an error to list.
  if (!asked.ok() && !(reads_only() && asked.code() == Code::kIo)) co_return asked;
  inode = names_.FindInode(id);  // the answers took time
  if (inode == nullptr) co_return Code::kStale;
  *attr = names_.AttrOfDirectory(*inode, parts);
  attr->partial = false;
  co_return Code::kOk;
}

Task<Status> Shard::HandleSetAttr(Request* r, const SetAttrRequest& q, AttrReply* a, ReplyPayload*) {
  Inode* inode = names_.FindInode(q.inode);
  if (inode == nullptr) co_return Code::kStale;
  if ((q.mask & kByHandle) != 0) MAYFLY_CO_TRY(grants_.Check(r->party(), q.inode, q.grant, kGrantWrite));
  if ((q.mask & kSetSize) != 0) {
    if (inode->type == FileType::kDirectory) co_return Code::kIsDirectory;
    if (inode->type != FileType::kFile) co_return Code::kInvalid;
  }
  if (inode->type == FileType::kFile) {
    MAYFLY_CO_TRY(co_await EndSole(q.inode, r->party().process, r->deadline()));
    inode = names_.FindInode(q.inode);
    if (inode == nullptr) co_return Code::kStale;
  } else if (own_parts_.contains(q.inode)) {
    MAYFLY_CO_TRY(co_await EndOwner(q.inode, ClientId(), r->deadline()));
    inode = names_.FindInode(q.inode);
    if (inode == nullptr) co_return Code::kStale;
  }
  // By handle it is one of those who opened the file for writing, which ended the leases.
  if ((q.mask & kSetSize) == 0 || (q.mask & kByHandle) != 0) co_return co_await ChangeAttr(r, q, a);
  ++truncated_by_path_[q.inode];
  Status status;
  if (!read_leases_.empty()) status = co_await EndReadLeases(q.inode, r->party().process, r->deadline());
  if (status.ok()) status = co_await ChangeAttr(r, q, a);
  if (const auto it = truncated_by_path_.find(q.inode); --it->second == 0) truncated_by_path_.erase(it);
  co_return status;
}

Task<Status> Shard::ChangeAttr(Request* r, const SetAttrRequest& q, AttrReply* a) {
  Inode* inode = names_.FindInode(q.inode);
  if (inode == nullptr) co_return Code::kStale;
  // As tmpfs: a truncation by path to the size that the file has changes no times, unless there is space to give back.
  bool same_size = false;
  if ((q.mask & kSetSize) != 0 && (q.mask & kByHandle) == 0) {
    Attr now;
    MAYFLY_CO_TRY(co_await ExactAttr(q.inode, r->deadline(), &now));
    same_size = now.size == q.size && now.blocks == 0;
    inode = names_.FindInode(q.inode);
    if (inode == nullptr) co_return Code::kStale;
  }
  const bool with_size = (q.mask & kSetSize) != 0 && (q.mask & ~(kSetSize | kByHandle)) != 0;
  if (with_size) {  // all of it or nothing: the rest is changed first
    MAYFLY_CO_TRY(co_await AskToCut(q.inode, r->deadline()));
    inode = names_.FindInode(q.inode);
    if (inode == nullptr) co_return Code::kStale;
  }
  const Nanos mtime = inode->mtime, ctime = inode->ctime;
  const bool mtime_set = inode->mtime_set != 0;
  bool rights_changed = false;
  MAYFLY_CO_TRY(names_.SetAttr(*inode, q, r->party().cred, wall(), &rights_changed));
  if (same_size) {
    inode->mtime = mtime;
    inode->ctime = ctime;
    inode->mtime_set = mtime_set ? 1 : 0;
    names_.Changed(*inode);
  }
  const bool times_set = (q.mask & (kSetMtime | kSetMtimeNow)) != 0;
  if (inode->type == FileType::kDirectory) {
    if (rights_changed || (times_set && !inode->Extra().shards.empty())) {
      IntentImage intent;
      intent.kind = IntentKind::kRights;
      intent.inode = q.inode;
      intent.clear_mtime = times_set;
      const uint64_t number = BeginIntent(std::move(intent));
      const Status pushed = co_await PushRights(q.inode, times_set, r->deadline());
      if (!pushed.ok()) {
        LeaveIntent(number);
        co_return IoInsteadOf(Code::kReadOnly, pushed);  // it says that nothing has changed
      }
      EndIntent(number);
      // Clients check the rights of the directories they walk with what they cached: those walks are over now.
      if (rights_changed) {
        const Status bumped = co_await BumpGeneration(r->deadline());
        MAYFLY_CO_TRY(IoInsteadOf(Code::kReadOnly, bumped));
      }
    }
  } else if (inode->type == FileType::kFile) {
    if ((q.mask & kSetMode) != 0 && Namespace::HasPrivileges(*inode)) {
      const Status told = co_await TellPrivileged(q.inode, r->deadline());
      MAYFLY_CO_TRY(IoInsteadOf(Code::kReadOnly, told));
    }
    if ((q.mask & kSetSize) != 0) {
      const Status cut = co_await Truncate(q.inode, q.size, !same_size, r->deadline());
      MAYFLY_CO_TRY(with_size ? IoInsteadOf(Code::kReadOnly, cut) : cut);
    }
    inode = names_.FindInode(q.inode);
    if (inode == nullptr) co_return Code::kStale;
    if (times_set && inode->extra != nullptr) {
      // The other shards' own modification times are older than what was just set.
      std::vector<ShardId> shards = inode->extra->shards;
      std::vector<GlimpseReply> replies(shards.size());
      std::vector<Task<Status>> tasks;
      for (size_t i = 0; i < shards.size(); ++i) {
        GlimpseRequest request;
        request.inode = q.inode;
        request.clear_mtime = true;
        tasks.push_back(GlimpseAt(shards[i], request, &replies[i], r->deadline()));
      }
      const Status cleared = co_await All(std::move(tasks));
      MAYFLY_CO_TRY(IoInsteadOf(Code::kReadOnly, cleared));
    }
  }
  inode = names_.FindInode(q.inode);
  if (inode == nullptr) co_return Code::kStale;
  a->attr = names_.AttrOf(*inode);
  co_return Code::kOk;
}

Task<Status> Shard::HandleReadLink(Request*, const InodeRequest& q, Empty*, ReplyPayload* out) {
  Inode* inode = names_.FindInode(q.inode);
  if (inode == nullptr) co_return Code::kStale;
  if (inode->type != FileType::kSymlink) co_return Code::kInvalid;
  out->text = inode->Extra().target;
  co_return Code::kOk;
}

// ---- xattrs -------------------------------------------------------------------------------------------------------

Task<Status> Shard::HandleGetXattr(Request* r, const XattrRequest& q, Empty*, ReplyPayload* out) {
  Inode* inode = names_.FindInode(q.inode);
  if (inode == nullptr) co_return Code::kStale;
  auto value = names_.GetXattr(*inode, q.name, r->party().cred);
  if (!value.ok()) co_return value.code();
  out->text = *value;
  co_return Code::kOk;
}

Task<Status> Shard::HandleSetXattr(Request* r, const XattrRequest& q, Empty*, ReplyPayload*) {
  auto value = co_await FetchText(r, kXattrValueBytesMax);
  if (!value.ok()) co_return value.code();
  Inode* inode = names_.FindInode(q.inode);
  if (inode == nullptr) co_return Code::kStale;
  if (value->size() > 4096) {  // RoomForTables is about small things
    if (budget_.TableRoom() < value->size() && !arena_.ReleaseFreeSegment()) co_return Code::kNoSpace;
  }
  MAYFLY_CO_TRY(RoomForTables());
  co_return names_.SetXattr(*inode, q.name, *value, q.flags, r->party().cred, wall());
}

Task<Status> Shard::HandleListXattr(Request* r, const InodeRequest& q, Empty*, ReplyPayload* out) {
  Inode* inode = names_.FindInode(q.inode);
  if (inode == nullptr) co_return Code::kStale;
  out->text = names_.ListXattr(*inode, r->party().cred);
  if (out->text.size() > kXattrValueBytesMax) co_return Code::kTooBig;
  co_return Code::kOk;
}

Task<Status> Shard::HandleRemoveXattr(Request* r, const XattrRequest& q, Empty*, ReplyPayload*) {
  Inode* inode = names_.FindInode(q.inode);
  if (inode == nullptr) co_return Code::kStale;
  co_return names_.RemoveXattr(*inode, q.name, r->party().cred, wall());
}

// ---- the end ------------------------------------------------------------------------------------------------------

Task<Status> Shard::Bury(std::vector<InodeId> died, Nanos deadline) {
  Status result;
  for (InodeId id : died) {
    Status status = co_await BuryOne(id, deadline);
    if (!status.ok()) result = status;
  }
  co_return result;
}

// The space of the other shards is given back before the answer, so that who removed a file can use it at once.
Task<Status> Shard::BuryOne(InodeId id, Nanos deadline) {
  Inode* inode = names_.FindInode(id);
  if (inode == nullptr || !inode->dead()) co_return Code::kOk;
  std::vector<ShardId> shards;
  const bool file = inode->type == FileType::kFile;
  if (file && inode->extra != nullptr) shards = std::move(inode->extra->shards);
  if (auto sole = soles_.find(id); sole != soles_.end()) EraseSole(sole);
  names_.Forget(*inode);  // from here on nobody can join or open it
  if (file) store_.Drop(id);
  if (shards.empty()) co_return Code::kOk;
  IntentImage intent;
  intent.kind = IntentKind::kDrop;
  intent.inode = id;
  intent.shards = shards;
  const uint64_t number = BeginIntent(std::move(intent));
  bool everywhere = true;
  std::vector<Task<Status>> drops;
  for (ShardId shard : shards) drops.push_back(DropAt(shard, id, deadline));
  for (auto& drop : drops) {
    Status status = co_await drop;
    // The name is gone whatever happens; a shard that cannot be reached has lost the data with itself, or is told when
    // it is back.
    if (!status.ok() && status.code() != Code::kShutdown) {
      MAYFLY_WARN("space of a removed file could not be given back everywhere ({})", TextOf(status.code()));
    }
    everywhere &= status.ok();
  }
  if (everywhere) {
    EndIntent(number);
  } else {
    LeaveIntent(number);
  }
  co_return Code::kOk;
}

void Shard::ProcessGone(ClientId process, bool ended) {
  if (HasUnfinished(process) && (ended || !arena_memory_.IsAttached(process.value))) {
    gate_.Spawn(EndProcess(process), "finishing what a process left");
  } else {
    ForgetProcess(process);
  }
}

// Others who want to see what it made wait for that.
Task<Status> Shard::EndProcess(ClientId process) {
  co_await FinishOutbox(process);
  ForgetProcess(process);
  co_return Code::kOk;
}

void Shard::ForgetProcess(ClientId process) {
  std::vector<InodeId> died;
  names_.ReleaseAll(process, &died);
  for (auto it = soles_.begin(); it != soles_.end();) {
    auto current = it++;
    if (current->second.process == process) EraseSole(current);
  }
  to_revoke_.erase(process);
  TakeBackAll(process);
  yielded_.WakeAll();
  LeaveStages(process);
  MAYFLY_DEBUG("shard {}: the process {:#x} counts as dead; files without a name that only it had open: {}",
               options_.self.value, process.value, died.size());
  if (!died.empty()) gate_.Spawn(Bury(std::move(died), executor_.now() + options_.peer_deadline), "dropping orphans");
  ChargeTables();
}

}  // namespace mayfly
