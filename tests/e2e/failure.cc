// Clients for failure_test.sh, which stops and kills servers and clients meanwhile.
//   e2e_failure judge TIMEOUT_MS [RENDEZVOUS_BYTES]
//                                  threads use files whose shards they know, and every call is judged. A line of
//                                  standard input "NAME SHARD WANT" is a phase: only calls that need SHARD (-1: none,
//                                  -2: all) may fail. It lasts until each thread saw enough of what WANT says: ok (all
//                                  succeed), fails (SHARD's calls do), recovers (they succeed again). A line of
//                                  standard output tells that it began, another how it went. At the end of the input:
//                                  disconnect.
//   e2e_failure storm              writes of 4 MiB and many small ones, until it is killed
//   e2e_failure churn COUNT        connects, does something and disconnects, again and again
// Judged: a failed call has an errno that says so (EIO, ETIMEDOUT, or what an earlier call of unknown outcome left), no
// call lasts longer than its deadline and a generous grace, and what is read is one whole version of what was written:
// the last acknowledged one, or a later one whose outcome is unknown.
#include <errno.h>
#include <mayfly/mayfly.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdarg>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
constexpr int kSmallBytes = 3000, kMiddleBytes = 200'000, kLargeBytes = 4 << 20;
constexpr int kGraceSeconds = 60;  // a call that lasts so much longer than its deadline hangs
constexpr int kAll = -2;

std::atomic<bool> bad = false;
std::mutex printing;
void Wrong(const char* format, ...) __attribute__((format(printf, 1, 2)));
void Wrong(const char* format, ...) {
  std::lock_guard lock(printing);
  bad = true;
  va_list arguments;
  va_start(arguments, format);
  printf("WRONG: ");
  vprintf(format, arguments);
  va_end(arguments);
  printf("\n");
  fflush(stdout);
}

[[noreturn]] void Die(const char* what) {
  printf("WRONG: %s: %s\n", what, mayfly_error());
  fflush(stdout);
  _exit(1);
}

mayfly_fs* Connect(unsigned timeout_ms, uint32_t rendezvous_bytes = 0) {
  mayfly_options options;
  mayfly_options_init(&options);
  options.rendezvous_bytes = rendezvous_bytes;
  if (timeout_ms != 0) options.op_timeout_ms = timeout_ms;
  mayfly_fs* fs = nullptr;
  if (mayfly_connect(nullptr, &options, &fs) != 0) Die("connect");
  return fs;
}

// The content of a file: its version in the first word, the others made of it.
uint64_t Word(uint64_t seed, uint64_t version, uint64_t i) {
  uint64_t x = (seed * 1'000'003 + version) * 0x9e3779b97f4a7c15 + i;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  return i == 0 ? version : x ^ (x >> 27);
}
void Fill(std::vector<uint64_t>& words, uint64_t seed, uint64_t version) {
  for (size_t i = 0; i < words.size(); ++i) words[i] = Word(seed, version, i);
}

struct Phase {
  std::string name;
  int shard = -1;
  enum Want { kOk, kFails, kRecovers } want = kOk;
};

// A stretch of a file with versions; one thread writes it.
struct Stretch {
  std::string path;
  int shard = -1;  // -1: not known, any server may be needed
  uint64_t seed = 0;
  int bytes = 0;
  off_t offset = 0;
  std::set<uint64_t> possible = {0};
  uint64_t last = 0;
};

// A name that comes and goes.
struct Name {
  std::string path;
  int shard = -1;
  enum { kGone, kThere, kUnknown } state = kGone;
};

class Judge {
 public:
  Judge(unsigned timeout_ms, uint32_t rendezvous_bytes)
      : timeout_ms_(timeout_ms), fs_(Connect(timeout_ms, rendezvous_bytes)) {}
  int Run();

 private:
  static constexpr int kThreads = 6;  // the last two leave a shard that fails alone
  struct Worker {
    int index = 0;
    bool avoids = false;
    std::vector<Stretch> stretches;
    std::vector<Name> names;
    std::thread thread;
    std::atomic<int64_t> since = 0;  // of the call under way, 0: none
    std::atomic<const char*> doing = "";
    // Of the phase.
    int calls = 0, failures = 0, good = 0, others = 0;
    std::map<int, int> errors;
    int64_t slowest_ms = 0;
    bool enough = false;
  };

