#include "inspect/salvage_file.h"

#include <fmt/format.h>

#include <algorithm>

#include "flush/text.h"
#include "inspect/piece_reader.h"

namespace mayfly::salvage_internal {

using flush_internal::Attributes;
using flush_internal::Finished;
using flush_internal::Stretch;

bool EndsAll(Code code) {
  return code == Code::kNoSpace || code == Code::kIo || code == Code::kReadOnly || code == Code::kStale ||
         code == Code::kNoMemory || code == Code::kTooManyFiles;
}

Attributes AttributesOf(const Inode& inode, Nanos mtime) {
  Attributes attributes;
  attributes.permissions = inode.permissions;
  attributes.uid = inode.uid;
  attributes.gid = inode.gid;
  attributes.atime = inode.atime;
  attributes.mtime = mtime;
  if (inode.extra != nullptr) attributes.xattrs = inode.extra->xattrs;
  return attributes;
}

FileSaver::FileSaver(const SalvageInput* input) : input_(*input), buffer_(PieceReader::kReadBytesMax) {}

std::string FileSaver::MembersOf(const std::vector<ShardId>& shards) const {
  constexpr size_t kNamed = 4;
  std::vector<uint32_t> members;
  for (const ShardId shard : shards) {
    if (input_.layout->Has(shard)) members.push_back(input_.layout->MemberOf(shard).value);
  }
  std::sort(members.begin(), members.end());
  members.erase(std::unique(members.begin(), members.end()), members.end());
  std::string text;
  for (size_t i = 0; i < members.size() && i < kNamed; ++i) {
    text += fmt::format("{}member {} ({})", i == 0 ? "" : ", ", members[i],
                        input_.layout->member(MemberId(static_cast<uint16_t>(members[i]))).host);
  }
  if (members.size() > kNamed) text += fmt::format(" and {} more", members.size() - kNamed);
  return text.empty() ? "no member of the session" : text;
}

FileSaver::Known FileSaver::KnownOf(InodeId file, const Inode* inode) const {
  Known known;
  if (inode != nullptr) {
    known.begun = input_.shards[file.home().value].tables->SizeBegunFor(file);
    known.shards.push_back(file.home());
    if (inode->extra != nullptr) {
      for (const ShardId shard : inode->extra->shards) {
        if (shard != file.home()) (Has(shard) ? known.shards : known.missing).push_back(shard);
      }
    }
    known.size = inode->size;
    known.mtime = inode->mtime;
  } else {
    known.missing.push_back(file.home());
    for (uint32_t i = 0; i < input_.shards.size(); ++i) {
      if (Has(ShardId(i))) known.shards.push_back(ShardId(i));
    }
  }
  Nanos written = 0;
  for (const ShardId shard : known.shards) {
    const ShardTables& tables = *input_.shards[shard.value].tables;
    const FileFigures figures = tables.store().Figures(file);
    known.size = std::max(known.size, std::min(figures.high_water, LimitAt(known, tables, file)));
    if (shard != file.home()) written = std::max(written, figures.mtime);
  }
  // As a stat would have said (Shard::GlimpseAll).
  if (written != 0 && (inode == nullptr || inode->mtime_set != 0 || written > known.mtime)) known.mtime = written;
  if (known.begun && known.begun->append_end != 0) {
    // An append that nobody was told of, unless somebody wrote behind it.
    if (known.size > known.begun->append_end) {
      known.begun.reset();
    } else {
      known.size = std::min(known.size, known.begun->limit);
    }
  }
  return known;
}

// Of a shard, bytes from there on are not the file's any more.
uint64_t FileSaver::LimitAt(const Known& known, const ShardTables& tables, InodeId file) const {
  if (!known.begun || known.begun->append_end != 0) return ~uint64_t{0};
  // The home cut its own part before it began; the others keep an epoch one above what they were told.
  const bool done = tables.self() == file.home() || tables.store().Figures(file).epoch > known.begun->epoch;
  return done ? ~uint64_t{0} : known.begun->limit;
}

// Whether there were bytes, or a hole, only the shard knew.
void FileSaver::AddMissingChunks(const Inode& inode, const Known& known, Gaps* gaps) const {
  constexpr uint64_t kChunksMax = uint64_t{1} << 22;
  if (known.missing.empty() || known.size == 0) return;
  const uint64_t chunks = ((known.size - 1) >> inode.chunk_bits) + 1;
  if (chunks > kChunksMax) {  // sparse, and longer than a list of its chunks should be: any of them
    gaps->push_back({0, known.size, GapKind::kMissing});
    return;
  }
  for (uint64_t k = 0; k < chunks; ++k) {
    const ShardId shard = input_.placement->ChunkShard(inode.id.home(), ChunkIndex(static_cast<uint32_t>(k)));
    if (std::find(known.missing.begin(), known.missing.end(), shard) == known.missing.end()) continue;
    gaps->push_back({k << inode.chunk_bits, std::min((k + 1) << inode.chunk_bits, known.size), GapKind::kMissing});
  }
}

void FileSaver::AddNotFound(uint64_t size, Gaps* gaps) {
  uint64_t at = 0;
  std::sort(found_.begin(), found_.end());
  for (const auto& [begin, end] : found_) {
    if (begin > at) gaps->push_back({at, begin, GapKind::kMissing});
    at = std::max(at, end);
  }
  if (at < size) gaps->push_back({at, size, GapKind::kMissing});
}

SavedFile FileSaver::Save(InodeId file, const Inode* inode, const std::string& path, const std::string& partial) {
  SavedFile saved;
  const Known known = KnownOf(file, inode);
  saved.size = known.size;
  found_.clear();
  parts_.clear();
  const std::string temporary = flush_internal::TemporaryPath(path, input_.number, file, ++temporaries_);
  std::unique_ptr<PfsFile> out;
  saved.status = input_.target->CreateFile(temporary, &out);
  if (!saved.status.ok()) return saved;
  // Which chunks the missing shards had is not known.
  const bool anywhere = inode == nullptr || (input_.placement == nullptr && !known.missing.empty());
  WriteAll(file, known, *out, anywhere, &saved);
  if (saved.status.ok() && !anywhere) AddMissingChunks(*inode, known, &saved.gaps);
  if (saved.status.ok() && anywhere) AddNotFound(inode != nullptr ? known.size : 0, &saved.gaps);
  SortGaps(&saved.gaps);
  saved.more_behind = !known.missing.empty();
  if (!known.missing.empty()) {
    saved.why = fmt::format("{} of it was on {}", inode == nullptr ? "the inode" : "a part", MembersOf(known.missing));
  }
  const bool nothing = saved.bytes == 0 && (!saved.gaps.empty() || saved.more_behind);
  if (saved.status.ok() && !nothing) {
    const std::string& name = saved.gaps.empty() && !saved.more_behind ? path : partial;
    Finish(inode, known, *out, name, &saved);
    out.reset();
    if (saved.status.ok()) saved.status = flush_internal::PutInPlace(*input_.target, temporary, name, false);
    if (saved.status.ok()) {
      saved.saved_as = name;
      return saved;
    }
  }
  out.reset();
  (void)input_.target->Unlink(temporary);
  return saved;
}

void FileSaver::WriteAll(InodeId file, const Known& known, PfsFile& out, bool note_found, SavedFile* saved) {
  for (const ShardId number : known.shards) {
    const SalvageShard& shard = input_.shards[number.value];
    const StoreLook look(&shard.tables->store());
    uint64_t limit = LimitAt(known, *shard.tables, file);
    if (known.begun && known.begun->append_end != 0) limit = known.begun->limit;
    StoredPiece piece;
    for (uint64_t at = 0; at < limit && look.Next(file, at, &piece) && piece.begin < limit; at = piece.end()) {
      const uint64_t end = std::min(piece.end(), limit);
      if (note_found) found_.push_back({piece.begin, end});
      if (!WritePiece(piece, end, shard, out, saved)) return;
    }
  }
  ReadBack(out, saved);
}

bool FileSaver::WritePiece(const StoredPiece& piece, uint64_t end, const SalvageShard& shard, PfsFile& out,
                           SavedFile* saved) {
  constexpr size_t kPartsMax = 1024;  // S3: 64 MiB of data
  for (uint64_t at = piece.begin; at < end;) {
    const uint64_t behind = std::min(end, at + PieceReader::Stretch(piece, at));
    const MutableBytes data = MutableBytes(buffer_).first(behind - at);
    Gaps gaps;
    shard.bytes->Read(piece, at, data, &gaps);
    SortGaps(&gaps);
    std::vector<Stretch> stretches;
    uint64_t good = at;
    const auto add = [&](uint64_t to) {
      if (to <= good) return;
      Stretch& stretch = stretches.emplace_back();
      stretch.offset = good;
      stretch.data = data.subspan(good - at, to - good);
      saved->bytes += to - good;
    };
    for (const Gap& gap : gaps) {
      add(gap.begin);
      good = gap.end;
    }
    add(behind);
    saved->gaps.insert(saved->gaps.end(), gaps.begin(), gaps.end());
    saved->status = flush_internal::WriteStretches(out, stretches, &parts_);
    if (saved->status.ok() && parts_.size() >= kPartsMax) ReadBack(out, saved);
    if (!saved->status.ok()) return false;
    at = behind;
  }
  return true;
}

// S1.
void FileSaver::ReadBack(PfsFile& out, SavedFile* saved) {
  if (parts_.empty() || !saved->status.ok()) return;
  saved->status = out.Sync();
  out.DropCache(0, 0);
  if (saved->status.ok()) saved->status = flush_internal::ReadBack(out, parts_);
  parts_.clear();
}

void FileSaver::Finish(const Inode* inode, const Known& known, PfsFile& out, const std::string& name,
                       SavedFile* saved) {
  if (inode == nullptr) {  // nobody knows whose it was
    saved->status = out.Truncate(known.size);
    if (saved->status.ok()) saved->status = out.SetTimes(known.mtime, known.mtime);
    if (saved->status.ok()) saved->status = out.Sync();
    return;
  }
  Finished finished = flush_internal::FinishFile(out, known.size, AttributesOf(*inode, known.mtime), name);
  saved->status = std::move(finished.status);
  saved->refusals = std::move(finished.refusals);
}

SavedFile FileSaver::SaveSymlink(const Inode& inode, const std::string& path) {
  SavedFile saved;
  const std::string temporary = flush_internal::TemporaryPath(path, input_.number, inode.id, ++temporaries_);
  const std::string& target = inode.extra != nullptr ? inode.extra->target : std::string();
  saved.size = target.size();
  Finished finished =
      flush_internal::MakeSymlink(*input_.target, temporary, path, target, AttributesOf(inode, inode.mtime));
  saved.refusals = std::move(finished.refusals);
  saved.status = std::move(finished.status);
  if (saved.status.ok()) saved.status = flush_internal::PutInPlace(*input_.target, temporary, path, false);
  if (saved.status.ok()) saved.saved_as = path;
  return saved;
}

}  // namespace mayfly::salvage_internal
