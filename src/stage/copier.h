// What one thread of a worker does with a piece of a stage-in (wire/stage_messages.h). It writes through the C
// interface alone, and tells its Outbox what it found, did and could not do.
// Invariants  G1  a file's mtime is set last, with all its other attributes and after its bytes are at the servers; so
//                 a copy that was cut short never has the source's size and mtime, and what has both is left alone.
//             G2  nothing is followed: a symlink in the source becomes the same symlink, and one in the way of a file
//             is
//                 replaced.
//             G3  every failure is told with its path; the rest goes on.
//             G4  a file that changes while it is copied is a failure.
//             G5  a piece that looks different from here than to whoever found it is declined, before anything is done.
//             G6  what a server finds mounted in the middle of the source is the command's to copy, as it sees it
//             there.
#pragma once

#include <mayfly/stage_calls.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "stage/source.h"

namespace mayfly::stage {

// Where what has been found and done goes. Of one thread.
class Outbox {
 public:
  virtual ~Outbox() = default;
  StageReport& report() { return report_; }
  // Work for all. If the queue is full, false, and the item is the caller's to do.
  virtual bool Find(StageItem item) = 0;
  // To be called between two steps; sends what has gathered when it is time to. False: stop.
  virtual bool Breathe() = 0;

 protected:
  StageReport report_;
};

// The first name of each file with several, for the process that copies them all.
struct HardLinks {
  std::mutex mutex;
  std::map<std::pair<dev_t, ino_t>, std::string> first;
};

class Copier {
 public:
  // `links`: of the command, which alone copies files with several names; null elsewhere. All outlive it.
  Copier(mayfly_fs* fs, const StageSpec& spec, const Source& source, HardLinks* links, Outbox* outbox);

  StageEnd Do(const StageItem& item);

 private:
  // What a failed call of the C interface, or of the system, said.
  void FailTarget(const std::string& path, const char* what);
  void FailSource(const std::string& path, const char* what);
  void FailSource(const std::string& path, const char* what, int error);

  bool IsMountOfThisNode(int folder, const std::string& name) const;        // G6
  bool LooksTheSame(const StageFacts& seen, const struct stat& now) const;  // G5
  StageEnd MakeDirectory(const StageItem& item);
  bool MakeTarget(const std::string& path);
  bool ListDirectory(const StageItem& item, int folder);
  StageEnd CopyEntries(const StageItem& item);
  bool CopyEntry(const StageItem& item, int folder, const std::string& name, std::vector<std::string>* linked);
  bool CopySymlink(const std::string& path, int folder, const std::string& name, const struct stat& st);
  bool LinkToFirst(const std::string& path, const struct stat& st);
  bool CopyFile(const std::string& path, int folder, const std::string& name, const struct stat& st);
  int OpenTarget(const std::string& path, const struct stat& st, bool* complete);
  bool FillFile(const std::string& path, int source, int fd, const struct stat& st);
  StageEnd CopyRange(const StageItem& item);
  StageEnd CopyRangeOf(const StageItem& item);
  StageEnd EndFile(const StageItem& item);
  StageEnd EndDirectories(const StageItem& item);

  enum class Copied : uint8_t { kAll, kFailed, kStopped };
  Copied CopyBytes(const std::string& path, int source, int fd, uint64_t begin, uint64_t end, bool sparse,
                   uint64_t* last);
  bool CopyXattrs(const std::string& path, int source);
  // `fd` -1: by path. G1
  bool SetAttributes(const std::string& path, int fd, const struct stat& st);
  std::string Target(const std::string& path) const;

  mayfly_fs* const fs_;
  const StageSpec& spec_;
  const Source& source_;
  HardLinks* const links_;
  Outbox& outbox_;
  std::unique_ptr<char[]> buffer_;
  bool stopped_ = false;
  bool counts_failures_ = true;
};

}  // namespace mayfly::stage
