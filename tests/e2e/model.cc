// Several clients at once against a model: processes with some threads each work on the same small trees and files
// (model_worker.h), everything they did is noted with its times, and the notes are checked: whether there is an order
// of the operations that explains every result (model_names.h: paths that moved, names that came and went, nothing in a
// removed directory), and whether sizes and bytes are those of the acknowledged writes (model_data.h).
//
// usage: e2e_model [options]
//   --seed N        default: from the clock; printed
//   --seconds S     how long the clients work (default 40)
//   --processes P   default 3
//   --threads T     of each process (default 2)
//   --posix DIR     a directory of this machine instead of a session. There one cell in a hundred may be wrong: Linux
//                   finds the two ends of a rename's paths one after the other, and moves sizes page by page
//   --self-test     afterwards wrong notes, which must be found
//   --scratch DIR   for the notes (default: $TMPDIR or /tmp)
//   --check DIR     only check the notes in DIR
//   --keep          keep the notes
// Exit code 1: something is wrong. 2: it could not run.
#include <fcntl.h>
#include <getopt.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <filesystem>
#include <iostream>
#include <memory>
#include <thread>

#include "differential_mayfly.h"
#include "model_data.h"
#include "model_worker.h"

namespace model {
namespace {

struct Options {
  Plan plan;
  int processes = 3, threads = 2, child = -1;
  double seconds = 40;
  bool self_test = false, keep = false;
  std::string posix, scratch = std::getenv("TMPDIR") != nullptr ? std::getenv("TMPDIR") : "/tmp", check;
  std::vector<std::string> words;  // to start a child with
};

Shared* MapShared(const std::string& path, bool create) {
  const int fd = ::open(path.c_str(), O_RDWR | (create ? O_CREAT | O_EXCL : 0), 0600);
  if (fd < 0 || (create && ::ftruncate(fd, 4096) != 0)) throw std::runtime_error("cannot open " + path);
  void* at = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  if (at == MAP_FAILED) throw std::runtime_error("cannot map " + path);
  return create ? new (at) Shared() : static_cast<Shared*>(at);
}

// ---- one process of clients ----

class Child {
 public:
  explicit Child(const Options& options)
      : options_(options), shared_(*MapShared(options.check + "/shared", false)), plan_(options.plan) {}

  int Run() {
    if (options_.posix.empty()) {
      mayfly_options session;
      mayfly_options_init(&session);
      session.chunk_bytes = static_cast<uint32_t>(kChunkBytes);
      session.op_timeout_ms = 60'000;
      if (options_.child % 2 == 1) session.write_behind_bytes = session.readahead_bytes = 0;
      if (mayfly_connect(nullptr, &session, &fs_) != 0) throw std::runtime_error(mayfly_error());
    }
    std::atomic<bool> stop{false};
    std::thread mover;
    if (options_.child == 0) {
      mover = std::thread([&] {
        const auto side = MakeSide();
        side->Run([&] { MoveAlways(*side, shared_, stop); });
      });
    }
    std::vector<std::thread> threads;
    for (int i = 0; i < options_.threads; ++i) threads.emplace_back([this, i] { Work(i); });
    for (std::thread& thread : threads) thread.join();
    stop = true;
    if (mover.joinable()) mover.join();
    if (fs_ != nullptr && mayfly_disconnect(fs_) != 0) throw std::runtime_error(mayfly_error());
    return shared_.failed != 0 ? 1 : 0;
  }

 private:
  std::unique_ptr<Side> MakeSide() {
    if (!options_.posix.empty()) {
      const std::vector<differential::Identity> self = {{geteuid(), getegid(), {}}};
      return std::make_unique<differential::PosixSide>(options_.posix, self, geteuid() == 0);
    }
    return std::make_unique<differential::MayflySide>(fs_);
  }
  void Work(int thread) {
    const int number = options_.child * options_.threads + thread;
    try {
      const auto side = MakeSide();
      Worker worker(*side, shared_, plan_, number, options_.check + "/worker" + std::to_string(number));
      side->Run([&] { worker.Run(); });
    } catch (const std::exception& error) {
      std::fprintf(stderr, "worker %d: %s\n", number, error.what());
      shared_.failed = 1;
    }
  }