  void Prepare();
  void Main(Worker* w);
  void OneRound(Worker* w, unsigned round);
  void Batch(Worker* w);
  void Write(Worker* w, Stretch& s);
  void Read(Worker* w, Stretch& s);
  void ChangeName(Worker* w, Name& n);
  void Judged(Worker* w, const char* what, const std::string& path, int shard, bool ok, int error, bool other_error_ok);
  bool Leaves(const Worker* w, int shard) const {
    return w->avoids && phase_.want == Phase::kFails && phase_.shard != -1 &&
           (shard == -1 || shard == phase_.shard || phase_.shard == kAll);
  }
  template <class F>
  int64_t Call(Worker* w, const char* what, F f) {
    const Clock::time_point start = Clock::now();
    w->since = start.time_since_epoch().count();
    w->doing = what;
    errno = 0;
    const int64_t result = f();
    const int error = errno;
    w->since = 0;
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start).count();
    w->slowest_ms = std::max<int64_t>(w->slowest_ms, took);
    errno = error;
    return result;
  }
  void Watch();

  const unsigned timeout_ms_;
  mayfly_fs* fs_;
  std::vector<std::unique_ptr<Worker>> workers_;
  Phase phase_;  // changed while no worker works only
  std::mutex mutex_;
  std::condition_variable changed_;
  int serial_ = 0;   // of the phase
  int working_ = 0;  // workers that have not finished it
  bool over_ = false;
  std::atomic<int> not_enough_ = 0;
};

void Judge::Judged(Worker* w, const char* what, const std::string& path, int shard, bool ok, int error, bool fine) {
  ++w->calls;
  const bool concerned = phase_.shard == kAll || (phase_.shard != -1 && (shard == -1 || shard == phase_.shard));
  if (ok) {
    ++(concerned ? w->good : w->others);
    return;
  }
  if (fine && error != EIO && error != ETIMEDOUT) return;
  ++w->errors[error];
  if (concerned) {
    ++w->failures;
    w->good = 0;
  }
  if (!concerned || phase_.want == Phase::kOk || (error != EIO && error != ETIMEDOUT)) {
    Wrong("%s of %s (shard %d): %s; %s", what, path.c_str(), shard, strerror(error), mayfly_error());
  }
}

void Judge::Write(Worker* w, Stretch& s) {
  if (Leaves(w, s.shard)) return;
  std::vector<uint64_t> words(s.bytes / 8);
  const uint64_t version = ++s.last;
  Fill(words, s.seed, version);
  const int fd =
      static_cast<int>(Call(w, "open", [&] { return mayfly_open(fs_, s.path.c_str(), O_WRONLY | O_DIRECT); }));
  Judged(w, "open", s.path, s.shard, fd >= 0, errno, false);
  if (fd < 0) return;
  s.possible.insert(version);
  const int64_t n = Call(w, "pwrite", [&] { return mayfly_pwrite(fd, words.data(), s.bytes, s.offset); });
  Judged(w, "pwrite", s.path, s.shard, n == s.bytes, errno, false);
  if (n == s.bytes) s.possible = {version};
  // The buffer is used again at once: what a late reader takes from it must not become content.
  memset(words.data(), 0xdb, s.bytes);
  Call(w, "close", [&] { return mayfly_close(fd); });
}

