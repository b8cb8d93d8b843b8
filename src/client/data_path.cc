#include "client/data_path.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/checksum.h"
#include "base/log.h"

namespace mayfly {
namespace {

// Tasks in flight, awaited in the order they were started: at most DataPath::kInFlight.
class Window {
 public:
  bool full() const { return last_ - first_ == tasks_.size(); }
  bool empty() const { return last_ == first_; }
  void Push(Task<Status> task) { tasks_[last_++ % tasks_.size()].emplace(std::move(task)); }
  // The oldest; Pop once it was awaited.
  Task<Status>& front() { return *tasks_[first_ % tasks_.size()]; }
  void Pop() { tasks_[first_++ % tasks_.size()].reset(); }

 private:
  std::array<std::optional<Task<Status>>, DataPath::kInFlight> tasks_;
  size_t first_ = 0, last_ = 0;
};

// The parts must fill what arrived (or lies in the runs), and not more than was asked for.
bool PartsFit(const ReadReply& reply, size_t arrived, uint32_t asked) {
  uint64_t data = 0, covered = 0;
  for (const Part& part : reply.parts) {
    covered += part.bytes;
    if (!part.hole) data += part.bytes;
  }
  return data == arrived && covered <= asked;
}

bool SumsFit(const ReadReply& reply, Bytes packed) {
  size_t at = 0;
  for (const Part& part : reply.parts) {
    if (part.hole) continue;
    if (part.sum_known && Checksum(packed.subspan(at, part.bytes)) != part.sum) return false;
    at += part.bytes;
  }
  return true;
}

// The data parts arrived one after the other at the front of `to`; moves each to its place, the last first, and zeros
// what lies between.
uint32_t Spread(const ReadReply& reply, size_t arrived, MutableBytes to) {
  uint32_t covered = 0;
  for (const Part& part : reply.parts) covered += part.bytes;
  uint8_t* end = to.data() + covered;
  const uint8_t* from = to.data() + arrived;
  for (size_t i = reply.parts.size(); i-- > 0;) {
    const Part& part = reply.parts[i];
    end -= part.bytes;
    if (part.hole) {
      std::memset(end, 0, part.bytes);
    } else {
      from -= part.bytes;
      if (from != end) std::memmove(end, from, part.bytes);
    }
  }
  return covered;
}

}  // namespace

uint64_t DataPath::SizeMax(uint8_t chunk_bits) { return std::min(uint64_t{1} << 62, uint64_t{1} << (32 + chunk_bits)); }

DataPath::Piece DataPath::PieceAt(FileId file, uint64_t offset, uint64_t bytes) {
  const uint64_t chunk_bytes = uint64_t{1} << file.chunk_bits;
  Piece piece;
  piece.chunk = ChunkIndex(static_cast<uint32_t>(offset >> file.chunk_bits));
  piece.offset = static_cast<uint32_t>(offset & (chunk_bytes - 1));
  piece.bytes = static_cast<uint32_t>(std::min({bytes, chunk_bytes - piece.offset, uint64_t{kTransferBytesMax}}));
  return piece;
}

Task<Result<Attr>> DataPath::GetAttr(InodeId inode, bool exact) {
  GetAttrRequest request;
  request.inode = inode;
  request.exact_size = exact;
  AttrReply reply;
  CallOptions options;
  options.deadline = Deadline();
  Status status = co_await caller_.Call<Method::kGetAttr>(inode.home(), request, &reply, options);
  if (!status.ok()) co_return status;
  co_return reply.attr;
}

// ---- reading ------------------------------------------------------------------------------------------------------

// One message: `piece` into `to`, verified and spread.
ReadRequest DataPath::RequestFor(FileId file, Piece piece, bool mapped) const {
  ReadRequest request;
  request.inode = file.inode;
  request.grant = file.grant;
  request.chunk = piece.chunk;
  request.offset = piece.offset;
  request.bytes = piece.bytes;
  request.chunk_bits = file.chunk_bits;
  request.want_sums = mount_.options().checksum;
  request.mapped = mapped;
  return request;
}

Task<Status> DataPath::Ask(FileId file, Piece piece, MutableBytes to, ReadReply* reply, uint32_t* covered) {
  ReadRequest request = RequestFor(file, piece, false);
  const ShardId shard = ShardOf(file, piece.chunk);
  ArenaView* arena = nullptr;
  if (piece.bytes >= kMappedReadMin) {
    arena = mount_.arenas().Get(shard);
    if (arena == nullptr && mount_.arenas().BeginAsking(shard)) MAYFLY_CO_TRY(co_await AskForArena(shard, &arena));
  }
  for (bool again = false;;) {
    size_t arrived = 0;
    CallOptions options;
    options.deadline = Deadline();
    options.reply_payload = to;
    options.reply_bytes = &arrived;
    request.mapped = arena != nullptr;
    MAYFLY_CO_TRY(co_await caller_.Call<Method::kRead>(shard, request, reply, options));
    for (const PlacedRun& run : reply->runs) arrived += run.bytes;
    // Where the arena is mapped the shard may send all the same: what it read for this answer alone stays nowhere.
    if (!PartsFit(*reply, arrived, piece.bytes) || (arena == nullptr && !reply->runs.empty())) {
      co_return Code::kCorrupt;
    }
    if (!reply->runs.empty()) {
      const Copied copied = CopyMapped(arena, *reply, to);  // P4
      if (copied == Copied::kOk) {
        for (const Part& part : reply->parts) *covered += part.bytes;
        co_return Code::kOk;
      }
      arena = nullptr;  // next time it is sent
      if (copied == Copied::kMoved) continue;
    } else if (!request.want_sums || SumsFit(*reply, to.first(arrived))) {
      *covered = Spread(*reply, arrived, to);
      co_return Code::kOk;
    }
    ++mount_.counters().checksum_mismatches;
    if (again) {  // P2
      MAYFLY_ERROR("a read of inode {:x}, chunk {} from shard {} failed its checksum twice; its data is damaged there",
                   file.inode.value, piece.chunk.value, shard.value);
      co_return Code::kIo;
    }
    again = true;
  }
}

Task<Status> DataPath::ReadPiece(FileId file, Piece piece, MutableBytes to, Got* got) {
  for (;;) {
    ReadReply reply;
    uint32_t covered = 0;
    MAYFLY_CO_TRY(co_await Ask(file, piece, to, &reply, &covered));
    got->covered += covered;
    got->size_known = reply.size_known;
    got->size = reply.size;
    if (!reply.cut || covered == piece.bytes) co_return Code::kOk;
    if (covered == 0) co_return Code::kCorrupt;  // cut, but nothing: it would never end
    piece.offset += covered;
    piece.bytes -= covered;
    to = to.subspan(covered);
  }
}

// Reads as much as is in flight at a time. *ended: the file ends behind what was read.
Task<Status> DataPath::ReadStride(FileId file, uint64_t offset, MutableBytes to, size_t* done, bool* ended) {
  std::array<Got, kInFlight> got;
  std::array<Piece, kInFlight> pieces;
  size_t count = 0, total = 0;
  Window window;
  while (total < to.size() && count < kInFlight) {
    pieces[count] = PieceAt(file, offset + total, to.size() - total);
    window.Push(ReadPiece(file, pieces[count], to.subspan(total, pieces[count].bytes), &got[count]));
    total += pieces[count++].bytes;
  }
  Status status;
  while (!window.empty()) {
    Task<Status>& oldest = window.front();
    Status one = co_await oldest;
    window.Pop();
    if (!one.ok() && status.ok()) status = one;
  }
  if (!status.ok()) co_return status;

  // Where pieces are short the file's size tells holes from the end.
  bool size_known = false;
  uint64_t size = 0;
  size_t at = 0;
  for (size_t i = 0; i < count; at += pieces[i++].bytes) {
    if (got[i].covered == pieces[i].bytes) continue;
    const uint64_t known_to = offset + at + got[i].covered;
    if (got[i].size_known) {
      size = got[i].size;
      size_known = true;
    } else if (!size_known) {
      auto attr = co_await GetAttr(file.inode, true);
      if (!attr.ok()) co_return attr.code();
      size = attr->size;
      size_known = true;
    }
    if (size <= known_to) {
      *done = at + got[i].covered;
      *ended = true;
      co_return Code::kOk;
    }
    const size_t end = static_cast<size_t>(std::min<uint64_t>(size - offset, at + pieces[i].bytes));
    if (!got[i].size_known) {
      // P3: the missing bytes may have been written between the answer and the size.
      Piece rest = pieces[i];
      rest.offset += got[i].covered;
      rest.bytes = static_cast<uint32_t>(end - at - got[i].covered);
      Got more;
      MAYFLY_CO_TRY(co_await ReadPiece(file, rest, to.subspan(at + got[i].covered, rest.bytes), &more));
      got[i].covered += more.covered;
    }
    const size_t from = at + got[i].covered;
    std::memset(to.data() + from, 0, end - from);
    if (end < at + pieces[i].bytes) {
      *done = end;
      *ended = true;
      co_return Code::kOk;
    }
  }
  *done = total;
  co_return Code::kOk;
}

Task<Result<size_t>> DataPath::Read(FileId file, uint64_t offset, MutableBytes to, uint64_t size_hint) {
  const uint64_t size_max = SizeMax(file.chunk_bits);
  if (offset >= size_max || to.empty()) co_return size_t{0};
  if (to.size() > size_max - offset) to = to.first(static_cast<size_t>(size_max - offset));
  size_t done = 0;
  bool ended = false;
  while (done < to.size() && !ended) {
    // As far as the file is known to go; one piece from there on in case it has grown, then twice as much each time.
    const uint64_t at = offset + done;
    const uint64_t first = PieceAt(file, at, to.size() - done).bytes;
    const uint64_t expected = size_hint > at ? size_hint - at : 0;
    const uint64_t bytes = std::min<uint64_t>(to.size() - done, std::max({first, expected, uint64_t{done}}));
    size_t got = 0;
    Status status = co_await ReadStride(file, at, to.subspan(done, static_cast<size_t>(bytes)), &got, &ended);
    if (!status.ok()) {
      if (done != 0) break;
      co_return status;
    }
    done += got;
  }
  co_return done;
}

// ---- writing ------------------------------------------------------------------------------------------------------

DataPath::Sums DataPath::SumsOf(Bytes data) const {
  Sums sums;
  if (!mount_.options().checksum) return sums;
  for (size_t at = 0; at < data.size(); at += kChecksumBlockBytes) {
    sums.push_back(Checksum(data.subspan(at, std::min<size_t>(kChecksumBlockBytes, data.size() - at))));
  }
  return sums;
}

Task<Status> DataPath::WritePiece(FileId file, Piece piece, Bytes data) {
  const ShardId shard = ShardOf(file, piece.chunk);
  if (data.size() >= kMappedWriteMin) {
    ArenaView* arena = mount_.arenas().Get(shard);
    if (arena == nullptr && mount_.arenas().BeginAsking(shard)) MAYFLY_CO_TRY(co_await AskForArena(shard, &arena));
    Status status;
    if (arena != nullptr && co_await WriteMapped(arena, shard, file, piece, data, &status)) co_return status;
  }
  WriteRequest request;
  request.inode = file.inode;
  request.grant = file.grant;
  request.chunk = piece.chunk;
  request.offset = piece.offset;
  request.chunk_bits = file.chunk_bits;
  request.sums = SumsOf(data);
  Empty reply;
  CallOptions options;
  options.deadline = Deadline();
  options.payload = data;
  co_return co_await caller_.Call<Method::kWrite>(shard, request, &reply, options);
}

Task<Result<size_t>> DataPath::Write(FileId file, uint64_t offset, Bytes data) {
  const uint64_t size_max = SizeMax(file.chunk_bits);
  if (data.empty()) co_return size_t{0};
  if (offset >= size_max) co_return Code::kFileTooBig;
  if (data.size() > size_max - offset) data = data.first(static_cast<size_t>(size_max - offset));
  const Piece first = PieceAt(file, offset, data.size());
  if (first.bytes == data.size()) {
    MAYFLY_CO_TRY(co_await WritePiece(file, first, data));
    co_return data.size();
  }
  Window window;
  size_t sent = 0, done = 0;  // done: the prefix that is written
  Status status;
  while (!window.empty() || (status.ok() && sent < data.size())) {
    while (status.ok() && sent < data.size() && !window.full()) {
      const Piece piece = PieceAt(file, offset + sent, data.size() - sent);
      window.Push(WritePiece(file, piece, data.subspan(sent, piece.bytes)));
      sent += piece.bytes;
    }
    Task<Status>& oldest = window.front();
    Status one = co_await oldest;
    window.Pop();
    if (!one.ok() && status.ok()) status = one;
    if (status.ok()) done += PieceAt(file, offset + done, data.size() - done).bytes;
  }
  if (!status.ok() && done == 0) co_return status;
  co_return done;
}

Task<Result<size_t>> DataPath::Append(FileId file, Bytes data, uint64_t* end) {
  size_t done = 0;
  while (done < data.size()) {
    const Bytes part = data.subspan(done, std::min<size_t>(kTransferBytesMax, data.size() - done));
    AppendRequest request;
    request.inode = file.inode;
    request.grant = file.grant;
    request.sums = SumsOf(part);
    OffsetReply reply;
    CallOptions options;
    options.deadline = Deadline();
    options.payload = part;
    Status status = co_await caller_.Call<Method::kAppend>(file.inode.home(), request, &reply, options);
    if (!status.ok()) {
      if (done != 0) break;
      co_return status;
    }
    done += part.size();
    *end = reply.offset + part.size();
  }
  co_return done;
}

// ---- ranges and seeking -------------------------------------------------------------------------------------------

Task<Status> DataPath::RangePiece(FileId file, Range kind, Piece piece) {
  RangeRequest request;
  request.inode = file.inode;
  request.grant = file.grant;
  request.chunk = piece.chunk;
  request.offset = piece.offset;
  request.bytes = piece.bytes;
  request.chunk_bits = file.chunk_bits;
  Empty reply;
  CallOptions options;
  options.deadline = Deadline();
  const ShardId shard = ShardOf(file, piece.chunk);
  if (kind == Range::kReserve) {
    co_return co_await caller_.Call<Method::kChunkReserve>(shard, request, &reply, options);
  }
  co_return co_await caller_.Call<Method::kChunkPunch>(shard, request, &reply, options);
}

Task<Status> DataPath::ForRange(FileId file, Range kind, uint64_t offset, uint64_t bytes) {
  const uint64_t chunk_bytes = uint64_t{1} << file.chunk_bits;
  Window window;
  Status status;
  uint64_t sent = 0;
  while (!window.empty() || (status.ok() && sent < bytes)) {
    while (status.ok() && sent < bytes && !window.full()) {
      Piece piece;
      piece.chunk = ChunkIndex(static_cast<uint32_t>((offset + sent) >> file.chunk_bits));
      piece.offset = static_cast<uint32_t>((offset + sent) & (chunk_bytes - 1));
      piece.bytes = static_cast<uint32_t>(std::min(bytes - sent, chunk_bytes - piece.offset));
      window.Push(RangePiece(file, kind, piece));
      sent += piece.bytes;
    }
    Task<Status>& oldest = window.front();
    Status one = co_await oldest;
    window.Pop();
    if (!one.ok() && status.ok()) status = one;
  }
  co_return status;
}

Task<Status> DataPath::SeekAt(FileId file, ShardId shard, uint64_t from, bool hole, OffsetReply* reply) {
  SeekRequest request;
  request.inode = file.inode;
  request.grant = file.grant;
  request.from = from;
  request.hole = hole;
  request.chunk_bits = file.chunk_bits;
  CallOptions options;
  options.deadline = Deadline();
  co_return co_await caller_.Call<Method::kChunkSeek>(shard, request, reply, options);
}

Task<Result<uint64_t>> DataPath::Seek(FileId file, uint64_t from, bool hole) {
  ShardsRequest request;
  request.inode = file.inode;
  request.grant = file.grant;
  ShardsReply answer;
  const uint32_t shard_count = mount_.placement().shard_count();
  std::vector<uint32_t> shards(shard_count);
  size_t bytes = 0;
  CallOptions options;
  options.deadline = Deadline();
  options.reply_payload = MutableBytes(reinterpret_cast<uint8_t*>(shards.data()), shards.size() * sizeof(uint32_t));
  options.reply_bytes = &bytes;
  MAYFLY_CO_TRY(co_await caller_.Call<Method::kShards>(file.inode.home(), request, &answer, options));
  shards.resize(bytes / sizeof(uint32_t));
  const uint32_t home = file.inode.home().value;
  if (std::find(shards.begin(), shards.end(), home) == shards.end()) shards.push_back(home);
  for (uint32_t shard : shards) {
    if (shard >= shard_count) co_return Code::kCorrupt;
  }
  const uint64_t size = answer.attr.size;
  if (from >= size) co_return Code::kNoDevice;

  if (hole) {
    const uint64_t chunk_bytes = uint64_t{1} << file.chunk_bits;
    uint64_t next = 0;
    for (uint64_t at = from; at < size; at = next) {
      next = (at | (chunk_bytes - 1)) + 1;
      const ShardId shard = ShardOf(file, ChunkIndex(static_cast<uint32_t>(at >> file.chunk_bits)));
      if (std::find(shards.begin(), shards.end(), shard.value) == shards.end()) co_return at;  // it has none of it
      OffsetReply reply;
      MAYFLY_CO_TRY(co_await SeekAt(file, shard, at, true, &reply));
      if (reply.found && reply.offset < next) co_return std::clamp(reply.offset, from, size);
    }
    co_return size;  // the end counts as a hole
  }

  uint64_t nearest = kNever;
  std::vector<OffsetReply> replies(shards.size());
  Window window;
  Status status;
  size_t asked = 0;
  while (!window.empty() || (status.ok() && asked < shards.size())) {
    while (status.ok() && asked < shards.size() && !window.full()) {
      window.Push(SeekAt(file, ShardId(shards[asked]), from, false, &replies[asked]));
      ++asked;
    }
    Task<Status>& oldest = window.front();
    Status one = co_await oldest;
    window.Pop();
    if (!one.ok() && status.ok()) status = one;
  }
  if (!status.ok()) co_return status;
  for (const OffsetReply& reply : replies) {
    if (reply.found) nearest = std::min(nearest, std::max(reply.offset, from));
  }
  if (nearest >= size) co_return Code::kNoDevice;
  co_return nearest;
}

}  // namespace mayfly