  const Options options_;
  Shared& shared_;
  const Plan plan_;
  mayfly_fs* fs_ = nullptr;
};

// ---- the notes ----

using Cells = std::map<uint32_t, std::vector<Record>>;

Cells ReadNotes(const std::string& folder) {
  Cells cells;
  for (int worker = 0;; ++worker) {
    std::FILE* file = std::fopen((folder + "/worker" + std::to_string(worker)).c_str(), "rb");
    if (file == nullptr) break;
    for (Record r; std::fread(&r, sizeof r, 1, file) == 1;) cells[r.cell].push_back(r);
    std::fclose(file);
  }
  return cells;
}

struct Result {
  uint64_t operations = 0, undecided = 0, wrong = 0;
  std::map<std::string, std::pair<uint64_t, uint64_t>> shares;  // of all, how many succeeded
};

std::string CheckCell(uint32_t cell, const std::vector<Record>& records, int64_t step, uint64_t* undecided,
                      bool explain = false) {
  return IsNamesCell(cell) ? CheckNames(records, undecided, explain) : DataChecker(records, step).Check(undecided);
}

Result Check(const Cells& cells, int64_t step) {
  Result result;
  for (const auto& [cell, records] : cells) {
    for (const Record& r : records) {
      if (r.what == Do::kRun) continue;
      ++result.operations;
      auto& share = result.shares[NameOf(r.what)];
      ++share.first;
      if (r.result >= 0) ++share.second;
    }
    const std::string wrong = CheckCell(cell, records, step, &result.undecided, result.wrong < 3);
    if (wrong.empty()) continue;
    if (++result.wrong <= 3) std::cout << "WRONG in cell " << cell << ": " << wrong << std::endl;
  }
  return result;
}

// ---- the parent ----

class Program {
 public:
  explicit Program(Options options) : options_(std::move(options)) {}
  ~Program() {
    std::error_code ignored;
    if (!folder_.empty() && !options_.keep) std::filesystem::remove_all(folder_, ignored);
  }

  int Run() {
    if (!options_.check.empty()) return Verdict(ReadNotes(options_.check), true);
    std::string pattern = options_.scratch + "/mayfly-model.XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp " + pattern);
    folder_ = pattern;
    const bool ended = Work();
    const Cells cells = ReadNotes(folder_);
    const int verdict = Verdict(cells, ended);
    return verdict != 0 || !options_.self_test ? verdict : FindFaults(cells);
  }

 private:
  bool Work() {
    Shared& shared = *MapShared(folder_ + "/shared", true);
    const int64_t until = MonotonicNow() + static_cast<int64_t>(options_.seconds * 1e9);
    std::vector<pid_t> children;
    for (int i = 0; i < options_.processes; ++i) {
      std::vector<std::string> words = options_.words;
      const std::vector<std::string> more = {
          "--child", std::to_string(i),     "--check", folder_,
          "--until", std::to_string(until), "--seed",  std::to_string(options_.plan.seed)};
      words.insert(words.end(), more.begin(), more.end());
      if (!options_.posix.empty()) words.insert(words.end(), {"--posix", options_.posix});
      const pid_t pid = fork();
      if (pid == 0) {
        std::vector<char*> argv;
        for (std::string& word : words) argv.push_back(word.data());
        argv.push_back(nullptr);
        ::execv("/proc/self/exe", argv.data());
        _exit(127);
      }
      children.push_back(pid);
    }
    bool good = true;
    for (size_t left = children.size(); left > 0; --left) {
      int status = 0;
      const pid_t pid = ::wait(&status);
      if (status == 0) continue;
      std::cout << "process " << pid << " ended with status " << status << std::endl;
      shared.failed = 1;
      good = false;
    }
    std::cout << shared.moves << " moves of a directory beside them" << std::endl;
    return good;
  }

  // tmpfs moves the size page by page, Mayfly chunk by chunk.
  int64_t Step() const { return options_.posix.empty() ? kChunkBytes : 4096; }

  int Verdict(const Cells& cells, bool ended) {
    const Result result = Check(cells, Step());
    for (const auto& [name, share] : result.shares)
      std::cout << name << " " << share.second << "/" << share.first << " ";
    std::cout << std::endl;
    const uint64_t allowed = options_.posix.empty() ? 0 : 1 + cells.size() / 100;
    const bool good = ended && result.wrong <= allowed && cells.size() > 2;
    std::cout << (good ? "as the model: " : "NOT as the model: ") << cells.size() << " cells, " << result.wrong
              << " wrong, " << result.undecided << " too large to search, " << result.operations << " operations, seed "
              << options_.plan.seed << std::endl;
    return good ? 0 : 1;
  }

