#include "client/path_walk.h"

#include <algorithm>

#include "client/rights.h"

namespace mayfly {
namespace {

constexpr Nanos kBackoffFirst = 50 * kMicrosecond, kBackoffMost = 5 * kMillisecond;
// An entry may for a moment lead to an inode that is being removed. Longer than this it is a damaged namespace.
constexpr uint32_t kStaleMax = 200;

std::string_view WithoutSlashes(std::string_view text) {
  size_t n = 0;
  while (n < text.size() && text[n] == '/') ++n;
  return text.substr(n);
}

}  // namespace

Nanos Walker::Jitter(Nanos nanos) {
  jitter_ ^= jitter_ << 13;
  jitter_ ^= jitter_ >> 7;
  jitter_ ^= jitter_ << 17;
  return nanos / 2 + jitter_ % std::max<Nanos>(nanos, 1);
}

Walk::Walk(Walker& walker, std::string_view path, Nanos deadline) : walker_(walker), path_(path), deadline_(deadline) {
  if (path.empty() || path.size() > kPathBytesMax) {
    status_ = path.empty() ? Code::kNoEntry : Code::kNameTooLong;
    at_parent_ = true;
    return;
  }
  Begin();
}

void Walk::Begin() {
  generation_ = walker_.caller.generation();
  walker_.cache.Enter(generation_);
  stack_.clear();
  const bool everywhere = walker_.cred.uid == 0;
  if (everywhere || walker_.cache.root_searchable()) stack_.push_back({walker_.placement.RootInode(), true});
  rest_ = path_;
  pending_ = {};
  links_ = 0;
  status_ = Status();
  at_parent_ = false;
  from_cache_ = !everywhere && !stack_.empty();
  TakeLastWay();
}

// The way to the directory of the path's last component, if it is the way of the walk before.
void Walk::TakeLastWay() {
  const size_t last = path_.rfind('/') + 1;  // 0: there is none
  if (last == path_.size() || stack_.empty()) return;
  const PathCache::Directories* const way = walker_.cache.WayTo(path_.substr(0, last));
  if (way == nullptr) return;
  stack_.clear();
  for (const InodeId dir : *way) stack_.push_back({dir, true});
  rest_ = path_.substr(last);
  from_cache_ = true;
}

// All of the path but its last component was walked, without a symlink.
void Walk::KeepWay(std::string_view last) {
  const bool plain = links_ == 0 && !slash_ && stack_.size() > 1 && stack_.back().searchable;
  if (!plain) return;
  const std::string_view to = path_.substr(0, static_cast<size_t>(last.data() - path_.data()));
  PathCache::Directories* const way = walker_.cache.SetWay(generation_, to);
  if (way == nullptr) return;
  for (const Dir& dir : stack_) way->push_back(dir.inode);
}

// Walks as far as the cache knows the way. True at the parent, or when it failed; false if something must be asked.
bool Walk::Advance() {
  if (generation_.value == 0 || stack_.empty() || !pending_.empty()) return false;
  hash_.reset();
  for (;;) {
    const std::string_view at = WithoutSlashes(rest_);
    at_parent_ = true;
    if (at.empty()) {  // nothing but slashes
      last_ = Last::kRoot;
      slash_ = true;
      name_ = {};
      return true;
    }
    if (!stack_.back().searchable) return Fail(Code::kAccess);  // W3
    const size_t bytes = std::min(at.find('/'), at.size());
    const std::string_view component = at.substr(0, bytes);
    const std::string_view after = WithoutSlashes(at.substr(bytes));
    const bool dot = component == ".", dotdot = component == "..";
    if (after.empty()) {
      name_ = component;
      slash_ = bytes != at.size();
      last_ = dot ? Last::kDot : dotdot ? Last::kDotDot : Last::kName;
      KeepWay(component);
      return true;
    }
    rest_ = after;
    if (dot) continue;
    if (dotdot) {
      if (stack_.size() > 1) stack_.pop_back();  // W2; above the root is the root
      continue;
    }
    if (component.size() > kNameBytesMax) return Fail(Code::kNameTooLong);
    if (const InodeId dir = walker_.cache.Find(stack_.back().inode, component); dir.valid()) {
      stack_.push_back({dir, true});
      from_cache_ = true;
      continue;
    }
    pending_ = component;
    at_parent_ = false;
    return false;
  }
}

Task<void> Walk::ToParent() {
  for (;;) {
    if (TryToParent()) co_return;
    Status status;
    if (at_parent_) {
      status = co_await Confirm();
    } else if (generation_.value == 0) {
      // No shard has told us the generation yet; the first welcome does.
      Empty empty;
      CallOptions options;
      options.deadline = deadline_;
      status = co_await walker_.caller.Call<Method::kPing>(walker_.placement.RootShard(), empty, &empty, options);
      if (status.ok()) {
        Begin();
        if (generation_.value == 0) status = Code::kIo;  // W1: a shard always knows one
      }
    } else if (stack_.empty()) {
      status = co_await LookAtRoot();
    } else {
      status = co_await LookUpPending();
    }
    if (!status.ok() && MayRetry(status)) status = co_await Again(status);
    if (!status.ok()) {
      status_ = status;
      at_parent_ = true;
      co_return;
    }
  }
}

Task<Status> Walk::LookAtRoot() {
  const InodeId root = walker_.placement.RootInode();
  Attr attr;
  Status status = co_await GetAttr(root, false, &attr);
  if (!status.ok()) co_return status;
  const bool searchable = HasRights(walker_.cred, attr, kRightExecute);
  if (searchable) walker_.cache.SetRootSearchable(generation_);  // W4
  stack_.push_back({root, searchable});
  co_return Code::kOk;
}

// Looks `pending_` up, a component in the middle of the path.
Task<Status> Walk::LookUpPending() {
  LookupRequest request;
  request.parent = parent();
  request.name = pending_;
  LookupReply reply;
  TargetBuffer target(walker_);
  CallOptions options = Options();
  target.AddTo(&options);
  const ShardId shard = walker_.placement.DentryShard(request.parent, request.name);
  Status status = co_await walker_.caller.Call<Method::kLookup>(shard, request, &reply, options);
  if (status.ok()) {
    from_cache_ = false;  // the shard has looked at the generation
    if (reply.attr.type == FileType::kDirectory) {
      Learned(request.parent, request.name, reply.attr);
      if (tries_ > 0) Remember(request.parent, request.name);
      stack_.push_back({reply.attr.inode, HasRights(walker_.cred, reply.attr, kRightExecute)});
      pending_ = {};
    } else if (reply.attr.type == FileType::kSymlink) {
      // The target takes the place of the component: "target/rest".
      std::string text(target.text());
      text += '/';
      text += rest_;
      status = Follow(text);
    } else {
      status = Code::kNotDirectory;
    }
  }
  co_return status;
}

void Walk::Learned(InodeId parent, std::string_view name, const Attr& attr) {
  if (!HasRights(walker_.cred, attr, kRightExecute)) return;  // W4
  walker_.cache.Insert(generation_, parent, name, attr.inode);
}

void Walk::Remember(InodeId parent, std::string_view name) {
  for (const Step& step : steps_) {
    if (step.parent == parent && step.name == name) return;
  }
  if (steps_.size() == kStepsMax) steps_.clear();
  steps_.push_back({parent, std::string(name)});
}

// What it learns is in the cache when the walk comes there; what is no longer true it asks for again.
Task<void> Walk::AskAtOnce() {
  std::vector<Task<Status>> tasks;
  for (const Step& step : steps_) tasks.push_back(AskFor(this, step.parent, step.name));
  for (Task<Status>& task : tasks) (void)co_await task;
}

Task<Status> Walk::AskFor(Walk* walk, InodeId parent, std::string name) {
  LookupRequest request;
  request.parent = parent;
  request.name = name;
  LookupReply reply;
  TargetBuffer target(walk->walker_);
  CallOptions options = walk->Options();
  target.AddTo(&options);
  const ShardId shard = walk->walker_.placement.DentryShard(parent, request.name);
  Status status = co_await walk->walker_.caller.Call<Method::kLookup>(shard, request, &reply, options);
  const bool directory = status.ok() && reply.attr.type == FileType::kDirectory;
  if (directory) walk->Learned(parent, request.name, reply.attr);
  co_return status;
}

// A look-up of a name that nothing can have: the shard looks at the generation first.
Task<Status> Walk::Confirm() {
  if (!from_cache_) co_return Code::kOk;
  LookupRequest request;
  request.parent = parent();
  request.name = ".";
  LookupReply reply;
  const ShardId shard = walker_.placement.DentryShard(request.parent, request.name);
  Status status = co_await walker_.caller.Call<Method::kLookup>(shard, request, &reply, Options());
  if (status.code() != Code::kNoEntry) co_return status.ok() ? Code::kCorrupt : status.code();
  from_cache_ = false;
  co_return Code::kOk;
}

Status Walk::Follow(std::string_view target) {
  if (++links_ > kSymlinksMax) return Code::kLoop;  // W5
  if (target.empty()) return Code::kNoEntry;
  std::string text(target);
  if (at_parent_ && slash_) text += '/';
  if (text[0] == '/') stack_.resize(1, stack_[0]);
  text_ = std::move(text);
  rest_ = text_;
  pending_ = {};
  at_parent_ = false;
  return Code::kOk;
}

InodeId Walk::dots() const {
  if (last_ == Last::kDotDot && stack_.size() > 1) return stack_[stack_.size() - 2].inode;
  return stack_.back().inode;
}

InodeId Walk::above() const {
  const size_t depth = stack_.size() - (last_ == Last::kDotDot && stack_.size() > 1 ? 1 : 0);
  return stack_[depth > 1 ? depth - 2 : 0].inode;
}

InodeId Walk::Below(InodeId dir) const {
  for (size_t i = 0; i + 1 < stack_.size(); ++i) {
    if (stack_[i].inode == dir) return stack_[i + 1].inode;
  }
  return InodeId();
}

CallOptions Walk::Options() const {
  CallOptions options;
  options.deadline = deadline_;
  options.walked_at = generation_;  // W1
  return options;
}

Task<Status> Walk::GetAttr(InodeId inode, bool exact, Attr* out) {
  GetAttrRequest request;
  request.inode = inode;
  request.exact_size = exact;
  AttrReply reply;
  CallOptions options;
  options.deadline = deadline_;
  Status status = co_await walker_.caller.Call<Method::kGetAttr>(inode.home(), request, &reply, options);
  if (status.ok()) *out = reply.attr;
  co_return status;
}

Task<Status> Walk::Find(FindOptions find, Attr* out) {
  for (;;) {
    if (!TryToParent()) co_await ToParent();
    if (!status_.ok()) co_return status_;
    Status status;
    if (!is_name()) {
      status = co_await GetAttr(dots(), find.exact, out);
      if (status.ok()) co_return status;
    } else {
      if (too_long()) co_return Code::kNameTooLong;
      if (const KnownFile* file = slash_ ? nullptr : walker_.known.Find(entry(), hash());
          file != nullptr && file->IsSo(generation_, walker_.executor.now())) {
        *out = file->attr;
        co_return Code::kOk;
      }
      LookupRequest request;
      request.parent = parent();
      request.name = name_;
      request.exact_size = find.exact;
      request.watch = find.told != nullptr && walker_.known.MayLearn(shard()) && walker_.known.IsSecondLook(hash());
      LookupReply reply;
      TargetBuffer target(walker_);
      CallOptions options = Options();
      target.AddTo(&options);
      status = co_await walker_.caller.Call<Method::kLookup>(shard(), request, &reply, options);
      if (status.ok() && reply.attr.type == FileType::kSymlink) {
        if (find.follow || slash_) {
          status = Follow(target.text());
          if (status.ok()) continue;
        } else if (find.target != nullptr) {
          find.target->assign(target.text());
        }
      }
      if (status.ok()) {
        const bool directory = reply.attr.type == FileType::kDirectory;
        if (directory) Learned(request.parent, request.name, reply.attr);
        if (slash_ && !directory) co_return Code::kNotDirectory;
        *out = reply.attr;
        if (reply.watched.told && find.told != nullptr) *find.told = reply;
        if (find.exact && reply.attr.partial) status = co_await GetAttr(reply.attr.inode, true, out);
        if (status.ok() && find.enter && directory) {
          stack_.push_back({reply.attr.inode, HasRights(walker_.cred, reply.attr, kRightExecute)});
          last_ = Last::kDot;
          hash_.reset();
        }
        if (status.ok()) co_return status;
      }
    }
    if (!MayRetry(status)) co_return status;
    MAYFLY_CO_TRY(co_await Again(status));
  }
}

Task<Status> Walk::Again(Status why) {
  const Nanos now = walker_.executor.now();
  if (now >= deadline_) co_return Code::kTimedOut;
  if (why.code() == Code::kStale && ++stale_ > kStaleMax) co_return Code::kNoEntry;
  // A newer generation is a reason to walk at once, unless it changes all the time.
  const bool newer = walker_.caller.generation() > generation_;
  if (!newer || why.code() != Code::kGeneration || ++tries_ > 3) {
    const uint32_t doublings = std::min(tries_++, 7u);
    const Nanos wait = walker_.Jitter(std::min(kBackoffFirst << doublings, kBackoffMost));
    if (now + wait >= deadline_) co_return Code::kTimedOut;
    co_await walker_.executor.Sleep(wait);
  }
  Begin();
  if (why.code() == Code::kGeneration && !steps_.empty()) co_await AskAtOnce();
  co_return Code::kOk;
}

}  // namespace mayfly
