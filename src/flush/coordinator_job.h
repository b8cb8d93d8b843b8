// A job of the coordinator. Only its own sources include this.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "flush/coordinator.h"

namespace mayfly::flush_internal {

struct Coordinator::Job {
  explicit Job(Executor& executor) : changed(executor) {}

  uint64_t id = 0;
  FlushSpec spec;
  std::string source;  // plain path: "" is the root
  Nanos began = 0;
  std::shared_ptr<FlushJob> flush;  // this shard's part, which also says when to stop
  // The source, once found.
  InodeId source_inode;
  std::string only;  // the source is this one file or symlink of the directory source_inode
  bool target_made = false;

  std::vector<Directory> directories;  // parents before children
  std::set<Part*> parts;               // under way
  uint64_t files_total = 0, bytes_total = 0;
  FlushOutcome outcome;              // of what has ended
  std::vector<std::string> missing;  // lines of the report
  size_t missing_bytes = 0;          // that they take there
  uint64_t missing_cut = 0;          // files that no line names
  Code stop_code = Code::kOk;        // why something is missing
  bool done = false;
  Code result = Code::kOk;
  std::string report;
  WaitQueue changed;
};

// Prepared by Conclude, as JSON.
struct ReportFacts {
  std::string_view result;
  std::string source, target;
  const FlushOutcome* outcome = nullptr;
  const std::vector<std::string>* missing = nullptr;
  uint64_t missing_cut = 0;
  uint64_t directories = 0;
  double seconds = 0;
  bool verified = false;
};
std::string ReportJson(const ReportFacts& facts);

}  // namespace mayfly::flush_internal
