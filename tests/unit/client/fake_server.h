// Shards that answer as a test says: real Responders over a SimNetwork, one handler a method, and a small tree and
// small files behind the default ones. It checks that each request comes to the shard that the placement names. One
// thread steps everything (World).
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/checksum.h"
#include "fake/sim_clock.h"
#include "fake/sim_network.h"
#include "fake/sim_random.h"
#include "ring/layout.h"
#include "ring/placement.h"
#include "rpc/caller.h"
#include "rpc/responder.h"

namespace mayfly {

// A request as a handler sees it, and what it may add to the reply.
struct FakeCall {
  ShardId shard;
  Method method = Method::kPing;
  Generation walked_at;
  ClientId process;
  std::vector<uint8_t> payload;
  std::vector<uint8_t> out;  // the reply's payload
};

class FakeServer final : public AddressBook {
 public:
  // The code of the reply; none: not yet, it is asked again after Kick.
  using Handler = std::function<std::optional<Code>(FakeCall&, Bytes body, Encoder& reply)>;

  FakeServer(SimNetwork& network, SimClock& clock, uint32_t shards);
  ~FakeServer() override;

  template <Method M>
  using On_ = std::function<std::optional<Code>(const typename MethodTypes<M>::Request&,
                                                typename MethodTypes<M>::Reply*, FakeCall&)>;
  // Replaces the handler of a method.
  template <Method M>
  void On(On_<M> fn) {
    handlers_[M] = [fn](FakeCall& call, Bytes body, Encoder& out) -> std::optional<Code> {
      typename MethodTypes<M>::Request request;
      typename MethodTypes<M>::Reply reply;
      Decoder d(body);
      request.Fields(d);
      if (!d.Finish().ok()) return Code::kCorrupt;
      auto code = fn(request, &reply, call);
      if (code == Code::kOk) out.Put(reply);
      return code;
    };
  }
  // The next answers of a method are these codes, one each; afterwards its handler again.
  void Script(Method method, std::vector<Code> codes) { scripts_[method] = std::move(codes); }

  bool Step();
  Nanos next() const;
  // Lets what was put off be looked at again.
  void Kick();
  void SetGeneration(uint64_t g);
  Generation generation() const { return generation_; }

  // What came since the last call, and how often a method came.
  size_t count(Method method) const {
    return static_cast<size_t>(
        std::count_if(log.begin(), log.end(), [&](const FakeCall& c) { return c.method == method; }));
  }
  std::vector<FakeCall> log;

  const Placement& placement() const { return *placement_; }
  const Layout& layout() const { return *layout_; }
  Identity identity(uint32_t uid) {
    Identity identity;
    identity.secret = secret_;
    identity.client = ClientId(random_.U64() | 1);
    identity.process = ClientId(random_.U64() | 1);
    identity.cred.uid = identity.cred.gid = uid;
    identity.host = "here";
    return identity;
  }
  uint32_t shard_count() const override { return placement_->shard_count(); }
  Bytes AddressOf(ShardId shard) const override;
  std::string NameOf(ShardId shard) const override { return fmt::format("shard {}", shard.value); }
  SimTransport& transport(uint32_t shard);

  // ---- the tree and the files behind the default handlers ----
  struct Node {
    Attr attr;
    std::string target;
    std::string data;
    std::vector<bool> written;  // by byte; the rest are holes
  };
  std::map<std::pair<uint64_t, std::string>, InodeId> entries;
  std::map<uint64_t, Node> nodes;
  uint8_t chunk_bits = 16;
  bool grant_sole = true;
  uint32_t lease_ms = 0;  // that readers get
  uint32_t read_cut = 0;  // at most so many bytes a read reply; 0: as asked

  // What the default handlers give to who opens, and want of who reads and writes.
  static Grant GrantFor(InodeId inode, ClientId process, uint32_t flags) {
    Grant grant;
    grant.rights = static_cast<uint8_t>(flags & (kOpenRead | kOpenWrite));
    static_assert(uint32_t{kOpenRead} == uint32_t{kGrantRead} && uint32_t{kOpenWrite} == uint32_t{kGrantWrite});
    grant.tag = GrantTag(TagKey{1}, inode, process, 0, grant.rights);
    return grant;
  }
  static void ExpectGrant(const FakeCall& call, InodeId inode, const Grant& grant, uint8_t want) {
    EXPECT_EQ(grant.rights & want, want) << InfoOf(call.method)->name;
    EXPECT_EQ(grant.tag, GrantFor(inode, call.process, grant.rights).tag) << InfoOf(call.method)->name;
  }

  InodeId root() const { return placement_->RootInode(); }
  InodeId Add(InodeId parent, const std::string& name, FileType type, uint16_t permissions = 0755) {
    const InodeId inode = InodeId::Make(placement_->DentryShard(parent, name), ++last_sequence_);
    Node& node = nodes[inode.value];
    node.attr.inode = inode;
    node.attr.type = type;
    node.attr.permissions = permissions;
    node.attr.nlink = type == FileType::kDirectory ? 2 : 1;
    node.attr.chunk_bits = type == FileType::kFile ? chunk_bits : 0;
    entries[{parent.value, name}] = inode;
    return inode;
  }
  InodeId AddLink(InodeId parent, const std::string& name, const std::string& target) {
    const InodeId inode = Add(parent, name, FileType::kSymlink, 0777);
    nodes[inode.value].target = target;
    return inode;
  }
  Node* Find(InodeId parent, std::string_view name) {
    auto found = entries.find({parent.value, std::string(name)});
    return found == entries.end() ? nullptr : &nodes[found->second.value];
  }
  void Put(Node& node, uint64_t offset, Bytes bytes) {
    if (node.data.size() < offset + bytes.size()) node.data.resize(offset + bytes.size());
    if (node.written.size() < node.data.size()) node.written.resize(node.data.size());
    std::copy(bytes.begin(), bytes.end(), node.data.begin() + static_cast<ptrdiff_t>(offset));
    std::fill_n(node.written.begin() + static_cast<ptrdiff_t>(offset), bytes.size(), true);
    node.attr.size = node.data.size();
  }

 private:
  struct Shard;

  static bool ByName(Method m) { return m >= Method::kLookup && m <= Method::kRenameDir; }
  static Task<Status> Serve(FakeServer* self, Shard* shard, Request* r);
  void At(const FakeCall& call, ShardId expected) {
    EXPECT_EQ(call.shard.value, expected.value) << InfoOf(call.method)->name;
  }

  void ServeTree();
  void ServeFiles();

  SimRandom random_;
  std::unique_ptr<Layout> layout_;
  std::unique_ptr<Placement> placement_;
  Secret secret_{};
  Generation generation_{1};
  std::vector<std::unique_ptr<Shard>> shards_;
  std::map<Method, Handler> handlers_;
  std::map<Method, std::vector<Code>> scripts_;
  uint64_t last_sequence_ = 1;
  bool closing_ = false;
};

}  // namespace mayfly
