// Runs operations on a reference and on the side under test and says where they first differ: in a result, in what an
// observer sees afterwards, in who got new times, in a directory stream, or in the whole tree.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "differential_generate.h"
#include "differential_runner.h"

namespace differential {

struct Failure {
  size_t index = 0;    // of the operation
  std::string kind;    // what differs, without values: the same for the same bug
  std::string detail;  // both sides' answers
};

// Where two texts part, with some of what follows.
inline std::string Difference(const std::string& reference, const std::string& tested) {
  if (reference.size() < 400 && tested.size() < 400) return "\n  tmpfs:  " + reference + "\n  tested: " + tested;
  size_t at = 0;
  while (at < reference.size() && at < tested.size() && reference[at] == tested[at]) ++at;
  const size_t from = at < 20 ? 0 : at - 20;
  const auto piece = [&](const std::string& text) {
    return Quote(text.substr(std::min(from, text.size()), 60)) + " of " + std::to_string(text.size());
  };
  return " from byte " + std::to_string(at) + "\n  tmpfs:  " + piece(reference) + "\n  tested: " + piece(tested);
}

inline int64_t Nanoseconds(const timespec& t) { return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec; }
inline int64_t Now() {
  timespec now = {};
  clock_gettime(CLOCK_REALTIME, &now);
  return Nanoseconds(now);
}
// Set by utimens, not by a clock: the generator's times are years away from now.
inline bool IsExplicit(const timespec& t) {
  const int64_t now = Now() / 1'000'000'000;
  return t.tv_sec < now - 864'000 || t.tv_sec > now + 864'000;
}

// The times of one side's inodes, as last seen.
class TimeKeeper {
 public:
  struct News {
    bool fresh = true, mtime = false, ctime = false;
    int64_t before = 0;  // the last look
    bool ctime_went_back = false;
  };
  News Look(const struct stat& st) {
    News news;
    Stamp& last = stamps_[{st.st_dev, st.st_ino}];
    if (last.looked != 0) {
      news.fresh = false;
      news.mtime = Nanoseconds(last.mtime) != Nanoseconds(st.st_mtim);
      news.ctime = Nanoseconds(last.ctime) != Nanoseconds(st.st_ctim);
      news.before = last.looked;
      news.ctime_went_back = Nanoseconds(st.st_ctim) < Nanoseconds(last.ctime);
    }
    last = {st.st_mtim, st.st_ctim, Now()};
    return news;
  }

 private:
  struct Stamp {
    timespec mtime = {}, ctime = {};
    int64_t looked = 0;
  };
  std::map<std::pair<dev_t, ino_t>, Stamp> stamps_;
};

class Lockstep {
 public:
  Lockstep(Side& reference, Side& tested, const Traits& traits)
      : reference_(reference), tested_(tested), traits_(traits) {}

  // Both sides empty; a failure of this ends the run.
  std::string Reset(mode_t umask, bool timed) {
    timed_ = timed;
    times_[0] = times_[1] = {};
    tracks_ = {};
    history_.clear();
    std::string failure = reference_.Reset(umask, traits_.privileged);
    stamped_ = Now();
    return failure.empty() ? tested_.Reset(umask, traits_.privileged) : failure;
  }

  std::optional<Failure> Step(const Op& op, Outcome* learned = nullptr) {
    if (timed_) AwaitTick();
    const Outcome expected = reference_.Execute(op);
    stamped_ = Now();
    const Outcome got = tested_.Execute(op);
    if (learned != nullptr) *learned = expected;
    std::string line = Describe(op) + " = " + ErrnoText(expected.value);
    if (got.value != expected.value) line += " / " + ErrnoText(got.value);
    history_.push_back(line);
    if (expected.value != got.value) {
      return Failure{0, std::string(NameOf(op.kind)) + " result",
                     "returns" + Difference(ErrnoText(expected.value) + " " + Head(expected.text),
                                            ErrnoText(got.value) + " " + Head(got.text))};
    }
    if (expected.text != got.text) {
      return Failure{0, std::string(NameOf(op.kind)) + " content", "gives" + Difference(expected.text, got.text)};
    }
    if (auto failure = TrackStreams(op)) return failure;
    if (op.kind == Kind::kCompare) return CompareTrees(op);
    return op.quiet ? std::nullopt : CompareSeen(op, reference_.Observe(op), tested_.Observe(op));
  }
  const std::vector<std::string>& history() const { return history_; }

