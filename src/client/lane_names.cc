// Operations on directory entries. The order of the checks is that of Linux's fs/namei.c, where it decides the errno.
#include "client/lane.h"
#include "client/rights.h"

namespace mayfly {
namespace {

constexpr uint32_t kNoReplace = 1, kExchange = 2;

}  // namespace

Task<Status> Lane::LookAtLast(Walk* walk, Attr* attr) {
  LookupRequest request;
  request.parent = walk->parent();
  request.name = walk->name();
  LookupReply reply;
  TargetBuffer target(walker_);
  CallOptions options = walk->Options();
  target.AddTo(&options);
  Status status = co_await caller_.Call<Method::kLookup>(walk->shard(), request, &reply, options);
  if (status.ok()) *attr = reply.attr;
  co_return status;
}

Task<Status> Lane::Mkdir(std::string_view path, uint16_t permissions) {
  if (MustSettle()) MAYFLY_CO_TRY(co_await Settle());
  Walk walk(walker_, path, Deadline());
  for (;;) {
    if (!walk.TryToParent()) co_await walk.ToParent();
    if (!walk.status().ok()) co_return walk.status();
    if (!walk.is_name()) co_return Code::kExists;
    if (walk.too_long()) co_return Code::kNameTooLong;
    MkdirRequest request;
    request.parent = walk.parent();
    request.name = walk.name();
    request.permissions = permissions;
    AttrReply reply;
    OwnParts::Asking asking(mount_.own_parts(), walk.parent(), walk.shard(), walk.name(), false);
    Status status = co_await caller_.Call<Method::kMkdir>(walk.shard(), request, &reply, walk.Options());
    if (!Walk::MayRetry(status)) co_return status;
    MAYFLY_CO_TRY(co_await walk.Again(status));
  }
}

Task<Status> Lane::Rmdir(std::string_view path) {
  if (MustSettle()) MAYFLY_CO_TRY(co_await Settle());
  Walk walk(walker_, path, Deadline());
  for (;;) {
    if (!walk.TryToParent()) co_await walk.ToParent();
    if (!walk.status().ok()) co_return walk.status();
    if (walk.last() == Walk::Last::kDotDot) co_return Code::kNotEmpty;
    if (walk.last() == Walk::Last::kDot) co_return Code::kInvalid;
    if (walk.last() == Walk::Last::kRoot) co_return Code::kBusy;
    if (walk.too_long()) co_return Code::kNameTooLong;
    NameRequest request;
    request.parent = walk.parent();
    request.name = walk.name();
    Empty reply;
    Status status = co_await caller_.Call<Method::kRmdir>(walk.shard(), request, &reply, walk.Options());
    if (!Walk::MayRetry(status)) co_return status;
    MAYFLY_CO_TRY(co_await walk.Again(status));
  }
}

Task<Status> Lane::Unlink(std::string_view path) {
  if (mount_.own_parts().any()) {
    bool removed = false;
    MAYFLY_CO_TRY(co_await RemoveOwn(path, &removed));
    if (removed) co_return Code::kOk;
  }
  if (MustSettle()) MAYFLY_CO_TRY(co_await Settle());
  Walk walk(walker_, path, Deadline());
  for (;;) {
    if (!walk.TryToParent()) co_await walk.ToParent();
    if (!walk.status().ok()) co_return walk.status();
    if (!walk.is_name()) co_return Code::kIsDirectory;
    if (walk.too_long()) co_return Code::kNameTooLong;
    Status status;
    if (walk.slash()) {
      Attr attr;
      status = co_await LookAtLast(&walk, &attr);
      if (status.ok()) co_return attr.type == FileType::kDirectory ? Code::kIsDirectory : Code::kNotDirectory;
    } else {
      NameRequest request;
      request.parent = walk.parent();
      request.name = walk.name();
      Empty reply;
      const uint64_t version = mount_.own_parts().VersionOf(walk.parent(), walk.shard(), walk.name());
      status = co_await caller_.Call<Method::kUnlink>(walk.shard(), request, &reply, walk.Options());
      if (status.ok() && version != 0) {
        mount_.own_parts().ForgetName(walk.parent(), walk.shard(), walk.name(), version);
      }
    }
    if (!Walk::MayRetry(status)) co_return status;
    MAYFLY_CO_TRY(co_await walk.Again(status));
  }
}

Task<Status> Lane::Symlink(std::string_view target, std::string_view path) {
  if (target.empty()) co_return Code::kNoEntry;
  if (MustSettle()) MAYFLY_CO_TRY(co_await Settle());
  if (target.size() > kTargetBytesMax) co_return Code::kNameTooLong;
  Walk walk(walker_, path, Deadline());
  for (;;) {
    if (!walk.TryToParent()) co_await walk.ToParent();
    if (!walk.status().ok()) co_return walk.status();
    if (!walk.is_name()) co_return Code::kExists;
    if (walk.too_long()) co_return Code::kNameTooLong;
    Status status;
    if (walk.slash()) {  // only a directory could be made there
      Attr there;
      status = co_await LookAtLast(&walk, &there);
      if (status.ok()) co_return Code::kExists;
    } else {
      NameRequest request;
      request.parent = walk.parent();
      request.name = walk.name();
      AttrReply reply;
      OwnParts::Asking asking(mount_.own_parts(), walk.parent(), walk.shard(), walk.name(), false);
      CallOptions options = walk.Options();
      options.payload = AsBytes(target);
      status = co_await caller_.Call<Method::kSymlink>(walk.shard(), request, &reply, options);
    }
    if (!Walk::MayRetry(status)) co_return status;
    MAYFLY_CO_TRY(co_await walk.Again(status));
  }
}

Task<Result<std::string>> Lane::ReadLink(std::string_view path) {
  if (MustSettle()) MAYFLY_CO_TRY(co_await Settle());
  Walk walk(walker_, path, Deadline());
  std::string target;
  Walk::FindOptions find;
  find.follow = false;
  find.target = &target;
  Attr attr;
  MAYFLY_CO_TRY(co_await walk.Find(find, &attr));
  if (attr.type != FileType::kSymlink) co_return Code::kInvalid;
  co_return target;
}

Task<Status> Lane::Link(std::string_view from, std::string_view to) {
  if (MustSettle()) MAYFLY_CO_TRY(co_await Settle());
  const Nanos deadline = Deadline();
  Walk source(walker_, from, deadline);
  Walk walk(walker_, to, deadline);
  Walk::FindOptions find;
  find.follow = false;
  for (;;) {
    Attr attr;
    MAYFLY_CO_TRY(co_await source.Find(find, &attr));
    if (!walk.TryToParent()) co_await walk.ToParent();
    if (!walk.status().ok()) co_return walk.status();
    if (!walk.is_name()) co_return Code::kExists;
    if (walk.too_long()) co_return Code::kNameTooLong;
    Status status;
    if (walk.slash()) {
      Attr there;
      status = co_await LookAtLast(&walk, &there);
      if (status.ok()) co_return Code::kExists;
    } else {
      if (source.is_name()) mount_.own_parts().Doubt(source.parent(), source.shard(), source.name());
      LinkRequest request;
      request.inode = attr.inode;
      request.type = attr.type;
      request.parent = walk.parent();
      request.name = walk.name();
      AttrReply reply;
      status = co_await caller_.Call<Method::kLink>(walk.shard(), request, &reply, walk.Options());
    }
    if (!Walk::MayRetry(status)) co_return status;
    MAYFLY_CO_TRY(co_await walk.Again(status));
    source.Restart();
  }
}

Task<Status> Lane::Rename(std::string_view from, std::string_view to, uint32_t flags) {
  if ((flags & ~(kNoReplace | kExchange)) != 0 || flags == (kNoReplace | kExchange)) co_return Code::kInvalid;
  if (MustSettle()) MAYFLY_CO_TRY(co_await Settle());
  const bool exchange = flags == kExchange;
  const Nanos deadline = Deadline();
  Walk source(walker_, from, deadline);
  Walk walk(walker_, to, deadline);
  for (;;) {
    if (!source.TryToParent()) co_await source.ToParent();
    if (!source.status().ok()) co_return source.status();
    if (!walk.TryToParent()) co_await walk.ToParent();
    // Both walks must be true at one moment, also when the second fails; a path that cannot be one was never walked.
    Status status;
    const bool walked = walk.generation().value != 0;
    if (walked && source.generation() != walk.generation()) status = Code::kGeneration;
    if (status.ok() && !walk.status().ok()) co_return walk.status();
    if (status.ok() && !source.is_name()) co_return Code::kBusy;
    if (status.ok() && !walk.is_name()) {
      status = co_await source.Confirm();
      if (status.ok()) co_return flags == kNoReplace ? Code::kExists : Code::kBusy;
    }
    if (!status.ok()) {
      if (!Walk::MayRetry(status)) co_return status;
      MAYFLY_CO_TRY(co_await source.Again(status));
      walk.Restart();
      continue;
    }
    if (source.too_long()) co_return Code::kNameTooLong;
    // What the request cannot say is looked at first.
    if (walk.too_long() || (exchange && (source.slash() || walk.slash()))) {
      Attr old_attr, new_attr;
      status = co_await LookAtLast(&source, &old_attr);
      if (status.ok() && walk.too_long()) co_return Code::kNameTooLong;
      if (status.ok()) status = co_await LookAtLast(&walk, &new_attr);
      if (status.ok()) {
        if (walk.slash() && new_attr.type != FileType::kDirectory) co_return Code::kNotDirectory;
        if (source.slash() && old_attr.type != FileType::kDirectory) co_return Code::kNotDirectory;
      }
    }
    if (status.ok()) {
      RenameRequest request;
      request.parent = source.parent();
      request.name = source.name();
      request.new_parent = walk.parent();
      request.new_name = walk.name();
      request.flags = flags;
      request.must_be_directory = !exchange && (source.slash() || walk.slash());
      Empty reply;
      const CallOptions options = source.Options();
      status = co_await caller_.Call<Method::kRename>(source.shard(), request, &reply, options);
      if (status.code() == Code::kElsewhere) {
        const ShardId root = walker_.placement.RootShard();
        status = co_await caller_.Call<Method::kRenameDir>(root, request, &reply, options);
      } else if ((status.code() == Code::kIsDirectory || status.code() == Code::kAccess ||
                  status.code() == Code::kPermission) &&
                 !exchange && source.Below(walk.parent()).valid()) {
        // A directory above the source cannot be empty; Linux says that before it looks at rights and types.
        Attr new_attr;
        Status looked = co_await LookAtLast(&walk, &new_attr);
        if (Walk::MayRetry(looked)) status = looked;
        if (looked.code() == Code::kNoEntry && status.code() == Code::kIsDirectory) status = Code::kConflict;
        if (looked.ok() && new_attr.inode == source.Below(walk.parent())) status = Code::kNotEmpty;
      }
    }
    if (!Walk::MayRetry(status)) co_return status;
    MAYFLY_CO_TRY(co_await source.Again(status));
    walk.Restart();
  }
}

}  // namespace mayfly
