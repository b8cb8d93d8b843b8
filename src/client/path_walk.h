// Resolves paths as Linux does, by look-ups that are cached under a namespace generation. A Walker belongs to a lane; a
// Walk is one resolution and lives in the frame of the operation that needs it.
//     Walk walk(walker, path, deadline);
//     for (;;) {
//       if (!walk.TryToParent()) co_await walk.ToParent();
//       if (!walk.status().ok()) co_return walk.status();
//       ... walk.parent(), walk.name(); send the request with walk.Options() ...
//       if (!Walk::MayRetry(status)) co_return status;
//       MAYFLY_CO_TRY(co_await walk.Again(status));
//     }
// Invariants  W1  every request names the generation at which its walk began; a shard that knows a newer one answers
//                 kGeneration and the walk begins again, so what was resolved was true at one moment.
//             W2  ".." goes back along the directories that were walked.
//             W3  the caller may search every directory that was walked (its x permission), up to the parent.
//             W4  what the cache alone decides (an error, "..", a name that is too long) counts only after a shard said
//                 that the cache's generation is still the present one. Denials are never cached.
//             W5  a walk ends: by its result, by 40 symbolic links, or by its deadline.
//             W6  a walk that begins anew for a newer generation asks for the directories it knew all at once: one by
//                 one it might never come to the end of a long path while directories are renamed all the time.
#pragma once

#include <absl/container/inlined_vector.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "client/known_files.h"
#include "client/path_cache.h"
#include "ring/placement.h"
#include "rpc/caller.h"
#include "task/executor.h"
#include "task/task.h"

namespace mayfly {

constexpr size_t kPathBytesMax = 4095;  // without the NUL
constexpr uint32_t kSymlinksMax = 40;

// What all walks of a lane share.
class Walker {
 public:
  Walker(Executor& executor, Caller& caller, const Placement& placement, const Cred& cred, Arenas& arenas,
         uint64_t seed)
      : executor(executor), caller(caller), placement(placement), cred(cred), known(arenas), jitter_(seed | 1) {}

  Executor& executor;
  Caller& caller;
  const Placement& placement;
  const Cred& cred;
  PathCache cache;
  KnownFiles known;

  // Between half and one and a half of `nanos`.
  Nanos Jitter(Nanos nanos);

 private:
  friend class TargetBuffer;
  std::vector<std::unique_ptr<uint8_t[]>> targets_;
  uint64_t jitter_;
};

// Room for a symlink's target, or what an open tells of its directory, which may come as the payload of a reply. From
// the lane's store.
class TargetBuffer {
 public:
  explicit TargetBuffer(Walker& walker) : walker_(walker) {
    if (walker_.targets_.empty()) {
      bytes_ = std::make_unique<uint8_t[]>(kBytes);
    } else {
      bytes_ = std::move(walker_.targets_.back());
      walker_.targets_.pop_back();
    }
  }
  TargetBuffer(const TargetBuffer&) = delete;
  ~TargetBuffer() { walker_.targets_.push_back(std::move(bytes_)); }
  void AddTo(CallOptions* options) {
    options->reply_payload = MutableBytes(bytes_.get(), kBytes);
    options->reply_bytes = &size_;
  }
  std::string_view text() const { return AsText({bytes_.get(), size_}); }

 private:
  static constexpr size_t kBytes =
      std::max<size_t>(kTargetBytesMax + 1, OwnPart::kBytesMax);  // an open may bring either
  Walker& walker_;
  std::unique_ptr<uint8_t[]> bytes_;
  size_t size_ = 0;
};

class Walk {
 public:
  enum class Last : uint8_t { kName, kRoot, kDot, kDotDot };

  // `path` must stay until the walk is over.
  Walk(Walker& walker, std::string_view path, Nanos deadline);
  Walk(const Walk&) = delete;

  // Goes on to the directory of the last component. False if that takes messages: await ToParent() then.
  bool TryToParent() { return (at_parent_ || Advance()) && !MustConfirm(); }
  Task<void> ToParent();
  Status status() const { return status_; }