void Judge::Read(Worker* w, Stretch& s) {
  if (Leaves(w, s.shard)) return;
  std::vector<uint64_t> words(s.bytes / 8, 0xabababababababab);
  const int fd =
      static_cast<int>(Call(w, "open", [&] { return mayfly_open(fs_, s.path.c_str(), O_RDONLY | O_DIRECT); }));
  Judged(w, "open", s.path, s.shard, fd >= 0, errno, false);
  if (fd < 0) return;
  const int64_t n = Call(w, "pread", [&] { return mayfly_pread(fd, words.data(), s.bytes, s.offset); });
  const int error = errno;
  // A file that was never written is short, or a hole.
  Judged(w, "pread", s.path, s.shard, n >= 0, error, false);
  Call(w, "close", [&] { return mayfly_close(fd); });
  if (n < 0) return;
  bool hole = n < s.bytes;
  if (!hole) hole = std::all_of(words.begin(), words.end(), [](uint64_t x) { return x == 0; });
  const uint64_t version = hole ? 0 : words[0];
  if (!s.possible.contains(version)) {
    Wrong("%s at %lld has version %llu", s.path.c_str(), static_cast<long long>(s.offset),
          static_cast<unsigned long long>(version));
    return;
  }
  for (size_t i = 0; !hole && i < words.size(); ++i) {
    if (words[i] == Word(s.seed, version, i)) continue;
    Wrong("%s at %lld: wrong bytes at %zu of version %llu", s.path.c_str(), static_cast<long long>(s.offset), i * 8,
          static_cast<unsigned long long>(version));
    return;
  }
}

void Judge::ChangeName(Worker* w, Name& n) {
  if (Leaves(w, n.shard)) return;
  struct stat st;
  const bool unknown = n.state == Name::kUnknown;
  // Names come and go without waiting: what a server that fails then made of them only the next close is told.
  const bool unsure = phase_.want != Phase::kOk && (phase_.shard == kAll || phase_.shard == n.shard);
  if (n.state == Name::kThere || (unknown && w->calls % 2 == 0)) {
    const int64_t found = Call(w, "stat", [&] { return mayfly_stat(fs_, n.path.c_str(), &st); });
    Judged(w, "stat", n.path, n.shard, found == 0, errno, unknown);
    const int64_t gone = Call(w, "unlink", [&] { return mayfly_unlink(fs_, n.path.c_str()); });
    Judged(w, "unlink", n.path, n.shard, gone == 0, errno, unknown);
    n.state = gone == 0 && !unsure ? Name::kGone : Name::kUnknown;
  } else {
    const int fd = static_cast<int>(
        Call(w, "create", [&] { return mayfly_open(fs_, n.path.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644); }));
    Judged(w, "create", n.path, n.shard, fd >= 0, errno, unknown);
    n.state = fd >= 0 && !unsure ? Name::kThere : Name::kUnknown;
    if (fd >= 0) Call(w, "close", [&] { return mayfly_close(fd); });
  }
}

// All of a thread's small files read and its names looked up at once.
void Judge::Batch(Worker* w) {
  mayfly_batch* batch = mayfly_batch_create(fs_);
  if (batch == nullptr) return Wrong("no batch: %s", mayfly_error());
  std::vector<mayfly_op> ops;
  std::vector<int> shards;
  std::vector<struct stat> stats(w->stretches.size() + w->names.size());
  for (Stretch& s : w->stretches) {
    if (Leaves(w, s.shard)) continue;
    ops.push_back({.kind = MAYFLY_OP_STAT, .path = s.path.c_str(), .buffer = &stats[ops.size()]});
    shards.push_back(s.shard);
  }
  for (Name& n : w->names) {
    if (Leaves(w, n.shard)) continue;
    ops.push_back({.kind = MAYFLY_OP_CREATE, .mode = 0600, .path = n.path.c_str()});
    shards.push_back(n.shard);
    n.state = Name::kUnknown;
  }
  std::vector<mayfly_op*> pointers;
  for (mayfly_op& op : ops) pointers.push_back(&op);
  if (mayfly_batch_submit(batch, pointers.data(), pointers.size()) != 0) Wrong("batch: %s", mayfly_error());
  std::vector<mayfly_op*> done(ops.size());
  const int64_t n =
      Call(w, "batch_wait", [&] { return mayfly_batch_wait(batch, ops.size(), done.data(), done.size(), -1); });
  if (n != static_cast<int64_t>(ops.size()))
    Wrong("%lld of %zu operations came back", static_cast<long long>(n), ops.size());
  for (size_t i = 0; i < ops.size(); ++i) {
    Judged(w, "in a batch", ops[i].path, shards[i], ops[i].result >= 0, ops[i].error, false);
  }
  Call(w, "batch_destroy", [&] { return mayfly_batch_destroy(batch); });
}