  // Notes that cannot be true, one in each cell that has a place for it; nearly all must be found.
  int FindFaults(const Cells& cells) {
    constexpr uint64_t kFaultsMost = 500;
    int bad = 0;
    const auto fault = [&](const char* name, double least, auto&& change) {
      uint64_t made = 0, found = 0, undecided = 0;
      for (const auto& [cell, records] : cells) {
        std::vector<Record> wrong = records;
        bool done = false;
        for (size_t i = wrong.size() / 2; i < wrong.size() && !done; ++i) done = change(wrong[i]);
        if (!done) continue;
        if (++made > kFaultsMost) break;
        if (!CheckCell(cell, wrong, Step(), &undecided).empty()) ++found;
      }
      made = std::min(made, kFaultsMost);
      // On a machine that is so slow that there are few cells, chance counts.
      const bool enough = made > 0 || cells.size() < 200;
      const bool good = enough && static_cast<double>(found + 2) >= least * static_cast<double>(made);
      if (!good) ++bad;
      std::cout << (good ? "found: " : "NOT FOUND: ") << name << ", " << found << " of " << made << std::endl;
    };
    fault("a path to another inode", 0.5,
          [](Record& r) { return r.what == Do::kStat && r.result == 0 && (r.inode += 1'000'000'000, true); });
    fault("a path that is gone", 0.5,
          [](Record& r) { return r.what == Do::kStat && r.result == 0 && (r.result = -ENOENT, true); });
    fault("a removed directory that was not empty", 0.5,
          [](Record& r) { return r.what == Do::kRmdir && r.result == -ENOTEMPTY && (r.result = 0, true); });
    fault("a file that is there twice", 0.5, [](Record& r) {
      return r.what == Do::kCreate && r.result == -EEXIST && (r.result = 0, r.inode = 999'999'999, true);
    });
    fault("a rename of what is not there", 0.5,
          [](Record& r) { return r.what == Do::kRename && r.result == -ENOENT && (r.result = 0, true); });
    fault("a directory moved below itself", 0.5,
          [](Record& r) { return r.what == Do::kRename && r.result == -EINVAL && (r.result = 0, true); });
    fault("a link too many", 0.5,
          [](Record& r) { return r.what == Do::kStat && r.result == 0 && r.type == 1 && (++r.nlink, true); });
    fault("a size too large", 0.9, [](Record& r) { return r.what == Do::kDataStat && (r.size += 64 * 10'000, true); });
    fault("a size too small", 0.5,
          [](Record& r) { return r.what == Do::kDataStat && r.size > 0 && (r.size /= 2, true); });
    fault("zeros instead of data", 0.5,
          [](Record& r) { return r.what == Do::kRun && r.op != 0 && (r.op = r.ordinal = 0, true); });
    fault("damaged data", 0.9, [](Record& r) { return r.what == Do::kRun && (r.op = kDamaged, true); });
    return bad == 0 ? 0 : 1;
  }

  Options options_;
  std::string folder_;
};

bool Parse(int argc, char** argv, Options* options) {
  const option longs[] = {{"seed", 1, nullptr, 's'},    {"seconds", 1, nullptr, 't'}, {"processes", 1, nullptr, 'p'},
                          {"threads", 1, nullptr, 'r'}, {"posix", 1, nullptr, 'x'},   {"self-test", 0, nullptr, 'f'},
                          {"scratch", 1, nullptr, 'd'}, {"check", 1, nullptr, 'c'},   {"keep", 0, nullptr, 'k'},
                          {"child", 1, nullptr, 'i'},   {"until", 1, nullptr, 'u'},   {nullptr, 0, nullptr, 0}};
  options->plan.seed = static_cast<uint64_t>(MonotonicNow() / 1000) % 1'000'000'000;
  options->words.assign(argv, argv + argc);
  for (int c; (c = getopt_long(argc, argv, "", longs, nullptr)) != -1;) {
    switch (c) {
      case 's':
        options->plan.seed = std::stoull(optarg);
        break;
      case 't':
        options->seconds = std::stod(optarg);
        break;
      case 'p':
        options->processes = std::stoi(optarg);
        break;
      case 'r':
        options->threads = std::stoi(optarg);
        break;
      case 'x':
        options->posix = optarg;
        break;
      case 'f':
        options->self_test = true;
        break;
      case 'd':
        options->scratch = optarg;
        break;
      case 'c':
        options->check = optarg;
        break;
      case 'k':
        options->keep = true;
        break;
      case 'i':
        options->child = std::stoi(optarg);
        break;
      case 'u':
        options->plan.until = std::stoll(optarg);
        break;
      default:
        return false;
    }
  }
  options->plan.workers = options->processes * options->threads;
  return optind == argc && options->processes > 0 && options->threads > 0;
}

}  // namespace
}  // namespace model

int main(int argc, char** argv) {
  model::Options options;
  try {
    if (!model::Parse(argc, argv, &options)) return 2;
    if (options.child >= 0) return model::Child(options).Run();
    std::cout << "seed " << options.plan.seed << std::endl;
    return model::Program(options).Run();
  } catch (const std::exception& error) {
    std::cout << "cannot run: " << error.what() << std::endl;
    return 2;
  }
}