  // Once it is there: the parent directory, and the last component, which may be too long to exist.
  InodeId parent() const { return stack_.back().inode; }
  std::string_view name() const { return name_; }
  Last last() const { return last_; }
  bool is_name() const { return last_ == Last::kName; }
  bool too_long() const { return name_.size() > kNameBytesMax; }
  bool slash() const { return slash_; }  // the path ended in '/': what it names must be a directory
  NameView entry() const { return {parent(), name_}; }
  uint64_t hash() const { return hash_ ? *hash_ : hash_.emplace(Placement::DentryHash(parent(), name_)); }
  ShardId shard() const { return walker_.placement.ShardOfHash(hash()); }
  // W4, for decisions that the operation takes itself at the parent.
  Task<Status> Confirm();
  // The directory that a last component other than a name stands for, and its own parent.
  InodeId dots() const;
  InodeId above() const;  // the physical parent of dots()
  // The directory that the walk passed right below `dir`; invalid if it did not come through it, or ends there.
  InodeId Below(InodeId dir) const;
  Generation generation() const { return generation_; }
  Nanos deadline() const { return deadline_; }
  CallOptions Options() const;

  // The last component is a symlink to `target`: the walk goes on along it. kLoop if that was one too many.
  Status Follow(std::string_view target);

  struct FindOptions {
    bool follow = true;             // a symlink at the end
    bool exact = false;             // size and times, asking other shards if need be
    bool enter = false;             // stand in the directory that was found, for dots() and above()
    std::string* target = nullptr;  // of the symlink that was found
    LookupReply* told = nullptr;    // of a file that may be watched: what the shard said, parent() and name() being its
  };
  // The attributes of what the path names: without a message if it is a file that is known.
  Task<Status> Find(FindOptions options, Attr* out);

  static bool MayRetry(Status status) {
    const Code code = status.code();
    return code == Code::kGeneration || code == Code::kBusy || code == Code::kConflict || code == Code::kStale;
  }
  // After such a reply: waits a little where that helps and puts the walk back to its beginning. kTimedOut when the
  // deadline came first; kNoEntry when an inode that the path leads to stays away.
  Task<Status> Again(Status status);
  // Back to the beginning.
  void Restart() { Begin(); }

 private:
  struct Dir {
    InodeId inode;
    bool searchable;
  };
  void Begin();
  void TakeLastWay();
  void KeepWay(std::string_view last);
  bool Advance();
  bool MustConfirm() const { return from_cache_ && (!status_.ok() || !is_name() || too_long()); }
  bool Fail(Code code) {
    status_ = code;
    return true;
  }
  Task<Status> LookUpPending();
  void Remember(InodeId parent, std::string_view name);
  Task<void> AskAtOnce();
  static Task<Status> AskFor(Walk* walk, InodeId parent, std::string name);
  Task<Status> LookAtRoot();
  Task<Status> GetAttr(InodeId inode, bool exact, Attr* out);
  void Learned(InodeId parent, std::string_view name, const Attr& attr);

  // A directory that was looked up.
  struct Step {
    InodeId parent;
    std::string name;
  };
  static constexpr size_t kStepsMax = 64;

  Walker& walker_;
  const std::string_view path_;
  const Nanos deadline_;
  Generation generation_;
  Status status_;
  bool at_parent_ = false;
  bool from_cache_ = false;  // a directory of this walk came from the cache, and no shard has confirmed it
  bool slash_ = false;
  Last last_ = Last::kName;
  uint32_t links_ = 0;
  uint32_t tries_ = 0;  // since something changed
  uint32_t stale_ = 0;
  std::string_view rest_;     // what is still to be walked, behind the current component
  std::string_view pending_;  // the component that takes a look-up
  std::string_view name_;
  mutable std::optional<uint64_t> hash_;  // of the name in the parent, once somebody wanted it
  std::vector<Step> steps_;               // of earlier tries, W6
  std::string text_;                      // what rest_ points into once a symlink was followed
  absl::InlinedVector<Dir, 12> stack_;    // the root first, W2
};

}  // namespace mayfly