void Judge::OneRound(Worker* w, unsigned round) {
  for (Stretch& s : w->stretches) {
    if (round % 2 == 0) Write(w, s);
    Read(w, s);
  }
  for (Name& n : w->names) ChangeName(w, n);
  if (round % 3 == 0) Batch(w);
}

void Judge::Main(Worker* w) {
  unsigned round = 0;
  for (int seen = 0;; ++seen) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return over_ || serial_ != seen; });
      if (over_) return;
    }
    while (not_enough_ != 0 && !bad) {
      OneRound(w, round++);
      const bool concerned = phase_.shard != -1 && !(w->avoids && phase_.want == Phase::kFails);
      const bool enough =
          (!concerned || phase_.want == Phase::kOk || (phase_.want == Phase::kFails && w->failures >= 3) ||
           (phase_.want == Phase::kRecovers && w->good >= 150)) &&
          (w->others >= 100 || phase_.shard == kAll);
      if (enough && !std::exchange(w->enough, true)) --not_enough_;
    }
    // What was done without waiting is told now, not in the next phase, when its server may fail.
    struct stat st;
    for (const Name& n : w->names) {
      if (phase_.want != Phase::kFails) Call(w, "stat", [&] { return mayfly_stat(fs_, n.path.c_str(), &st); });
    }
    std::lock_guard lock(mutex_);
    if (--working_ == 0) changed_.notify_all();
  }
}

void Judge::Watch() {
  for (;;) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    {
      std::lock_guard lock(mutex_);
      if (over_) return;
    }
    for (auto& w : workers_) {
      const int64_t since = w->since;
      if (since == 0) continue;
      const auto lasts = Clock::now() - Clock::time_point(Clock::duration(since));
      if (lasts < std::chrono::milliseconds(timeout_ms_) + std::chrono::seconds(kGraceSeconds)) continue;
      printf("WRONG: thread %d hangs in %s\n", w->index, w->doing.load());
      fflush(stdout);
      _exit(3);
    }
  }
}

// Makes the files and learns their shards: an inode is born on its entry's shard, and its number says which.
void Judge::Prepare() {
  uint64_t seed = 0;
  auto make = [&](const std::string& path) {
    const int fd = mayfly_open(fs_, path.c_str(), O_CREAT | O_WRONLY, 0644);
    struct stat st;
    if (fd < 0 || mayfly_fstat(fd, &st) != 0 || mayfly_close(fd) != 0) Die(path.c_str());
    return static_cast<int>(st.st_ino >> 40);
  };
  for (int t = 0; t < kThreads; ++t) {
    auto& w = workers_.emplace_back(std::make_unique<Worker>());
    w->index = t;
    w->avoids = t >= kThreads - 2;
    for (int i = 0; i < 8; ++i) {
      Stretch s;
      s.path = "/data-" + std::to_string(t) + "-" + std::to_string(i);
      s.shard = make(s.path);
      s.seed = ++seed;
      s.bytes = i % 2 == 0 ? kSmallBytes : kMiddleBytes;
      w->stretches.push_back(s);
    }
    Stretch large;
    large.path = "/large-" + std::to_string(t);
    make(large.path);
    large.bytes = kLargeBytes;
    for (int i = 0; i < 2; ++i) {
      large.offset = (1 + 2 * i) * off_t{kLargeBytes};
      large.seed = ++seed;
      w->stretches.push_back(large);
    }
    for (int i = 0; i < 8; ++i) {
      Name n;
      n.path = "/name-" + std::to_string(t) + "-" + std::to_string(i);
      n.shard = make(n.path);
      n.state = Name::kThere;
      w->names.push_back(n);
    }
  }
}

