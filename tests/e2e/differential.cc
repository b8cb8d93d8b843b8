// Runs random sequences of filesystem operations on Mayfly and on this machine's tmpfs in lock step and compares
// results, errno, attributes, times, listings and content (differential_lockstep.h says how). A sequence that differs
// is shrunk and printed with both answers. Deterministic: the seed and the number of a sequence give the sequence.
//
// usage: e2e_differential [options]
//   --seed N           default: from the clock; printed
//   --sequences N      so many sequences (default 1000000) ...
//   --minutes M        ... within M minutes (default 1)
//   --ops N            operations of a sequence (default 60)
//   --first K          begin with sequence K of the seed
//   --only I,J,...     only these operations of sequence K
//   --no-shrink        print a failing sequence as it is
//   --as UID           as root: become this user before connecting
//   --scratch DIR      where to make the tmpfs directories (default /dev/shm)
//   --self-test        no Mayfly: tmpfs against itself, and against itself with one fault, each of which must be found
//   --verbose          print every operation
// Exit code 1: they differ. 2: it could not run.
#include <getopt.h>
#include <sys/wait.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "differential_lockstep.h"
#include "differential_mayfly.h"

namespace differential {
namespace {

struct Options {
  uint64_t seed = 0;
  uint64_t sequences = 1'000'000, first = 0;
  size_t ops = 60;
  double minutes = 1;
  bool shrink = true, self_test = false, verbose = false;
  bool one_user = false;  // no client with another user's rights
  std::vector<size_t> only;
  std::string scratch = "/dev/shm";
  uid_t as = 0;
};

constexpr uid_t kUser = 65534;
constexpr gid_t kExtraGroup = 100;

int ReadSysctl(const char* path) {
  std::ifstream file(path);
  int value = 0;
  return file >> value ? value : 0;
}

class Program {
 public:
  explicit Program(Options options) : options_(std::move(options)) {
    std::string pattern = options_.scratch + "/mayfly-differential.XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr)
      throw std::runtime_error("mkdtemp " + pattern + ": " + std::strerror(errno));
    scratch_ = pattern;
    ::chmod(scratch_.c_str(), 0755);
    privileged_ = geteuid() == 0 && options_.as == 0;
    end_ = Clock::now() + std::chrono::milliseconds(static_cast<int64_t>(options_.minutes * 60'000));
  }
  ~Program() { RemoveScratch(); }

  int Run() {
    if (options_.self_test) return SelfTest();
    auto reference = MakeReference("reference", "");
    if (options_.as != 0) BecomeUser();
    auto tested = MakeTested();
    const Traits traits = Probe(*reference, traits_);
    const bool same = RunSequences(*reference, *tested, traits, options_.sequences, false);
    std::cout << (same ? "the same: " : "different after ") << done_ << " sequences, " << ops_done_ << " operations, "
              << shares_.size() << " kinds, seed " << options_.seed << std::endl;
    if (options_.verbose) PrintShares();
    return same ? 0 : 1;
  }

 private:
  using Clock = std::chrono::steady_clock;

  std::vector<Identity> Identities() const {
    const Identity self = {geteuid(), getegid(), {}};
    if (!privileged_) return {self, self};
    return {self, self, {kUser, kUser, {kUser, kExtraGroup}}};
  }

  std::unique_ptr<PosixSide> MakeReference(const std::string& name, const std::string& fault) {
    const std::string root = scratch_ + "/" + name + fault;
    if (::mkdir(root.c_str(), 0777) != 0) throw std::runtime_error("mkdir " + root);
    ::chmod(root.c_str(), 0777);
    const bool may_chroot = geteuid() == 0;
    if (!may_chroot) std::cout << "not root: no chroot, so neither \"..\" nor absolute symlinks" << std::endl;
    traits_.confined = !may_chroot;
    traits_.fine_times = !options_.self_test;
    traits_.privileged = privileged_;
    traits_.user = privileged_ && !options_.one_user;
    if (fault.empty()) return std::make_unique<PosixSide>(root, Identities(), may_chroot);
    return std::make_unique<BrokenSide>(root, Identities(), may_chroot, fault);
  }

  // Clients 0 and 1 differ in what they keep to themselves; client 2 is another user.
  std::unique_ptr<Side> MakeTested() {
    mayfly_options kept;
    mayfly_options_init(&kept);
    kept.chunk_bytes = kChunk;
    kept.op_timeout_ms = 10'000;
    mayfly_options direct = kept;
    direct.write_behind_bytes = direct.readahead_bytes = 0;
    const std::vector<Identity> identities = Identities();
    std::vector<MayflyActor> actors = {{identities[0], kept}, {identities[0], direct}};
    if (privileged_ && !options_.one_user) {
      actors.push_back({identities[2], kept});
      try {
        auto side = std::make_unique<MayflySide>(actors);
        CheckIdentity(*side, kUser);
        return side;
      } catch (const std::exception& error) {
        std::cout << "skipped: a client of uid " << kUser << " (" << error.what() << ")" << std::endl;
        actors.pop_back();
      }
    }
    traits_.user = false;
    return std::make_unique<MayflySide>(actors);
  }

  static void CheckIdentity(MayflySide& side, uid_t uid) {
    const Target root = {"/"}, file = {"/whose"};
    struct stat st = {};
    side.Act(0);
    side.Chmod(root, 0777);
    side.Act(2);
    const int64_t made = side.Create(file.path, O_EXCL, 0644);
    const int64_t seen = side.Stat(file, &st);
    side.Act(0);
    side.Unlink(file.path);
    if (made == 0 && seen == 0 && st.st_uid == uid) return;
    throw std::runtime_error("its files are of uid " + std::to_string(st.st_uid) + ", " + ErrnoText(made));
  }

  // A copy of the session file that belongs to `uid`: a client takes no session of another user's.
  std::string CopyOfSession(uid_t uid) const {
    const char* original = std::getenv("MAYFLY_SESSION");
    const std::string copy = scratch_ + "/session-" + std::to_string(uid) + ".json";
    std::error_code ignored;
    if (original == nullptr || !std::filesystem::copy_file(original, copy, ignored)) return "";
    ::chmod(copy.c_str(), 0600);
    return ::chown(copy.c_str(), uid, uid) == 0 ? copy : "";
  }

  // The namespace's root is made writable for all by a process that is root; then this process becomes the user.
  void BecomeUser() {
    const std::string session = CopyOfSession(options_.as);
    const pid_t child = fork();
    if (child == 0) {
      mayfly_fs* fs = nullptr;
      const bool done = mayfly_connect(nullptr, nullptr, &fs) == 0 && mayfly_chmod(fs, "/", 0777) == 0;
      if (!done) std::cerr << "as root: " << mayfly_error() << std::endl;
      if (fs != nullptr) mayfly_disconnect(fs);
      _exit(done ? 0 : 1);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) throw std::runtime_error("no root session");
    const gid_t gid = options_.as;
    if (setgroups(1, &gid) != 0 || setresgid(gid, gid, gid) != 0 || setresuid(options_.as, options_.as, options_.as)) {
      throw std::runtime_error(std::string("change of ids: ") + std::strerror(errno));
    }
    if (!session.empty()) ::setenv("MAYFLY_SESSION", session.c_str(), 1);
    std::cout << "as uid " << options_.as << std::endl;
  }

  static Traits Probe(PosixSide& side, Traits traits) {
    side.Run([&] {
      const int64_t fd = side.Open("probe", O_CREAT | O_RDWR, 0644);
      const Target file = {"probe"};
      traits.user_xattrs = side.SetXattr(file, "user.probe", "x", 0) == 0;
      traits.trusted_xattrs = side.SetXattr(file, "trusted.probe", "x", 0) != -EOPNOTSUPP;
      traits.directory_einval = side.Open(".", O_CREAT | O_DIRECTORY, 0644) == -EINVAL;
      side.Close(static_cast<int>(fd));
      side.Unlink("probe");
    });
    traits.protected_sticky =
        ReadSysctl("/proc/sys/fs/protected_symlinks") != 0 || ReadSysctl("/proc/sys/fs/protected_regular") != 0;
    const auto yes = [](bool is) { return is ? "yes" : "no"; };
    std::cout << "tmpfs: user xattrs " << yes(traits.user_xattrs) << ", trusted xattrs " << yes(traits.trusted_xattrs)
              << ", other user " << yes(traits.user) << std::endl;
    return traits;
  }

  // False after a difference, which was printed.
  bool RunSequences(Side& reference, Side& tested, const Traits& traits, uint64_t count, bool expected) {
    Lockstep lockstep(reference, tested, traits);
    for (uint64_t k = options_.first; k < options_.first + count && Clock::now() < end_; ++k) {
      Generator generator(options_.seed * 1'000'003 + k, traits);
      if (const std::string broken = lockstep.Reset(generator.umask(), generator.timed()); !broken.empty()) {
        std::cout << "before sequence " << k << ", seed " << options_.seed << ": " << broken << std::endl;
        return false;
      }
      std::vector<Op> ops;
      if (auto failure = options_.only.empty() ? RunOne(lockstep, generator, &ops)
                                               : RunOnly(lockstep, reference, generator, &ops)) {
        failed_ = std::move(*failure);
        Report(lockstep, generator, k, ops, expected);
        return false;
      }
      ++done_;
    }
    return true;
  }

  std::optional<Failure> RunOne(Lockstep& lockstep, Generator& generator, std::vector<Op>* ops) {
    for (size_t i = 0; i <= options_.ops; ++i) {
      Op op;
      op.id = static_cast<uint32_t>(i);
      if (i < options_.ops) op = generator.Next();
      ops->push_back(op);
      Outcome outcome;
      auto failure = lockstep.Step(op, &outcome);
      if (options_.verbose) std::cout << lockstep.history().back() << std::endl;
      if (failure) {
        failure->index = i;
        return failure;
      }
      generator.Learn(op, outcome);
      ++ops_done_;
      Share& share = shares_[NameOf(op.kind)];
      ++share.all;
      if (outcome.value >= 0) ++share.succeeded;
    }
    return std::nullopt;
  }

  // The whole sequence on the reference alone, to know it; then those asked for on both.
  std::optional<Failure> RunOnly(Lockstep& lockstep, Side& reference, Generator& generator, std::vector<Op>* ops) {
    {
      Runner alone(reference);
      for (size_t i = 0; i <= options_.ops; ++i) {
        Op op;
        op.id = static_cast<uint32_t>(i);
        if (i < options_.ops) op = generator.Next();
        generator.Learn(op, alone.Execute(op));
        if (std::find(options_.only.begin(), options_.only.end(), i) != options_.only.end()) ops->push_back(op);
      }
      alone.Reset(0, privileged_);
    }
    Shrinker replayer(lockstep, generator.umask(), generator.timed());
    auto failure = replayer.Replay(*ops);
    for (const std::string& line : lockstep.history()) std::cout << line << std::endl;
    return failure;
  }

  void Report(Lockstep& lockstep, const Generator& generator, uint64_t sequence, std::vector<Op> ops, bool expected) {
    if (!expected) {
      std::cout << "DIFFERENT in sequence " << sequence << " of seed " << options_.seed << ", "
                << Describe(ops[failed_.index]) << "\n  " << failed_.detail << std::endl;
    }
    const std::vector<std::string> history = lockstep.history();
    const size_t before = ops.size();
    Shrinker shrinker(lockstep, generator.umask(), generator.timed());
    const bool again = options_.shrink && shrinker.Shrink(&ops, &failed_);
    if (again) shrinker.Replay(ops);
    shrunk_ = again ? ops.size() : before;
    if (expected) return;
    if (again) {
      std::cout << "shrunk from " << before << " to " << ops.size() << " operations by " << shrinker.replays()
                << " replays; umask 0" << std::oct << generator.umask() << std::dec << std::endl;
      for (const std::string& line : lockstep.history()) std::cout << "  " << line << std::endl;
      std::cout << "  " << failed_.detail << "\nagain: --seed " << options_.seed << " --first " << sequence
                << " --sequences 1 --ops " << options_.ops << " --only ";
      for (size_t i = 0; i < ops.size(); ++i) std::cout << (i > 0 ? "," : "") << ops[i].id;
      std::cout << std::endl;
      return;
    }
    if (options_.shrink) {
      std::cout << (shrinker.broken().empty() ? "it did not happen again; " : shrinker.broken() + "; ");
    }
    std::cout << "the last operations:" << std::endl;
    for (size_t i = history.size() > 40 ? history.size() - 40 : 0; i < history.size(); ++i) {
      std::cout << "  " << history[i] << std::endl;
    }
  }

  int SelfTest() {
    int bad = 0;
    auto reference = MakeReference("reference", "");
    const Traits traits = Probe(*reference, traits_);
    {
      auto twin = MakeReference("twin", "");
      if (!RunSequences(*reference, *twin, traits, std::min<uint64_t>(options_.sequences, 150), false)) ++bad;
      std::cout << "tmpfs against tmpfs: " << done_ << " sequences, " << ops_done_ << " operations" << std::endl;
      PrintShares();
    }
    for (const std::string& fault : BrokenSide::Faults()) {
      if (fault == "xattr" && !traits.user_xattrs) continue;
      auto broken = MakeReference("broken-", fault);
      done_ = 0;
      const bool missed = RunSequences(*reference, *broken, traits, options_.sequences, true);
      const bool shrunk = shrunk_ <= 12;
      if (missed || !shrunk) ++bad;
      std::cout << (missed   ? "NOT FOUND: "
                    : shrunk ? "found: "
                             : "NOT SHRUNK: ")
                << fault << ", in sequence " << done_ << ", as \"" << failed_.kind << "\", shrunk to " << shrunk_
                << " operations" << std::endl;
    }
    return bad == 0 ? 0 : 1;
  }

  struct Share {
    uint64_t all = 0, succeeded = 0;
  };
  void PrintShares() const {
    for (const auto& [kind, share] : shares_) std::cout << kind << " " << share.succeeded << "/" << share.all << " ";
    std::cout << std::endl;
  }

  // Directories may have been left without any permission.
  void RemoveScratch() {
    namespace fs = std::filesystem;
    std::error_code ignored;
    fs::remove_all(scratch_, ignored);
  }

  Options options_;
  std::string scratch_;
  bool privileged_ = false;
  Traits traits_;
  Clock::time_point end_;
  uint64_t done_ = 0, ops_done_ = 0;
  std::map<std::string, Share> shares_;
  Failure failed_;
  size_t shrunk_ = 0;
};

std::vector<size_t> Numbers(const std::string& text) {
  std::vector<size_t> numbers;
  for (size_t at = 0; at < text.size();
       at = text.find(',', at) == std::string::npos ? text.size() : text.find(',', at) + 1) {
    numbers.push_back(std::stoul(text.substr(at)));
  }
  return numbers;
}

bool Parse(int argc, char** argv, Options* options) {
  const option longs[] = {{"seed", 1, nullptr, 's'},    {"one-user", 0, nullptr, '1'},  {"sequences", 1, nullptr, 'n'},
                          {"minutes", 1, nullptr, 'm'}, {"ops", 1, nullptr, 'o'},       {"first", 1, nullptr, 'f'},
                          {"only", 1, nullptr, 'y'},    {"no-shrink", 0, nullptr, 'r'}, {"as", 1, nullptr, 'a'},
                          {"scratch", 1, nullptr, 'd'}, {"self-test", 0, nullptr, 't'}, {"verbose", 0, nullptr, 'v'},
                          {nullptr, 0, nullptr, 0}};
  options->seed = static_cast<uint64_t>(Now() / 1'000'000) % 1'000'000'000;
  for (int c; (c = getopt_long(argc, argv, "", longs, nullptr)) != -1;) {
    switch (c) {
      case 's':
        options->seed = std::stoull(optarg);
        break;
      case 'n':
        options->sequences = std::stoull(optarg);
        break;
      case 'm':
        options->minutes = std::stod(optarg);
        break;
      case 'o':
        options->ops = std::stoul(optarg);
        break;
      case 'f':
        options->first = std::stoull(optarg);
        break;
      case 'y':
        options->only = Numbers(optarg);
        break;
      case 'r':
        options->shrink = false;
        break;
      case 'a':
        options->as = static_cast<uid_t>(std::stoul(optarg));
        break;
      case 'd':
        options->scratch = optarg;
        break;
      case 't':
        options->self_test = true;
        break;
      case '1':
        options->one_user = true;
        break;
      case 'v':
        options->verbose = true;
        break;
      default:
        return false;
    }
  }
  return optind == argc;
}

}  // namespace
}  // namespace differential

int main(int argc, char** argv) {
  differential::Options options;
  try {
    if (!differential::Parse(argc, argv, &options)) return 2;
    std::cout << "seed " << options.seed << std::endl;
    return differential::Program(options).Run();
  } catch (const std::exception& error) {
    std::cout << "cannot run: " << error.what() << std::endl;
    return 2;
  }
}
