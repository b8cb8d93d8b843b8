#include "world.h"

#include <fcntl.h>
#include <mpi.h>
#include <pmix.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <mutex>

#include "base/check.h"

namespace mayfly {
namespace {

MPI_Comm node = MPI_COMM_NULL;

std::mutex unlinked_mutex;
std::string unlinked;  // by RemoveMpiSegments

constexpr size_t kSentenceBytesMax = 2048;

// MPI_Finalize is loud when there is nothing for it to unlink.
void RestoreMpiSegments() {
  std::lock_guard lock(unlinked_mutex);
  if (!unlinked.empty()) close(open(unlinked.c_str(), O_CREAT | O_EXCL | O_CLOEXEC | O_WRONLY, 0600));
}

// Open MPI puts message buffers in /dev/shm, and complains at length when there is no room: elsewhere, then.
void AvoidFullSharedMemory() {
  constexpr uint64_t kEnough = uint64_t{64} << 20;
  struct statvfs file_system {};
  if (statvfs("/dev/shm", &file_system) != 0 || file_system.f_bavail * file_system.f_frsize >= kEnough) return;
  const char* temporary = std::getenv("TMPDIR");
  setenv("OMPI_MCA_btl_vader_backing_directory", temporary != nullptr && *temporary != 0 ? temporary : "/tmp", 0);
}

// MPI_Init ends with a fence of the launcher, so that nobody sends to a rank that has no receivers yet: Open MPI 4.1's
// TCP calls a null pointer then. But Slurm's fence without data is none where a job has fewer nodes than its TreeWidth
// (each node takes itself for the whole tree; 22.05, and 25.11 reads the same): 2% of the starts on 3 busy nodes ended
// so. One with data goes around a ring and holds. Should it fail, MPI's next call finds out why.
void AwaitAllRanks() {
  if (PMIx_Initialized() == 0) return;  // a launcher without PMIx, or Open MPI's private copy of it
  pmix_value_t value{};
  value.type = PMIX_BOOL;
  value.data.flag = true;
  PMIx_Put(PMIX_GLOBAL, "mayfly.initialized", &value);
  PMIx_Commit();
  pmix_info_t collect{};
  PMIX_INFO_LOAD(&collect, PMIX_COLLECT_DATA, nullptr, PMIX_BOOL);
  PMIx_Fence(nullptr, 0, &collect, 1);
}

}  // namespace

World::World(int* argc, char*** argv) {
  std::array<char, 256> name{};
  gethostname(name.data(), name.size() - 1);
  host_ = name.data();
  rank_ = RankOfEnvironment();
  AvoidFullSharedMemory();
  int provided = 0;
  Check(MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
  AwaitAllRanks();
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  if (provided < MPI_THREAD_FUNNELED) Check(MPI_ERR_OTHER, "MPI_Init_thread (it gives no MPI_THREAD_FUNNELED)");
  int number = 0;
  Check(MPI_Comm_rank(MPI_COMM_WORLD, &number), "MPI_Comm_rank");
  rank_ = static_cast<uint32_t>(number);
  Check(MPI_Comm_size(MPI_COMM_WORLD, &number), "MPI_Comm_size");
  size_ = static_cast<uint32_t>(number);
  Check(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node), "MPI_Comm_split_type");
  MPI_Comm_set_errhandler(node, MPI_ERRORS_RETURN);
  Check(MPI_Comm_rank(node, &number), "MPI_Comm_rank");
  node_rank_ = static_cast<uint32_t>(number);
  Check(MPI_Comm_size(node, &number), "MPI_Comm_size");
  node_size_ = static_cast<uint32_t>(number);
}

void World::Check(int result, const char* call) {
  if (result == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(result, text.data(), &length);
  const std::string cause = fmt::format("{} failed ({}); look at the launcher's messages", call, text.data());
  if (on_error_) on_error_(cause);  // M2
  _exit(3);
}

Outcome<Done> World::Agree(const Outcome<Done>& mine) {
  struct {
    int failed;
    int rank;
  } here{mine.ok() ? 0 : 1, static_cast<int>(rank_)}, first{};
  // MPI_MAXLOC gives the lowest rank among those with the maximum.
  Check(MPI_Allreduce(&here, &first, 1, MPI_2INT, MPI_MAXLOC, MPI_COMM_WORLD), "MPI_Allreduce");
  if (first.failed == 0) return Done{};
  int count = 0;
  Check(MPI_Allreduce(&here.failed, &count, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD), "MPI_Allreduce");
  std::array<char, kSentenceBytesMax> text{};
  uint8_t code = 0;
  if (first.rank == here.rank) {
    const std::string sentence = fmt::format("{}: {}", host_, mine.failure().sentence);
    sentence.copy(text.data(), text.size() - 1);
    code = static_cast<uint8_t>(mine.failure().status.code());
  }
  Check(MPI_Bcast(text.data(), static_cast<int>(text.size()), MPI_CHAR, first.rank, MPI_COMM_WORLD), "MPI_Bcast");
  Check(MPI_Bcast(&code, 1, MPI_UINT8_T, first.rank, MPI_COMM_WORLD), "MPI_Bcast");
  Failure failure = Fail(static_cast<Code>(code), "{}", text.data());
  if (count == 2) failure.sentence += " (1 more rank failed)";
  if (count > 2) failure.sentence += fmt::format(" ({} more ranks failed)", count - 1);
  return failure;
}

std::string World::Share(std::string text, uint32_t root) {
  uint64_t bytes = text.size();
  Check(MPI_Bcast(&bytes, 1, MPI_UINT64_T, static_cast<int>(root), MPI_COMM_WORLD), "MPI_Bcast");
  text.resize(bytes);
  Check(MPI_Bcast(text.data(), static_cast<int>(bytes), MPI_BYTE, static_cast<int>(root), MPI_COMM_WORLD), "MPI_Bcast");
  return text;
}

uint64_t World::ShareOnNode(uint64_t value) {
  Check(MPI_Bcast(&value, 1, MPI_UINT64_T, 0, node), "MPI_Bcast");
  return value;
}

std::vector<std::string> World::GatherAll(const std::string& mine) {
  const int bytes = static_cast<int>(mine.size());
  std::vector<int> counts(size_), offsets(size_);
  Check(MPI_Allgather(&bytes, 1, MPI_INT, counts.data(), 1, MPI_INT, MPI_COMM_WORLD), "MPI_Allgather");
  int64_t total = 0;
  for (uint32_t r = 0; r < size_; ++r) {
    offsets[r] = static_cast<int>(total);
    total += counts[r];
  }
  MAYFLY_CHECK(total <= std::numeric_limits<int>::max());  // 65,534 ranks of 32 KiB
  std::string all(static_cast<size_t>(total), '\0');
  Check(
      MPI_Allgatherv(mine.data(), bytes, MPI_BYTE, all.data(), counts.data(), offsets.data(), MPI_BYTE, MPI_COMM_WORLD),
      "MPI_Allgatherv");
  std::vector<std::string> parts(size_);
  for (uint32_t r = 0; r < size_; ++r) {
    parts[r] = all.substr(static_cast<size_t>(offsets[r]), static_cast<size_t>(counts[r]));
  }
  return parts;
}

uint64_t World::Max(uint64_t mine) {
  uint64_t most = 0;
  Check(MPI_Allreduce(&mine, &most, 1, MPI_UINT64_T, MPI_MAX, MPI_COMM_WORLD), "MPI_Allreduce");
  return most;
}

void World::Finalize() {
  if (node != MPI_COMM_NULL) MPI_Comm_free(&node);
  RestoreMpiSegments();
  Check(MPI_Finalize(), "MPI_Finalize");
}

std::vector<std::string> MpiSegments() {
  const std::string rank = fmt::format(".{}", RankOfEnvironment());
  std::vector<std::string> paths;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    const size_t at = line.find('/');
    if (line.find("/vader_segment.") == std::string::npos || !line.ends_with(rank)) continue;
    if (paths.empty() || paths.back() != line.substr(at)) paths.push_back(line.substr(at));
  }
  return paths;
}

void RemoveMpiSegments() {
  for (const std::string& path : MpiSegments()) {
    if (unlink(path.c_str()) != 0) continue;
    std::lock_guard lock(unlinked_mutex);
    unlinked = path;
  }
}

std::string MpiLauncherDirectory() {
  const char* path = std::getenv("OMPI_MCA_orte_jobfam_session_dir");
  return path != nullptr && *path == '/' ? path : "";
}

uint32_t RankOfEnvironment() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"}) {
    const char* value = std::getenv(name);
    if (value != nullptr) return static_cast<uint32_t>(std::strtoul(value, nullptr, 10));
  }
  return 0;
}

}  // namespace mayfly