 private:
  // Which names a stream must return (there all the time) and which it may.
  struct Track {
    bool active = false, known = true;
    std::set<std::string> stable, ever;
  };
  // Until the clock that tmpfs may stamp with is past all stamps that it has given: some of those are finer, and a tick
  // that comes late may bring it to a moment before them.
  void AwaitTick() const {
    timespec now = {};
    const timespec pause = {0, 300'000};
    while (clock_gettime(CLOCK_REALTIME_COARSE, &now), Nanoseconds(now) <= stamped_) nanosleep(&pause, nullptr);
  }
  static std::string Head(const std::string& text) { return text.size() > 200 ? Quote(text.substr(0, 200)) : text; }

  std::optional<Failure> CompareSeen(const Op& op, const std::vector<Seen>& expected, const std::vector<Seen>& got) {
    for (size_t i = 0; i < expected.size() && i < got.size(); ++i) {
      if (SeenText(expected[i]) != SeenText(got[i])) {
        return Failure{
            0, std::string("after ") + NameOf(op.kind),
            "observed by client" + std::to_string(op.observer) + Difference(SeenText(expected[i]), SeenText(got[i]))};
      }
      if (auto failure = CompareTimes(op, expected[i], got[i])) return failure;
    }
    if (expected.size() != got.size()) return Failure{0, "number of objects", "one side sees more objects"};
    return std::nullopt;
  }

  std::optional<Failure> CompareTimes(const Op& op, const Seen& expected, const Seen& got) {
    if (expected.result != 0) return std::nullopt;
    const TimeKeeper::News want = times_[0].Look(expected.st), is = times_[1].Look(got.st);
    std::string wrong;
    const auto stamp = [&](const char* name, const timespec& w, const timespec& i, bool want_new, bool is_new) {
      if (IsExplicit(w) || IsExplicit(i)) {
        if (Nanoseconds(w) != Nanoseconds(i)) wrong = std::string(name) + " is not the one that was set";
      } else if (want_new != is_new && (timed_ || (want_new && traits_.fine_times))) {
        wrong = std::string(name) + (want_new ? " did not change" : " changed");
      } else if (is_new && (Nanoseconds(i) < is.before - kSlack || Nanoseconds(i) > Now() + kSlack)) {
        wrong = std::string(name) + " is not the time of the change";
      }
    };
    if (want.fresh != is.fresh) wrong = want.fresh ? "the inode is not a new one" : "the inode is another one";
    stamp("mtime", expected.st.st_mtim, got.st.st_mtim, want.mtime, is.mtime);
    stamp("ctime", expected.st.st_ctim, got.st.st_ctim, want.ctime, is.ctime);
    if (is.ctime_went_back) wrong = "ctime went back";
    const bool both = timed_ && want.mtime && want.ctime && is.mtime && is.ctime;
    if (both && SameTimes(expected.st) && !SameTimes(got.st)) wrong = "mtime and ctime of one change differ";
    // Others may look around in /dev/shm and change the access time of a directory of the reference.
    if (op.kind == Kind::kUtimens && traits_.fine_times && S_ISLNK(expected.st.st_mode) != op.follow &&
        IsExplicit(expected.st.st_atim) && IsSet(op) &&
        expected.what.find("stat \"" + ParentOf(op.path)) == std::string::npos &&
        Nanoseconds(expected.st.st_atim) != Nanoseconds(got.st.st_atim)) {
      wrong = "atime is not the one that was set";
    }
    if (wrong.empty()) return std::nullopt;
    const auto text = [](const struct stat& st) {
      return "atime " + TimeText(st.st_atim) + " mtime " + TimeText(st.st_mtim) + " ctime " + TimeText(st.st_ctim);
    };
    return Failure{0, std::string("times after ") + NameOf(op.kind) + ": " + wrong,
                   expected.what + ": " + wrong + Difference(text(expected.st), text(got.st))};
  }
  static bool SameTimes(const struct stat& st) { return Nanoseconds(st.st_mtim) == Nanoseconds(st.st_ctim); }
  static bool IsSet(const Op& op) {
    return !op.null_times && op.times[0].tv_nsec != UTIME_NOW && op.times[0].tv_nsec != UTIME_OMIT;
  }

  std::optional<Failure> CompareTrees(const Op& op) {
    const Tree expected = reference_.ReadTree(op.observer), got = tested_.ReadTree(op.observer);
    for (size_t i = 0; i < std::max(expected.lines.size(), got.lines.size()); ++i) {
      const auto line = [i](const Tree& tree) {
        return i < tree.lines.size() ? Quote(tree.lines[i].first) + " " + tree.lines[i].second : "nothing more";
      };
      if (line(expected) != line(got)) {
        return Failure{0, "tree",
                       "read back by client" + std::to_string(op.observer) + ", " +
                           (i < expected.lines.size() ? Quote(expected.lines[i].first) : "the end") +
                           Difference(line(expected), line(got))};
      }
    }
    if (auto failure = CompareSeen(op, expected.seen, got.seen)) return failure;
    // Which names are one inode.
    std::map<ino_t, size_t> first[2];
    for (size_t i = 0; i < expected.seen.size(); ++i) {
      const size_t a = first[0].emplace(expected.seen[i].st.st_ino, i).first->second;
      const size_t b = first[1].emplace(got.seen[i].st.st_ino, i).first->second;
      if (a != b) return Failure{0, "inodes", expected.seen[i].what + ": hard links differ"};
    }
    return std::nullopt;
  }

  std::optional<Failure> TrackStreams(const Op& op) {
    for (int slot = 0; slot < kDirSlots; ++slot) {
      Runner::StreamSlot& stream = reference_.stream(slot);
      Track& track = tracks_[static_cast<size_t>(slot)];
      const bool here = op.kind >= Kind::kDirOpen && op.kind <= Kind::kDirClose && op.slot == slot;
      if (here && op.kind == Kind::kDirOpen) track = {};
      track.active = stream.stream != nullptr;
      if (!track.active) continue;
      std::set<std::string> now, both;
      reference_.side().Run([&] {
        reference_.side().Act(0);
        if (!stream.stream->NamesNow(&now)) track.known = false;
      });
      // Names that were exchanged may have changed their places in the order, and on tmpfs do.
      if (op.kind == Kind::kRename && op.flags == RENAME_EXCHANGE) {
        for (const std::string& path : {op.path, op.other}) track.stable.erase(NameOfLast(path));
      }
      for (const std::string& name : now) {
        if (track.stable.contains(name) || (here && op.kind == Kind::kDirOpen)) both.insert(name);
      }
      track.stable = both;
      track.ever.insert(now.begin(), now.end());
      if (!here || !track.known) continue;
      // Of tmpfs it was seen that a seek and an unlink after it bring a name twice: nothing to measure by.
      if (!CheckStream(reference_.stream(slot), track).empty()) continue;
      if (std::string wrong = CheckStream(tested_.stream(slot), track); !wrong.empty()) {
        return Failure{0, "stream", tested_.side().name() + ": " + wrong};
      }
    }
    return std::nullopt;
  }
  static std::string CheckStream(const Runner::StreamSlot& stream, const Track& track) {
    std::map<std::string, int> count;
    for (const std::string& name : stream.names) {
      if (++count[name] > 1 && track.stable.contains(name)) return Quote(name) + " was returned twice";
      if (name != "." && name != ".." && !track.ever.contains(name)) return Quote(name) + " was never there";
    }
    if (!stream.ended) return "";
    for (const std::string& name : track.stable) {
      if (count[name] == 0) return Quote(name) + " was there all the time and was not returned";
    }
    return "";
  }

  static constexpr int64_t kSlack = 20'000'000;
  Runner reference_, tested_;
  const Traits traits_;
  bool timed_ = false;
  int64_t stamped_ = 0;  // no later: the reference's last operation
  TimeKeeper times_[2];
  std::array<Track, kDirSlots> tracks_;
  std::vector<std::string> history_;
};

// A smaller sequence that fails in the same way, by leaving out ever smaller pieces.
class Shrinker {
 public:
  Shrinker(Lockstep& lockstep, mode_t umask, bool timed) : lockstep_(lockstep), umask_(umask), timed_(timed) {}

