// The birth of a session: from "some processes that MPI knows" to "a filesystem that is ready". Each step ends in an
// agreement: it went well on all ranks, or all know the sentence of the first that failed.
//   options    understood, and the same everywhere
//   session    rank 0 draws uuid and secrets
//   room       enough memory, directories that can be written, no other server on the session file
//   network    a worker a shard; one exchange of addresses; layout and placement, equal on every rank
//   files      node map and session file, on every node and where the user said
//   barrier    every shard asks log2 N others for a sign of life, without MPI
// Afterwards no rank calls MPI until the end. One thread.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "footprint.h"
#include "local_shards.h"
#include "node_book.h"
#include "options.h"
#include "ring/placement.h"
#include "session/charter.h"
#include "watch.h"
#include "wire/header.h"
#include "world.h"

namespace mayfly {

class Bootstrap {
 public:
  Bootstrap(World& world, Watch& watch, Footprint& footprint, CommandLine line)
      : world_(world), watch_(watch), footprint_(footprint), line_(std::move(line)), options_(line_.options) {}

  // The same outcome on every rank. On failure what was started has ended, but the footprint is still there.
  // `serving` is called when clients can do their work but do not yet know.
  Outcome<Done> Run(const std::function<void()>& serving);

  LocalShards& shards() { return *shards_; }
  const NodeBook& book() const { return *book_; }
  // As all ranks agreed: paths are absolute.
  const ServerOptions& options() const { return options_; }
  uint32_t root_rank() const;
  MemberId member() const { return layout_->MemberOf(first_shard_); }
  const std::string& runtime_path() const { return agreed_.runtime_path; }
  std::string ReadySentence() const;
  // Whether a server has died and come back meanwhile: it is not in MPI, and never will be.
  bool SomeoneCameBack() const { return keeper_->newest() > view_; }
  // With --replay dry-run, after Run: what there is, a line each, of all ranks; on the first rank. Whether a recovery
  // would bring back everything, less, or nothing.
  enum class Replayed : uint8_t { kWhole, kDamaged, kRefused };
  const std::string& replay_report() const { return replay_report_; }
  Replayed replayed() const { return replayed_; }
  // Of a degraded session: what is missing, a sentence each; the same on every rank.
  const std::vector<std::string>& missing() const { return missing_; }
  // kInvalid in options: the command line was wrong.
  bool wrong_options() const { return wrong_options_; }

 private:
  // What rank 0 decides for all.
  struct Agreement {
    SessionUuid uuid{};
    Secret secret{}, server_secret{};
    Uuid old{};  // of the session file that is there; zeros: none
    uint64_t created_ns = 0;
    std::string job, session_path, flush_target, runtime_path;
    template <class Io>
    void Fields(Io& io) {
      io.Raw(uuid.data(), uuid.size());
      io.Raw(secret.data(), secret.size());
      io.Raw(server_secret.data(), server_secret.size());
      io.Raw(old.data(), old.size());
      io(created_ns, job, session_path, flush_target, runtime_path);
    }
  };
  // What every rank tells all.
  struct Introduction {
    std::string host;
    uint32_t leader = 0;  // the first rank of its node
    uint32_t member = 0;  // with --recover
    uint32_t weight = 1;
    uint64_t memory_bytes = 0;  // of its member
    std::vector<std::string> addresses;
    std::vector<std::string> stand_ins;  // addresses of shards in the place of others
    template <class Io>
    void Fields(Io& io) {
      io(host, leader, member, weight, memory_bytes, addresses, stand_ins);
    }
  };

  template <class Fn>
  Outcome<Done> Step(const char* doing, Fn step) {
    watch_.SetStep(doing);
    return world_.Agree(step());
  }

  Outcome<Done> Understand();
  Outcome<Done> DrawSession();
  void ShareAgreement();
  Outcome<std::string> StorageOf(const Uuid& uuid) const;
  Outcome<std::string> StorageOf(const Uuid& uuid, uint32_t rank) const;
  Outcome<Done> RecallSession();
  void FindOrder();
  Outcome<Done> FindStorage();
  Outcome<Done> CheckMembers();
  void NameTheMissing();
  bool LeftFiles(const Uuid& uuid) const;
  Outcome<Done> PlanRoom();
  Outcome<Done> CheckOldSession();
  Outcome<Done> CheckUnused();
  Outcome<Done> CheckFlushTarget();
  Outcome<Done> Exchange();
  Outcome<Done> BuildLayout(const std::vector<Introduction>& ranks);
  Outcome<Done> NewMembers(const std::vector<Introduction>& ranks, std::vector<Member>* members,
                           std::vector<std::vector<uint32_t>>* ranks_of) const;
  Outcome<Done> OldMembers(const std::vector<Introduction>& ranks, std::vector<Member>* members,
                           std::vector<std::vector<uint32_t>>* ranks_of) const;
  Outcome<Done> KeepCharter();
  Outcome<Done> ShareDevice(const std::string& path, uint32_t shards);
  Outcome<Done> WriteFiles(SessionState state);
  Outcome<Done> StartShards();
  Outcome<Done> BecomeReady();
  Outcome<Done> Replay();
  Outcome<NodeMap> MapOfThisStart() const;
  // Whether the storage is only read.
  bool reads_only() const { return options_.degraded || options_.dry_run; }
  bool IsMissing(MemberId member) const;
  std::vector<ShardId> MissingShards() const;
  SessionFile DescribeSession(SessionState state) const;
  bool keeps() const { return options_.durability != Durability::kNone; }
  bool per_rank() const { return options_.member_per == ServerOptions::MemberPer::kRank; }

  World& world_;
  Watch& watch_;
  Footprint& footprint_;
  CommandLine line_;
  ServerOptions options_;
  bool wrong_options_ = false;

  Agreement agreed_;
  std::optional<Charter> recalled_;   // with --recover: of the member that this rank is a part of
  std::optional<uint32_t> old_rank_;  // the %r of its storage, if it is not its own
  View view_{1};
  std::vector<MemberId> missing_members_;  // with --recover degraded or --replay dry-run
  std::vector<std::string> missing_;
  std::vector<std::string> damaged_charters_;  // on this node
  std::string replay_report_;
  Replayed replayed_ = Replayed::kWhole;
  std::vector<ShardId> stand_ins_;  // of this rank
  std::string base_;                // see storage.h; empty: nothing outlives the processes
  uint64_t member_bytes_ = 0;
  std::vector<std::string> addresses_;  // by shard of the session
  std::vector<uint32_t> rank_of_shard_;
  ShardId first_shard_;
  std::optional<Layout> layout_;
  std::optional<Placement> placement_;
  std::unique_ptr<NodeBook> book_;
  std::unique_ptr<ViewKeeper> keeper_;
  std::unique_ptr<LocalShards> shards_;
};

}  // namespace mayfly
