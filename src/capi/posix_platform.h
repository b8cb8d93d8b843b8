// The real platform: session file and node map of this node, UCX and the machine's clock, chance and sleep.
#pragma once

#include <memory>
#include <string>

#include "adapt/posix/cores.h"
#include "adapt/ucx/ucx_worker.h"
#include "capi/platform.h"
#include "session/discover.h"
#include "session/live_map.h"
#include "session/outcome.h"

namespace mayfly {

class PosixPlatform final : public Platform, private AddressBook, private ArenaViews {
 public:
  // Finds the session (session/discover.h) and waits until it is ready, for `wait` at most. Codes: kNotMapped (none),
  // kTimedOut (not ready), kAccess, kNotSupported (another version), or what was wrong with its files.
  static Outcome<std::unique_ptr<PosixPlatform>> Connect(const std::string& session, Nanos wait, UcxOptions ucx);

  std::unique_ptr<Ground> NewGround(std::string* why) override;
  const AddressBook& book() const override { return *this; }
  const Layout& layout() const override { return map_.map().layout(); }
  const Placement& placement() const override { return map_.map().placement(); }
  RingOptions ring() const override { return map_.map().ring(); }
  Identity identity() const override;
  bool SessionIsGone() override;
  bool ServersHaveLeft() override;
  bool servers_come_back() const override { return found_.file.durable; }
  bool syncs() const override { return found_.file.syncs; }
  ArenaViews* arena_views() override { return this; }
  Cores* cores() override { return &cores_; }

 private:
  PosixPlatform(FoundSession found, NodeMap map, std::string runtime_path, UcxOptions ucx);
  uint32_t shard_count() const override { return map_.map().layout().shard_count(); }
  Bytes AddressOf(ShardId shard) const override { return map_.AddressOf(shard); }
  std::string NameOf(ShardId shard) const override;
  bool MayBeHere(ShardId shard) const override;
  std::unique_ptr<ArenaView> Attach(const std::string& name, uint64_t who) override;

  const FoundSession found_;
  const LiveMap map_;
  const std::string runtime_path_;
  const UcxOptions ucx_;
  PosixCores cores_;
  Identity identity_;  // but for the process id, which changes at a fork
};

}  // namespace mayfly
