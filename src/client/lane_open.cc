// Opening. The order of the checks is that of Linux's open_last_lookups, do_open and may_open.
#include "client/lane.h"
#include "wire/payload.h"

namespace mayfly {

uint32_t Lane::WithSharing(uint32_t flags, ShardId home) {
  if ((flags & kOpenTruncate) != 0 && mount_.buffered() != 0) flags |= kOpenHolding;
  if ((flags & kOpenUnshared) != 0) return flags;
  if (mount_.options().write_behind_bytes == 0 || (flags & kOpenWrite) == 0 || (flags & kOpenAppend) != 0) {
    return flags | kOpenUnshared;
  }
  if (mount_.Listening(home)) return flags;
  if (mount_.wants_to_listen()) mount_.AskToListen(home);
  return flags | kOpenUnshared;
}

bool Lane::MayReadPlaced(uint32_t flags) const {
  constexpr uint32_t kOthers = kOpenWrite | kOpenCreate | kOpenTruncate | kOpenDirectory | kOpenUnshared;
  return (flags & (kOpenRead | kOthers)) == kOpenRead && mount_.options().readahead_bytes != 0;
}

void Lane::Learn(const NameView& name, uint64_t hash, const LookupReply& told, Nanos asked) {
  KnownFile file;
  file.attr = told.attr;
  file.grant = told.grant;
  if (told.placed.told) file.content = data_.ContentOf(told.attr, told.placed, asked);
  walker_.known.Learn(name, hash, told.watched, file);
}

// Who comes to the end of what one message told it goes on, so from then on the next names are asked for before it
// comes to them: the server looks at them while the process works.
Task<Status> Lane::LookUpNoted(const Walk* walk) {
  const ShardId shard = walk->shard();
  const auto asked = noted_lookups_.find(shard);
  const bool begins = asked != noted_lookups_.end() && asked->second->names.Is(0, walk->entry(), walk->hash());
  if (!begins && walker_.known.Find(walk->entry(), walk->hash()) != nullptr) co_return Code::kOk;
  const auto is_there = [&](uint64_t hash) { return mount_.placement().ShardOfHash(hash) == shard; };
  const auto ask = [&](NameList names) {
    auto lookups = std::make_shared<NotedLookups>();
    lookups->names = std::move(names);
    noted_lookups_[shard] = lookups;
    Spawn(AskForNoted(this, shard, lookups), "looking up what was noted");
    return lookups;
  };
  const auto last = [&] {
    const auto found = noted_lookups_.find(shard);
    return found != noted_lookups_.end() ? found->second : nullptr;
  };
  std::shared_ptr<NotedLookups> lookups = last();
  const bool goes_on = lookups != nullptr;
  if (!goes_on || !lookups->names.Has(walk->entry(), walk->hash())) {
    NameList names = walker_.known.TakeNoted(walk->entry(), walk->hash(), is_there);
    if (names.empty()) co_return Code::kOk;
    if (walker_.known.IsUnknown(shard)) (void)co_await data_.ArenaOf(shard);
    if (!walker_.known.MayLearn(shard)) co_return Code::kOk;
    lookups = ask(std::move(names));
  }
  while (!lookups->done) MAYFLY_CO_TRY(co_await noted_done_.Wait(walk->deadline()));
  if (!goes_on || last() != lookups) co_return Code::kOk;
  NameList next = walker_.known.TakeNextNoted(is_there);
  if (next.empty()) {
    noted_lookups_.erase(shard);
  } else {
    ask(std::move(next));
  }
  co_return Code::kOk;
}

Task<Status> Lane::AskForNoted(Lane* lane, ShardId shard, std::shared_ptr<NotedLookups> lookups) {
  (void)co_await lane->LookUp(shard, lookups->names);  // what it did not tell is asked for name by name
  lookups->done = true;
  lane->noted_done_.WakeAll();
  co_return Code::kOk;
}

Task<Status> Lane::LookUp(ShardId shard, const NameList& names) {
  std::string payload(4 + names.size() * (8 + 4) + names.text_bytes(), '\0');
  Encoder e(MutableBytes(reinterpret_cast<uint8_t*>(payload.data()), payload.size()));
  e.Put(static_cast<uint32_t>(names.size()));  // a list of NameToLookUp
  for (size_t i = 0; i < names.size(); ++i) e.Put(NameToLookUp{names.at(i).parent, names.at(i).name});
  std::string text(4 + names.size() * kLookedUpBytesMax, '\0');
  size_t bytes = 0;
  Empty request, reply;
  CallOptions options = ByHandle(Deadline());
  options.payload = AsBytes(payload);
  options.reply_payload = MutableBytes(reinterpret_cast<uint8_t*>(text.data()), text.size());
  options.reply_bytes = &bytes;
  const Nanos asked = executor_.now();
  MAYFLY_CO_TRY(co_await caller_.Call<Method::kLookups>(shard, request, &reply, options));
  text.resize(bytes);
  MAYFLY_CO_TRY(DecodePayload(text, &looked_up_));  // no other look-up of the lane comes in between
  for (const LookedUp& one : looked_up_) {
    if (one.at >= names.size()) co_return Code::kCorrupt;
    Learn(names.at(one.at), names.hash(one.at), one.reply, asked);
  }
  co_return Code::kOk;
}

std::optional<Lane::Opened> Lane::OpenKnown(const Walk& walk) {
  const KnownFile* file = walker_.known.Find(walk.entry(), walk.hash());
  if (file == nullptr || (file->grant.rights & kGrantRead) == 0 || !file->content.valid()) return std::nullopt;
  const Nanos now = executor_.now();
  if (!file->IsSo(walk.generation(), now)) return std::nullopt;
  const InodeId inode = file->attr.inode;
  ArenaBoard::Hold* const hold = mount_.arenas().TakeHold(inode.home(), caller_.process(), inode);
  if (hold == nullptr) return std::nullopt;
  if (!file->IsSo(walk.generation(), now)) {  // its home may not have seen the hold
    if (hold->exchange(0) != inode.value) QueueClose(inode);
    return std::nullopt;
  }
  Opened opened;
  opened.attr = file->attr;
  opened.grant = file->grant;
  opened.content = file->content;
  opened.content.until = file->board->until;
  opened.hold = hold;
  return opened;
}

Task<Status> Lane::OpenAtHome(InodeId inode, uint32_t flags, Granted inherited, Nanos deadline, OpenReply* reply,
                              TargetBuffer* target) {
  OpenInodeRequest request;
  request.inode = inode;
  request.flags = WithSharing(flags, inode.home());
  request.opener = inherited.opener;
  request.grant = inherited.grant;
  CallOptions options = ByHandle(deadline);
  target->AddTo(&options);
  co_return co_await caller_.Call<Method::kOpenInode>(inode.home(), request, reply, options);
}

Task<Result<Lane::Opened>> Lane::OpenPath(std::string_view path, uint32_t flags, uint16_t permissions) {
  const bool create = (flags & kOpenCreate) != 0;
  const bool exclusive = create && (flags & kOpenExclusive) != 0;
  const bool placed = MayReadPlaced(flags);
  // Who creates comes to a file of its own, or waits for what departs once the home has said which it is (Add).
  if (create ? mount_.own_parts().IsAnyUnderWay() : MustSettle()) MAYFLY_CO_TRY(co_await Settle());
  Walk walk(walker_, path, Deadline());
  TargetBuffer target(walker_);
  for (;;) {
    if (!walk.TryToParent()) co_await walk.ToParent();
    if (!walk.status().ok()) co_return walk.status();
    Status status;
    OpenReply reply;
    uint32_t sent = flags;
    bool elsewhere = false;
    const Nanos asked = executor_.now();
    if (!walk.is_name()) {
      if (create) co_return exclusive ? Code::kExists : Code::kIsDirectory;
      status = co_await OpenAtHome(walk.dots(), flags, Granted(), walk.deadline(), &reply, &target);
    } else {
      if (create && walk.slash()) {
        status = co_await walk.Confirm();
        if (status.ok()) co_return Code::kIsDirectory;
        if (!Walk::MayRetry(status)) co_return status;
        MAYFLY_CO_TRY(co_await walk.Again(status));
        continue;
      }
      if (walk.too_long()) co_return Code::kNameTooLong;
      if (walk.slash()) sent = (sent | kOpenDirectory) & ~kOpenNoFollow;
      if (exclusive) sent |= kOpenNoFollow;
      if (placed && !walk.slash()) {
        if (MayBeNoted()) (void)co_await LookUpNoted(&walk);
        if (auto known = OpenKnown(walk)) co_return *known;
      }
      const bool wishes = create && WishesPart(flags, walk.shard()) && MakesMany(walk.parent(), walk.shard());
      if ((placed || wishes) && mount_.arenas().IsUnknown(walk.shard())) (void)co_await data_.ArenaOf(walk.shard());
      const bool mapped = mount_.arenas().Get(walk.shard()) != nullptr;
      if (placed && mapped) sent |= kOpenPlaced;
      if (wishes && mapped) sent |= kOpenOwn;
      std::optional<OwnParts::Asking> asking;
      if (create) asking.emplace(mount_.own_parts(), walk.parent(), walk.shard(), walk.name(), wishes);
      const uint64_t revocations = mount_.own_parts().revocations();
      OpenRequest request;
      request.parent = walk.parent();
      request.name = walk.name();
      request.flags = WithSharing(sent, walk.shard());
      request.permissions = permissions;
      request.chunk_bits = create ? mount_.options().chunk_bits : 0;
      CallOptions options = walk.Options();
      target.AddTo(&options);
      status = co_await caller_.Call<Method::kOpen>(walk.shard(), request, &reply, options);
      if (status.ok() && reply.own) {
        OwnPart part;
        if (DecodePayload(target.text(), &part).ok()) {
          LearnPart(walk.parent(), walk.shard(), revocations, reply.attr.chunk_bits, part);
        }
      }
      if (status.ok() && reply.elsewhere) {
        const InodeId inode = reply.attr.inode;
        elsewhere = true;
        reply = OpenReply();
        sent &= ~uint32_t{kOpenPlaced};
        if (placed && mount_.arenas().IsUnknown(inode.home())) (void)co_await data_.ArenaOf(inode.home());
        if (placed && mount_.arenas().Get(inode.home()) != nullptr) sent |= kOpenPlaced;
        status = co_await OpenAtHome(inode, sent & ~kOpenExclusive, Granted(), walk.deadline(), &reply, &target);
      }
      if (status.ok() && reply.attr.type == FileType::kSymlink) {
        if (exclusive) co_return Code::kExists;
        if ((sent & kOpenNoFollow) != 0) {
          co_return (sent & kOpenDirectory) != 0 ? Code::kNotDirectory : Code::kLoop;
        }
        MAYFLY_CO_TRY(walk.Follow(target.text()));
        continue;
      }
    }
    if (status.ok()) {
      Opened opened;
      opened.attr = reply.attr;
      opened.sole = reply.sole;
      opened.counted = !reply.uncounted;
      opened.created = reply.created;
      opened.grant = reply.grant;
      if (reply.placed.told) opened.content = data_.ContentOf(reply.attr, reply.placed, asked);
      if (walk.is_name() && !elsewhere && walker_.known.MightLearn(walk.shard())) {
        if ((flags & kOpenWrite) != 0) {
          walker_.known.Note(walk.entry(), walk.hash());
        } else if (reply.watched.told && walker_.known.IsSecondLook(walk.hash())) {
          Learn(walk.entry(), walk.hash(), {reply.attr, reply.watched, reply.grant, reply.placed}, asked);
        }
      }
      co_return opened;
    }
    if (!Walk::MayRetry(status)) co_return status;
    MAYFLY_CO_TRY(co_await walk.Again(status));
  }
}

Task<Result<int>> Lane::Open(std::string_view path, uint32_t flags, uint16_t permissions) {
  if ((flags & kOpenCreate) != 0 && mount_.own_parts().any()) {
    int fd = -1;
    MAYFLY_CO_TRY(co_await CreateOwn(path, flags, permissions, &fd));
    if (fd >= 0) co_return fd;
  }
  const uint64_t revocations = mount_.revocations();
  auto opened = co_await OpenPath(path, flags, permissions);
  if (!opened.ok()) co_return opened.code();
  const Granted granted{caller_.identity().process, opened->grant};
  auto file = std::make_shared<OpenFile>(mount_, opened->attr, flags, mount_.epoch(), granted);
  file->sole = opened->sole;
  file->counted = opened->counted;
  file->created = opened->created;
  file->content = opened->content;
  file->hold = opened->hold;
  // A home with chunks on other shards does not know the size; what is certain is that it is not small.
  file->size_hint = opened->attr.partial ? kNever : opened->attr.size;
  std::vector<FileRef> others;
  auto fd = mount_.files().Add(file, revocations, &others);
  if (!others.empty()) (void)co_await Yield(std::move(others));  // what failed is with the files
  if (!fd.ok() && file->EndHold()) QueueClose(opened->attr.inode);
  co_return fd;
}

Task<Status> Lane::Create(std::string_view path, bool exclusive, uint16_t permissions) {
  const uint32_t flags =
      kOpenCreate | kOpenWrite | kOpenUnshared | kOpenBrief | (exclusive ? uint32_t{kOpenExclusive} : 0u);
  auto opened = co_await OpenPath(path, flags, permissions);
  co_return opened.ok() ? Code::kOk : opened.code();
}

Task<Status> Lane::Adopt(OpenFile& file) {
  const uint64_t epoch = mount_.epoch();
  if (file.unborn() || file.stillborn != Code::kOk) {
    MAYFLY_CO_TRY(co_await Born(file));
    if (file.epoch.load(std::memory_order_acquire) == epoch) co_return Code::kOk;
  }
  OpenReply reply;
  TargetBuffer target(walker_);
  const uint32_t flags = (file.flags & (kOpenRead | kOpenWrite)) | kOpenUnshared;
  const Nanos deadline = Deadline();
  for (;;) {
    const Status status = co_await OpenAtHome(file.inode, flags, file.original, deadline, &reply, &target);
    if (status.ok()) break;
    // Its parent's open may come after this.
    if (status.code() != Code::kStale || !file.born_to_parent || executor_.now() >= deadline) co_return status;
    co_await executor_.Sleep(walker_.Jitter(kMillisecond));
  }
  file.tag = reply.grant.tag;
  file.counted = !reply.uncounted;
  file.epoch = epoch;  // F4: last
  co_return Code::kOk;
}

}  // namespace mayfly
