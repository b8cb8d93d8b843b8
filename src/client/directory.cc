#include "client/directory.h"

#include <algorithm>

#include "client/rights.h"
#include "task/all.h"

namespace mayfly {
namespace {

// A server is gone, or stands in for one that is: the others' can be had.
bool IsLacking(Code code) { return code == Code::kIo || code == Code::kUnavailable || code == Code::kTimedOut; }

}  // namespace

Task<Result<std::unique_ptr<Directory>>> Directory::Open(Lane* lane, std::string_view path) {
  Walk walk(lane->walker(), path, lane->Deadline());
  Walk::FindOptions find;
  find.enter = true;
  Attr attr;
  MAYFLY_CO_TRY(co_await walk.Find(find, &attr));
  if (attr.type != FileType::kDirectory) co_return Code::kNotDirectory;
  if (!HasRights(lane->mount().cred(), attr, kRightRead)) co_return Code::kAccess;
  auto directory = std::make_unique<Directory>();
  directory->inode_ = walk.dots();
  directory->parent_ = walk.above();
  MAYFLY_CO_TRY(co_await directory->Begin(lane));
  co_return directory;
}

// Asked again (rewinding, in a forked child) it shows what it was granted: the directory's rights may have changed.
Task<Status> Directory::Ask(Lane* lane, ShardsReply* reply, std::vector<uint32_t>* shards) {
  ShardsRequest request;
  request.inode = inode_;
  request.opener = granted_.opener;
  request.grant = granted_.grant;
  shards->resize(lane->mount().placement().shard_count());
  size_t bytes = 0;
  CallOptions options = lane->ByHandle(lane->Deadline());
  options.reply_payload = MutableBytes(reinterpret_cast<uint8_t*>(shards->data()), shards->size() * sizeof(uint32_t));
  options.reply_bytes = &bytes;
  Status status = co_await lane->caller().Call<Method::kShards>(inode_.home(), request, reply, options);
  if (status.code() == Code::kStale) co_return Code::kNoEntry;  // removed, as Linux says of a dead directory
  MAYFLY_CO_TRY(status);
  shards->resize(bytes / sizeof(uint32_t));
  granted_ = Granted{lane->caller().identity().process, reply->grant};
  co_return Code::kOk;
}

// Which shards have entries now; a shard that joins later holds only entries that came later.
Task<Status> Directory::Begin(Lane* lane) {
  ShardsReply reply;
  std::vector<uint32_t> shards;
  auto parent = lane->data().GetAttr(parent_, false);  // on its way meanwhile
  Status status = co_await Ask(lane, &reply, &shards);
  auto above = co_await parent;
  MAYFLY_CO_TRY(status);
  std::sort(shards.begin(), shards.end());
  self_ = reply.attr;
  searchable_ = HasRights(lane->mount().cred(), self_, kRightExecute);
  above_ = above.ok() ? *above : self_;  // the parent of a directory that moves may be gone
  parts_.clear();
  for (uint32_t shard : shards) {
    if (shard >= lane->mount().placement().shard_count()) co_return Code::kCorrupt;
    parts_.emplace_back().shard = ShardId(shard);
  }
  begun_ = true;
  lacking_ = Status();
  GoTo(wanted_);
  co_return Code::kOk;
}

void Directory::SeekTo(uint64_t cookie) {
  wanted_ = cookie;
  if (cookie == 0) begun_ = false;
  if (begun_) GoTo(cookie);
}

void Directory::GoTo(uint64_t cookie) {
  dots_ = static_cast<uint32_t>(std::min<uint64_t>(cookie, 2));
  const uint64_t shard = cookie <= 2 ? 0 : cookie >> kSequenceBits;  // plus one; 0: before all
  const uint64_t after = cookie & ((uint64_t{1} << kSequenceBits) - 1);
  at_ = 0;
  while (at_ < parts_.size() && parts_[at_].shard.value + uint64_t{1} < shard) ++at_;
  for (Part& part : parts_) {
    part.ended = false;
    part.after = shard != 0 && part.shard.value + uint64_t{1} == shard ? after : 0;
    part.entries.clear();
    part.at = 0;
  }
}

Task<Status> Directory::FetchPage(Lane* lane, InodeId dir, Grant grant, Part* part, Status* lacking) {
  if (part->page == nullptr) part->page = std::make_unique<uint8_t[]>(kPageBytesMax);
  part->entries.clear();
  part->at = 0;
  ReadDirRequest request;
  request.dir = dir;
  request.after = part->after;
  request.bytes_max = kPageBytesMax;
  request.grant = grant;
  ReadDirReply reply;
  size_t bytes = 0;
  CallOptions options = lane->ByHandle(lane->Deadline());
  options.reply_payload = MutableBytes(part->page.get(), kPageBytesMax);
  options.reply_bytes = &bytes;
  Status status = co_await lane->caller().Call<Method::kReadDir>(part->shard, request, &reply, options);
  if (status.code() == Code::kStale || status.code() == Code::kNoEntry) {  // its part is gone with the directory
    part->ended = true;
    co_return Code::kOk;
  }
  if (IsLacking(status.code())) {
    *lacking = status;
    part->ended = true;
    co_return Code::kOk;
  }
  MAYFLY_CO_TRY(status);
  Decoder decoder(Bytes(part->page.get(), bytes));
  for (uint32_t i = 0; i < reply.count && decoder.ok(); ++i) decoder.Get(part->entries.emplace_back());
  if (!decoder.Finish().ok()) {
    part->entries.clear();
    co_return Code::kCorrupt;
  }
  part->ended = reply.end || part->entries.empty();
  if (!part->entries.empty()) part->after = part->entries.back().sequence;
  co_return Code::kOk;
}

// An entry whose inode lives elsewhere, or whose size other shards or processes know.
Task<Status> Directory::FetchAttr(Lane* lane, ListingEntry* entry, Status* lacking) {
  (void)co_await lane->FlushInode(entry->attr.inode);  // the home asks other processes, not this one
  auto attr = co_await lane->data().GetAttr(entry->attr.inode, true);
  if (attr.ok()) {
    entry->attr = *attr;
  } else if (attr.code() == Code::kStale || attr.code() == Code::kNoEntry) {
    entry->attr = Attr();  // removed since it was listed: skipped
  } else if (IsLacking(attr.code())) {
    *lacking = attr.status();
    Attr known;
    known.inode = entry->attr.inode;
    known.type = entry->attr.type;
    entry->attr = known;
  } else {
    co_return attr.code();
  }
  co_return Code::kOk;
}

// The next page of each of the next shards that have none.
Task<Status> Directory::Fill(Lane* lane) {
  if (lane->MustSettle()) MAYFLY_CO_TRY(co_await lane->Settle());
  if (granted_.opener != lane->caller().identity().process) {  // a forked child's own is another
    ShardsReply reply;
    std::vector<uint32_t> shards;
    MAYFLY_CO_TRY(co_await Ask(lane, &reply, &shards));
  }
  std::vector<Task<Status>> tasks;
  std::vector<Part*> fetched;
  for (size_t i = at_; i < parts_.size() && i < at_ + kShardsAtOnce; ++i) {
    Part& part = parts_[i];
    if (part.at < part.entries.size() || part.ended) continue;
    tasks.push_back(FetchPage(lane, inode_, granted_.grant, &part, &lacking_));
    fetched.push_back(&part);
  }
  MAYFLY_CO_TRY(co_await All(std::move(tasks)));
  if (!searchable_) co_return Code::kOk;
  constexpr size_t kAttrsAtOnce = 32;
  std::vector<ListingEntry*> partial;
  for (Part* part : fetched) {
    for (ListingEntry& entry : part->entries) {
      if (entry.attr.partial) partial.push_back(&entry);
    }
  }
  for (size_t first = 0; first < partial.size(); first += kAttrsAtOnce) {
    tasks.clear();
    const size_t end = std::min(first + kAttrsAtOnce, partial.size());
    for (size_t i = first; i < end; ++i) tasks.push_back(FetchAttr(lane, partial[i], &lacking_));
    MAYFLY_CO_TRY(co_await All(std::move(tasks)));
  }
  co_return Code::kOk;
}

Attr Directory::Shown(const Attr& attr) const {
  if (searchable_) return attr;
  Attr shown;
  shown.inode = attr.inode;
  shown.type = attr.type;
  return shown;
}

Task<Result<bool>> Directory::Next(Lane* lane, Entry* out) {
  if (!begun_) MAYFLY_CO_TRY(co_await Begin(lane));
  if (dots_ < 2) {
    out->name = dots_ == 0 ? "." : "..";
    out->attr = Shown(dots_ == 0 ? self_ : above_);
    out->cookie = ++dots_;
    co_return true;
  }
  for (;;) {
    while (at_ < parts_.size() && parts_[at_].ended && parts_[at_].at == parts_[at_].entries.size()) {
      parts_[at_].page.reset();  // its views are behind us
      parts_[at_].entries.clear();
      parts_[at_].at = 0;
      ++at_;
    }
    if (at_ == parts_.size()) {
      if (!lacking_.ok()) co_return lacking_;
      co_return false;
    }
    Part& part = parts_[at_];
    if (part.at < part.entries.size()) {
      const ListingEntry& entry = part.entries[part.at++];
      if (!entry.attr.inode.valid()) continue;
      out->name = entry.name;
      out->attr = Shown(entry.attr);
      out->cookie = ((part.shard.value + uint64_t{1}) << kSequenceBits) | entry.sequence;
      co_return true;
    }
    MAYFLY_CO_TRY(co_await Fill(lane));
  }
}

}  // namespace mayfly
