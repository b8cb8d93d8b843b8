// Operations on attributes: the path leads to the inode, the inode's home does the rest.
#include "client/lane.h"
#include "client/rights.h"

namespace mayfly {

Task<Status> Lane::Locate(const Target* target, Walk* walk, Attr* attr) {
  if (target->file != nullptr) {
    OpenFile& file = *target->file;
    if (file.epoch.load(std::memory_order_acquire) != mount_.epoch()) MAYFLY_CO_TRY(co_await Adopt(file));
    attr->inode = file.inode;
    attr->type = file.type;
    attr->chunk_bits = file.chunk_bits;
    co_return Code::kOk;
  }
  if (MustSettle()) MAYFLY_CO_TRY(co_await Settle());
  Walk::FindOptions find;
  find.follow = target->follow;
  co_return co_await walk->Find(find, attr);
}

Task<Result<Attr>> Lane::Stat(std::string_view path, bool follow) {
  if (MustSettle()) MAYFLY_CO_TRY(co_await Settle());
  Walk walk(walker_, path, Deadline());
  Walk::FindOptions find;
  find.follow = follow;
  find.exact = true;
  LookupReply told;
  find.told = &told;
  if (MayBeNoted() && walk.TryToParent() && walk.status().ok() && walk.is_name() && !walk.too_long()) {
    (void)co_await LookUpNoted(&walk);
  }
  const Nanos asked = executor_.now();
  Attr attr;
  MAYFLY_CO_TRY(co_await walk.Find(find, &attr));
  if (told.watched.told) {
    Learn(walk.entry(), walk.hash(), told, asked);
  } else if (attr.type == FileType::kFile && walk.is_name() && walker_.known.IsUnknown(walk.shard())) {
    (void)co_await data_.ArenaOf(walk.shard());  // the next is told of
  }
  if (attr.type == FileType::kFile && mount_.buffered() != 0) {
    // The home asks other processes for what they hold, but not this one.
    bool held = false;
    for (const FileRef& file : mount_.files().Of(mount_, attr.inode)) held |= file->buffered;
    if (held) {
      MAYFLY_CO_TRY(co_await FlushInode(attr.inode));
      auto now = co_await data_.GetAttr(attr.inode, true);
      if (now.ok()) attr = *now;  // else it was removed meanwhile: what was found was true
    }
  }
  co_return attr;
}

Task<Result<Attr>> Lane::Stat(FileRef file) {
  if (file->epoch.load(std::memory_order_acquire) != mount_.epoch()) MAYFLY_CO_TRY(co_await Adopt(*file));
  if (file->buffered) MAYFLY_CO_TRY(co_await FlushInode(file->inode));
  // How many links there are.
  const bool may_change = file->type == FileType::kDirectory || mount_.outbox().HasRemovals();
  if (may_change && MustSettle()) MAYFLY_CO_TRY(co_await Settle());
  co_return co_await data_.GetAttr(file->inode, true);
}

Task<Status> Lane::Access(std::string_view path, uint32_t want, bool follow) {
  if (MustSettle()) MAYFLY_CO_TRY(co_await Settle());
  Walk walk(walker_, path, Deadline());
  Walk::FindOptions find;
  find.follow = follow;
  Attr attr;
  MAYFLY_CO_TRY(co_await walk.Find(find, &attr));
  co_return HasRights(mount_.cred(), attr, want) ? Code::kOk : Code::kAccess;
}

// After this process truncated a file by path: the home does not wait for the leases of who asks.
Task<void> Lane::EndLeases(InodeId inode) {
  std::vector<FileRef> leased = mount_.files().Of(mount_, inode);
  std::erase_if(leased, [](const FileRef& file) { return !file->leased; });
  if (!leased.empty()) (void)co_await Yield(std::move(leased));
}

Task<Status> Lane::SetAttr(Target target, SetAttrRequest change) {
  Walk walk(walker_, target.file != nullptr ? "/" : target.path, Deadline());
  for (;;) {
    Attr attr;
    MAYFLY_CO_TRY(co_await Locate(&target, &walk, &attr));
    if (mount_.buffered() != 0) (void)co_await FlushInode(attr.inode);
    if ((change.mask & kSetSize) != 0 && attr.type == FileType::kFile) {
      if (change.size > DataPath::SizeMax(attr.chunk_bits)) co_return Code::kFileTooBig;
    }
    change.inode = attr.inode;
    if ((change.mask & kByHandle) != 0) change.grant = target.file->grant();
    AttrReply reply;
    const CallOptions options = ByHandle(walk.deadline());
    Status status = co_await caller_.Call<Method::kSetAttr>(attr.inode.home(), change, &reply, options);
    if ((change.mask & kSetSize) != 0) co_await EndLeases(attr.inode);
    if (!Walk::MayRetry(status) || (target.file != nullptr && status.code() == Code::kStale)) co_return status;
    MAYFLY_CO_TRY(co_await walk.Again(status));
  }
}

Task<Result<size_t>> Lane::GetXattr(Target target, std::string_view name, MutableBytes value) {
  Walk walk(walker_, target.file != nullptr ? "/" : target.path, Deadline());
  std::unique_ptr<uint8_t[]> room;
  for (;;) {
    Attr attr;
    MAYFLY_CO_TRY(co_await Locate(&target, &walk, &attr));
    XattrRequest request;
    request.inode = attr.inode;
    request.name = name;
    size_t bytes = 0;
    Empty reply;
    // The value may be longer than the caller's room, which is for the caller to learn.
    if (value.size() < kXattrValueBytesMax && room == nullptr) room = std::make_unique<uint8_t[]>(kXattrValueBytesMax);
    CallOptions options = ByHandle(walk.deadline());
    options.reply_payload = room != nullptr ? MutableBytes(room.get(), kXattrValueBytesMax) : value;
    options.reply_bytes = &bytes;
    Status status = co_await caller_.Call<Method::kGetXattr>(attr.inode.home(), request, &reply, options);
    if (status.ok()) {
      if (value.empty()) co_return bytes;
      if (bytes > value.size()) co_return Code::kRange;
      if (room != nullptr) std::memcpy(value.data(), room.get(), bytes);
      co_return bytes;
    }
    if (!Walk::MayRetry(status) || (target.file != nullptr && status.code() == Code::kStale)) co_return status;
    MAYFLY_CO_TRY(co_await walk.Again(status));
  }
}

Task<Result<size_t>> Lane::ListXattr(Target target, MutableBytes list) {
  Walk walk(walker_, target.file != nullptr ? "/" : target.path, Deadline());
  auto room = std::make_unique<uint8_t[]>(kXattrValueBytesMax);
  for (;;) {
    Attr attr;
    MAYFLY_CO_TRY(co_await Locate(&target, &walk, &attr));
    InodeRequest request;
    request.inode = attr.inode;
    size_t bytes = 0;
    Empty reply;
    CallOptions options = ByHandle(walk.deadline());
    options.reply_payload = MutableBytes(room.get(), kXattrValueBytesMax);
    options.reply_bytes = &bytes;
    Status status = co_await caller_.Call<Method::kListXattr>(attr.inode.home(), request, &reply, options);
    if (status.ok()) {
      if (list.empty()) co_return bytes;
      if (bytes > list.size()) co_return Code::kRange;
      std::memcpy(list.data(), room.get(), bytes);
      co_return bytes;
    }
    if (!Walk::MayRetry(status) || (target.file != nullptr && status.code() == Code::kStale)) co_return status;
    MAYFLY_CO_TRY(co_await walk.Again(status));
  }
}

Task<Status> Lane::SetXattr(Target target, std::string_view name, Bytes value, uint32_t flags) {
  if (value.size() > kXattrValueBytesMax) co_return Code::kTooBig;
  Walk walk(walker_, target.file != nullptr ? "/" : target.path, Deadline());
  for (;;) {
    Attr attr;
    MAYFLY_CO_TRY(co_await Locate(&target, &walk, &attr));
    XattrRequest request;
    request.inode = attr.inode;
    request.name = name;
    request.flags = flags;
    Empty reply;
    CallOptions options = ByHandle(walk.deadline());
    options.payload = value;
    Status status = co_await caller_.Call<Method::kSetXattr>(attr.inode.home(), request, &reply, options);
    if (!Walk::MayRetry(status) || (target.file != nullptr && status.code() == Code::kStale)) co_return status;
    MAYFLY_CO_TRY(co_await walk.Again(status));
  }
}

Task<Status> Lane::RemoveXattr(Target target, std::string_view name) {
  Walk walk(walker_, target.file != nullptr ? "/" : target.path, Deadline());
  for (;;) {
    Attr attr;
    MAYFLY_CO_TRY(co_await Locate(&target, &walk, &attr));
    XattrRequest request;
    request.inode = attr.inode;
    request.name = name;
    Empty reply;
    const CallOptions options = ByHandle(walk.deadline());
    Status status = co_await caller_.Call<Method::kRemoveXattr>(attr.inode.home(), request, &reply, options);
    if (!Walk::MayRetry(status) || (target.file != nullptr && status.code() == Code::kStale)) co_return status;
    MAYFLY_CO_TRY(co_await walk.Again(status));
  }
}

}  // namespace mayfly
