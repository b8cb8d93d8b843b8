#include "session/node_map.h"

#include <cstring>
#include <utility>

#include "base/checksum.h"
#include "base/coding.h"
#include "session/node_map_format.h"
#include "session/private_file.h"

namespace mayfly {
namespace {

constexpr std::string_view kWhat = "node map";

Failure Damaged(const std::string& path, std::string_view reason) {
  return Fail(Code::kCorrupt, "{} {} is damaged ({}): run mayfly clean and start the session again", kWhat, path,
              reason);
}

// A table inside the file; the caller checked that it lies there.
template <class T>
std::span<const T> Table(Bytes bytes, uint64_t at, uint64_t count) {
  return {reinterpret_cast<const T*>(bytes.data() + at), count};
}

// Everything about the bytes that needs no look past the header, then the checksum.
Outcome<NodeMapHeader> ReadHeader(Bytes bytes, const std::string& path) {
  NodeMapHeader header;
  Decoder decoder(bytes);
  decoder.Get(header);
  if (!decoder.ok()) return Damaged(path, "cut short");
  if (std::string_view(header.magic, sizeof header.magic) != kNodeMapMagic) return Damaged(path, "not a node map");
  if (header.version > NodeMap::kVersion) {
    return Fail(Code::kNotSupported,
                "{} {} was written by a newer Mayfly (format {}, known up to {}): load that version", kWhat, path,
                header.version, NodeMap::kVersion);
  }
  if (header.version == 0 || header.header_bytes != NodeMap::kHeaderBytes) return Damaged(path, "header");
  if (header.file_bytes != bytes.size()) {
    return Damaged(path, fmt::format("{} bytes instead of {}", bytes.size(), header.file_bytes));
  }
  if (Checksum(bytes.subspan(kNodeMapSummedFrom)) != header.checksum) return Damaged(path, "checksum");
  if (!CountsAreSane(header)) return Damaged(path, "counts");
  if (NodeMapSections::Of(header).end != bytes.size()) return Damaged(path, "sizes");  // N1: every section is inside
  return header;
}

// The members, or none if a host lies where it should not.
std::vector<Member> ReadMembers(Bytes bytes, const NodeMapHeader& header, const NodeMapSections& at) {
  std::vector<Member> members;
  Decoder decoder(bytes.subspan(at.members, uint64_t{header.members} * kNodeMapMemberBytes));
  const std::string_view hosts = AsText(bytes.subspan(at.hosts, header.host_bytes));
  for (uint32_t i = 0; i < header.members; ++i) {
    uint32_t weight = 0, shards = 0, host_at = 0, host_bytes = 0;
    decoder(weight, shards, host_at, host_bytes);
    if (host_at > hosts.size() || host_bytes > hosts.size() - host_at) return {};
    members.push_back(
        {MemberId(static_cast<uint16_t>(i)), std::string(hosts.substr(host_at, host_bytes)), weight, shards});
  }
  return members;
}

bool AddressesAreSane(std::span<const uint64_t> ends, uint64_t address_bytes) {
  if (ends.front() != 0 || ends.back() != address_bytes) return false;
  for (size_t i = 1; i < ends.size(); ++i) {
    if (ends[i] < ends[i - 1] || ends[i] - ends[i - 1] > NodeMap::kAddressBytesMax) return false;
  }
  return true;
}

void PutTable(std::vector<uint8_t>& file, uint64_t at, std::span<const uint32_t> table) {
  std::memcpy(file.data() + at, table.data(), table.size_bytes());
}

}  // namespace

Outcome<NodeMap> NodeMap::Parse(Bytes bytes, const std::string& path, std::shared_ptr<const void> keeps) {
  MAYFLY_CHECK(reinterpret_cast<uintptr_t>(bytes.data()) % sizeof(uint64_t) == 0);
  Outcome<NodeMapHeader> header = ReadHeader(bytes, path);
  if (!header.ok()) return header.failure();
  const NodeMapSections at = NodeMapSections::Of(*header);
  Result<Layout> layout = Layout::Build(ReadMembers(bytes, *header, at));
  if (!layout.ok() || layout->shard_count() != header->shards) return Damaged(path, "members");
  const auto ends = Table<uint64_t>(bytes, at.address_ends, uint64_t{header->shards} + 1);
  if (!AddressesAreSane(ends, header->address_bytes)) return Damaged(path, "addresses");
  const PlacementTables tables{Table<uint32_t>(bytes, at.slots, header->slots),
                               Table<uint32_t>(bytes, at.order, header->order),
                               Table<uint32_t>(bytes, at.positions, header->shards)};
  Result<Placement> placement = Placement::FromTables(tables, header->shards, keeps);
  if (!placement.ok()) return Damaged(path, "placement");
  return NodeMap(std::make_shared<const Contents>(Contents{
      header->session, header->view, RingOptions{header->ring_points, header->ring_seed}, std::move(layout).value(),
      std::move(placement).value(), ends, bytes.subspan(at.addresses, header->address_bytes), std::move(keeps)}));
}

Outcome<NodeMap> NodeMap::Open(const std::string& path, uint32_t uid) {
  Outcome<std::shared_ptr<const MappedFile>> file = MapPrivateFile({path, kWhat, uid});
  if (!file.ok()) return file.failure();
  return Parse((*file)->bytes(), path, *file);
}

Bytes NodeMap::AddressOf(ShardId shard) const {
  const uint64_t begin = contents_->address_ends[shard.value], end = contents_->address_ends[shard.value + 1];
  return contents_->addresses.subspan(begin, end - begin);
}

Outcome<std::vector<uint8_t>> EncodeNodeMap(const NodeMapSource& source) {
  NodeMapHeader header;
  std::memcpy(header.magic, kNodeMapMagic.data(), kNodeMapMagic.size());
  header.session = source.session;
  header.view = source.view;
  header.members = source.layout.member_count();
  header.shards = source.layout.shard_count();
  header.ring_points = source.ring.points_per_member;
  header.ring_seed = source.ring.seed;
  header.slots = source.placement.slot_count();
  header.order = source.placement.tables().order.size();
  if (source.placement.shard_count() != header.shards || source.addresses.size() != header.shards) {
    return Fail(Code::kInvalid, "the {} cannot be written: {} shards, but {} placed and {} addresses", kWhat,
                header.shards, source.placement.shard_count(), source.addresses.size());
  }
  for (const Member& m : source.layout.members()) header.host_bytes += m.host.size();
  for (const Bytes& address : source.addresses) {
    if (address.size() > NodeMap::kAddressBytesMax) {
      return Fail(Code::kInvalid, "a worker address has {} bytes, more than {}: name fewer network devices in {}",
                  address.size(), NodeMap::kAddressBytesMax, "UCX_NET_DEVICES");
    }
    header.address_bytes += address.size();
  }
  const NodeMapSections at = NodeMapSections::Of(header);
  header.file_bytes = at.end;

  std::vector<uint8_t> file(at.end, 0);
  Encoder members(MutableBytes(file).subspan(at.members, at.address_ends - at.members));
  uint64_t host_at = at.hosts;
  for (const Member& m : source.layout.members()) {
    members(m.weight, m.shards, static_cast<uint32_t>(host_at - at.hosts), static_cast<uint32_t>(m.host.size()));
    std::memcpy(file.data() + host_at, m.host.data(), m.host.size());
    host_at += m.host.size();
  }
  Encoder ends(MutableBytes(file).subspan(at.address_ends, at.slots - at.address_ends));
  Encoder addresses(MutableBytes(file).subspan(at.addresses));
  for (const Bytes& address : source.addresses) {
    ends.Put(uint64_t{addresses.size()});
    addresses.Raw(address.data(), address.size());
  }
  ends.Put(uint64_t{addresses.size()});
  PutTable(file, at.slots, source.placement.tables().slots);
  PutTable(file, at.order, source.placement.tables().order);
  PutTable(file, at.positions, source.placement.tables().positions);

  Encoder(file).Put(header);  // so that the checksum covers the rest of the header
  header.checksum = Checksum(Bytes(file).subspan(kNodeMapSummedFrom));
  Encoder(file).Put(header);
  return file;
}

Outcome<Done> WriteNodeMap(const std::string& path, uint32_t uid, const NodeMapSource& source) {
  Outcome<std::vector<uint8_t>> file = EncodeNodeMap(source);
  if (!file.ok()) return file.failure();
  return WritePrivateFile({path, kWhat, uid, UuidText(source.session)}, *file);
}

Outcome<Done> ReplaceAddresses(const std::string& path, uint32_t uid, View view,
                               std::span<const AddressChange> changes) {
  Outcome<NodeMap> map = NodeMap::Open(path, uid);
  if (!map.ok()) return map.failure();
  if (view <= map->view()) {  // N3
    return Fail(Code::kExists, "{} {} has view {} already, not older than view {}", kWhat, path, map->view().value,
                view.value);
  }
  std::vector<Bytes> addresses;
  for (uint32_t shard = 0; shard < map->layout().shard_count(); ++shard)
    addresses.push_back(map->AddressOf(ShardId(shard)));
  for (const AddressChange& change : changes) {
    if (!map->layout().Has(change.shard)) {
      return Fail(Code::kInvalid, "{} {} has no shard {}", kWhat, path, change.shard.value);
    }
    addresses[change.shard.value] = change.address;
  }
  return WriteNodeMap(path, uid, {map->session(), view, map->layout(), map->ring(), map->placement(), addresses});
}

}  // namespace mayfly
