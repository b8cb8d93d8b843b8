// StageBoard: the queues of the stage-ins of a session, kept by the root's shard. Workers take pieces, give them back,
// and put in what they found (wire/stage_messages.h). It knows nothing of messages, time or waiting: a plain value that
// says who may take what, and when a job is over. A job copies first; when nothing is left and nothing is out it sets
// the attributes of the directories, deepest first (making an entry changes its directory's times, and a directory may
// end up closed to its owner).
// Invariants  B1  a piece is in one queue, or out with one worker, or has ended; a job is over when there is none left.
//             B2  at most `streams` pieces of a job are out.
//             B3  a file that was put in as kFile ends (kFileEnd) only when every range of it came back done.
//             B4  a piece whose worker died or gave up has failed, with a sentence: nobody knows what is there of it.
//             B5  two jobs that are not over have targets of which none lies in the other.
//             B6  the command takes what only it can do; the rest only while no server takes part or may still come.
//             B7  workers of an earlier job, of which this board knows nothing because its server was killed, have
//             ended
//                 before a piece is given out.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "wire/stage_messages.h"

namespace mayfly {

class StageBoard {
 public:
  static constexpr uint32_t kCommand = 0;  // the number of that worker
  static constexpr size_t kJobsMax = 16;   // with those that are over
  static constexpr size_t kFailuresMax = 100;
  static constexpr uint64_t kQueuedBytesMax = 32u << 20;  // of entries to copy; more are done where they are found
  static constexpr size_t kBatchMax = 64;                 // directories ended in one piece
  static constexpr size_t kPieceBytesMax = 32 * 1024;     // of an encoded piece, about

  struct Invited {
    uint32_t worker = 0;
    std::string host;
  };
  // kBusy: B5, or too many. `command` is the process that follows the job.
  // `held`: with servers invited, nobody gets a piece before Release (B7).
  Status Open(uint64_t id, StageSpec spec, ClientId command, uint32_t uid, std::vector<Invited> invited,
              bool held = false);
  void Release(uint64_t id);
  // The job cannot be done, as the sentence says: it has failed, and is cancelled.
  void Refuse(uint64_t id, std::string sentence);
  // kNoEntry: no such job, or another user's.
  Status MayUse(uint64_t id, uint32_t uid) const;

  // ---- workers; all give kNoEntry ----
  Status PutIn(uint64_t id, uint32_t worker, StageReport report);
  Status GiveBack(uint64_t id, uint32_t worker, uint64_t item, StageEnd end);
  // The worker takes no part, or cannot be asked to; or takes no more part (B4).
  Status Decline(uint64_t id, uint32_t worker);
  struct Piece {
    bool over = false;
    uint64_t item = 0;  // 0: nothing to do now
    StageItem what;
    uint32_t waiting = 0;
    bool full = false;
  };
  // From its first call on the worker takes part. `process` is whose death B4 speaks of.
  Result<Piece> Take(uint64_t id, uint32_t worker, ClientId process);
  // How many pieces `servers` (or else the command) could take now; those that wait are woken accordingly.
  size_t Takeable(uint64_t id, bool servers) const;
  // Every server that was invited takes part, or never will.
  bool EveryoneCame(uint64_t id) const;
  // Who has not come yet will not: the command does not wait for servers any more.
  void StopWaiting(uint64_t id);

  // ---- the command ----
  void Cancel(uint64_t id);
  bool IsOver(uint64_t id) const;  // or cancelled: there is nothing more to take
  Status StatusOf(uint64_t id, StageStatusReply* status, StageSummary* summary) const;
  // A process died: a command's jobs are cancelled, a worker's pieces lost.
  void Gone(ClientId process);

  std::vector<uint64_t> Running() const;

 private:
  struct Queued {
    StageItem what;
    uint64_t large = 0;
  };
  struct Out {
    Queued piece;
    uint32_t worker = 0;
  };
  // A file that is copied by ranges.
  struct Large {
    StageItem file;
    uint64_t next = 0;  // where the next range begins
    uint32_t out = 0;   // ranges, or waiting in a queue again
    bool failed = false;
  };
  struct Worker {
    enum class State : uint8_t { kInvited, kTakesPart, kDeclined, kGone } state = State::kInvited;
    std::string host;
    ClientId process;
    StageCounts counts;
  };
  struct Ending {
    std::string path;
    StageFacts facts;
    bool command_only = false;
  };
  struct Job {
    uint64_t id = 0;
    StageSpec spec;
    ClientId command;
    uint32_t uid = 0;
    bool cancelled = false;
    bool over = false;
    bool held = false;                               // B7
    bool patient = true;                             // servers that were invited may still come
    std::deque<Queued> again, entries, directories;  // `again`: ranges that came back, ends
    std::deque<Queued> own;                          // of the command
    std::deque<uint64_t> ranges;                     // files with ranges to begin
    uint64_t queued_bytes = 0;                       // of `entries`
    std::map<uint64_t, Large> larges;
    std::map<uint64_t, Out> out;
    std::map<uint32_t, Worker> workers;
    std::map<uint32_t, std::vector<Ending>> endings;  // by depth
    StageCounts counts;
    std::vector<std::string> failures;
    uint64_t last = 0;  // item or file
  };

  Job* Find(uint64_t id);
  const Job* Find(uint64_t id) const;
  static bool CommandHelps(const Job& job);
  static size_t General(const Job& job);
  static void Push(Job* job, Queued piece);
  static bool PopGeneral(Job* job, Queued* piece);
  static void Failed(Job* job, uint64_t entries, std::string sentence);
  static void EndRange(Job* job, uint64_t large, bool done);
  static void Ended(Job* job, Out out, StageEnd end);
  static void Lose(Job* job, uint32_t worker);
  // Looks whether the job is over or its directories are next.
  static void Advance(Job* job);

  std::vector<std::unique_ptr<Job>> jobs_;
};

}  // namespace mayfly