  std::optional<Failure> Replay(const std::vector<Op>& ops) {
    ++replays_;
    if (broken_ = lockstep_.Reset(umask_, timed_); !broken_.empty()) return std::nullopt;
    for (size_t i = 0; i < ops.size(); ++i) {
      if (auto failure = lockstep_.Step(ops[i])) {
        failure->index = i;
        return failure;
      }
    }
    return std::nullopt;
  }
  // `failure` is that of `ops`; both become those of the result. False if it does not happen again.
  bool Shrink(std::vector<Op>* ops, Failure* failure) {
    ops->resize(failure->index + 1);
    if (!Try(*ops, ops, failure)) return false;
    for (size_t piece = ops->size() / 2; piece > 0; piece = piece > 1 ? (piece + 1) / 2 : 0) {
      for (size_t at = 0; at < ops->size();) {
        std::vector<Op> less = *ops;
        less.erase(less.begin() + static_cast<int64_t>(at),
                   less.begin() + static_cast<int64_t>(std::min(at + piece, less.size())));
        if (!Try(less, ops, failure)) at += piece;
      }
    }
    for (size_t i = 0; i < ops->size(); ++i) {
      std::vector<Op> simpler = *ops;
      simpler[i].batch = false;
      simpler[i].quiet = false;
      simpler[i].actor = simpler[i].observer = 0;
      Try(simpler, ops, failure);
    }
    return true;
  }
  int replays() const { return replays_; }
  const std::string& broken() const { return broken_; }

 private:
  static constexpr int kReplays = 500;
  bool Try(const std::vector<Op>& ops, std::vector<Op>* best, Failure* failure) {
    if (ops.empty() || replays_ >= kReplays || !broken_.empty()) return false;
    const auto again = Replay(ops);
    if (!again || again->kind != failure->kind) return false;
    *failure = *again;
    *best = ops;
    best->resize(again->index + 1);
    return true;
  }

  Lockstep& lockstep_;
  const mode_t umask_;
  const bool timed_;
  int replays_ = 0;
  std::string broken_;
};

}  // namespace differential