int Judge::Run() {
  Prepare();
  for (auto& w : workers_) w->thread = std::thread([this, one = w.get()] { Main(one); });
  std::thread watch([this] { Watch(); });
  std::string line;
  while (!bad && std::getline(std::cin, line)) {
    std::istringstream words(line);
    std::string want;
    std::unique_lock lock(mutex_);
    words >> phase_.name >> phase_.shard >> want;
    phase_.want = want == "fails" ? Phase::kFails : want == "recovers" ? Phase::kRecovers : Phase::kOk;
    for (auto& w : workers_) {
      w->calls = w->failures = w->good = w->others = 0;
      w->errors.clear();
      w->slowest_ms = 0;
      w->enough = false;
    }
    not_enough_ = kThreads;
    working_ = kThreads;
    ++serial_;
    printf("began %s\n", phase_.name.c_str());
    fflush(stdout);
    changed_.notify_all();
    changed_.wait(lock, [&] { return working_ == 0; });
    int calls = 0;
    int64_t slowest = 0;
    std::map<int, int> errors;
    for (auto& w : workers_) {
      calls += w->calls;
      slowest = std::max(slowest, w->slowest_ms);
      for (const auto& [error, count] : w->errors) errors[error] += count;
    }
    printf("ended %s: %d calls, the slowest %lld ms", phase_.name.c_str(), calls, static_cast<long long>(slowest));
    for (const auto& [error, count] : errors) printf(", %d %s", count, strerrorname_np(error));
    printf("\n");
    fflush(stdout);
  }
  {
    std::lock_guard lock(mutex_);
    over_ = true;
    changed_.notify_all();
  }
  for (auto& w : workers_) w->thread.join();
  const int left = mayfly_disconnect(fs_);
  watch.join();
  printf("disconnected: %d\n", left);
  return bad ? 1 : 0;
}

int Storm() {
  mayfly_fs* fs = Connect(0);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([=] {
      const bool large = t % 2 == 0;
      const std::string path = "/storm-" + std::to_string(t);
      const int fd = mayfly_open(fs, path.c_str(), O_CREAT | O_RDWR | O_DIRECT, 0644);
      if (fd < 0) Die("open");
      const size_t bytes = large ? 3 * kLargeBytes : 4096;
      std::vector<char> data(bytes, 'x');
      for (off_t i = 0;; ++i) {
        if (mayfly_pwrite(fd, data.data(), bytes, large ? 0 : i % 64 * 4096) < 0) Die("pwrite");
        if (large && mayfly_pread(fd, data.data(), bytes, 0) < 0) Die("pread");
        if (i == 3 && write(STDOUT_FILENO, "storms\n", 7) != 7) Die("write");
      }
    });
  }
  for (auto& thread : threads) thread.join();
  return 0;
}

long ResidentKib() {
  long pages = 0, resident = 0;
  FILE* file = fopen("/proc/self/statm", "r");
  if (file == nullptr || fscanf(file, "%ld %ld", &pages, &resident) != 2) resident = 0;
  if (file != nullptr) fclose(file);
  return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

int Churn(int count) {
  long before = 0;
  for (int i = 0; i < count; ++i) {
    if (i == count / 2) before = ResidentKib();
    mayfly_fs* fs = Connect(0);
    const std::string path = "/churn-" + std::to_string(getpid());
    for (int k = 0; k < 8; ++k) {
      const std::string name = path + "-" + std::to_string(k);
      const int fd = mayfly_open(fs, name.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644);
      if (fd < 0 || mayfly_pwrite(fd, "x", 1, 0) != 1 || mayfly_close(fd) != 0) Die("create");
      if (mayfly_unlink(fs, name.c_str()) != 0) Die("unlink");
    }
    if (mayfly_disconnect(fs) != 0) Die("disconnect");
  }
  printf("%ld KiB grown\n", ResidentKib() - before);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "judge" && (argc == 3 || argc == 4)) {
    const unsigned long rendezvous_bytes = argc == 4 ? strtoul(argv[3], nullptr, 10) : 0;
    return Judge(static_cast<unsigned>(atoi(argv[2])), static_cast<uint32_t>(rendezvous_bytes)).Run();
  }
  if (what == "storm") return Storm();
  if (what == "churn" && argc == 3) return Churn(atoi(argv[2]));
  fprintf(stderr, "usage: see the head of failure.cc\n");
  return 2;
}
