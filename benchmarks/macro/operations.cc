// One client's operations through the C interface, or the same by POSIX below a directory, timed. Prints one JSON
// object a line; benchmarks/run puts them beside their limits. Every read is verified.
//
//   mayfly_operations latency|rates|bandwidth|creates|memcpy|files|there|churn [--posix DIR] [--count N] [--bytes N]
//                     [--total N] [--depth N] [--no-checksum] [--buffered] [--send] [--id N] [--at DIR]
//
// files leaves empty files in a directory, `there` looks for each of them in it: --at names it for both. churn makes
// and removes files, of --bytes each, read back before they go, --depth of them there at any time. Without --buffered
// each operation is what it says: neither write-behind nor readahead.
// --send: data is sent, not copied through the servers' mapped arena.
#include <fcntl.h>
#include <mayfly/mayfly.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

struct Options {
  std::string what, posix, at;
  size_t count = 20000, bytes = 1 << 20, total = 256 << 20, depth = 32;
  bool checksum = true, buffered = false, send = false;
  int id = 0;
};

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

[[noreturn]] void Die(const char* what, bool library) {
  std::fprintf(stderr, "mayfly_operations: %s: %s\n", what, library ? mayfly_error() : std::strerror(errno));
  std::exit(1);
}

double Median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + static_cast<long>(v.size() / 2), v.end());
  return v[v.size() / 2];
}
double Percentile99(std::vector<double> v) {
  const size_t at = v.size() * 99 / 100;
  std::nth_element(v.begin(), v.begin() + static_cast<long>(at), v.end());
  return v[at];
}

// Bytes that differ by position and by seed, so that a block read from the wrong place is seen.
void Fill(std::vector<uint64_t>* words, uint64_t seed) {
  uint64_t x = seed * 0x9e3779b97f4a7c15 + 1;
  for (uint64_t& w : *words) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    w = x;
  }
}

// ---- the two sides --------------------------------------------------------------------------------------------------

struct Side {
  mayfly_fs* fs = nullptr;
  std::string base;
  std::string Path(const std::string& name) const { return base + "/" + name; }
  bool library() const { return fs != nullptr; }
  int Open(const std::string& p, int flags, mode_t mode) {
    return fs != nullptr ? mayfly_open(fs, p.c_str(), flags, mode) : ::open(p.c_str(), flags, mode);
  }
  int Close(int fd) { return fs != nullptr ? mayfly_close(fd) : ::close(fd); }
  int Stat(const std::string& p, struct stat* st) {
    return fs != nullptr ? mayfly_stat(fs, p.c_str(), st) : ::stat(p.c_str(), st);
  }
  int Unlink(const std::string& p) { return fs != nullptr ? mayfly_unlink(fs, p.c_str()) : ::unlink(p.c_str()); }
  int Mkdir(const std::string& p) {
    return fs != nullptr ? mayfly_mkdir(fs, p.c_str(), 0755) : ::mkdir(p.c_str(), 0755);
  }
  int Rmdir(const std::string& p) { return fs != nullptr ? mayfly_rmdir(fs, p.c_str()) : ::rmdir(p.c_str()); }
  ssize_t Write(int fd, const void* b, size_t n, off_t at) {
    return fs != nullptr ? mayfly_pwrite(fd, b, n, at) : ::pwrite(fd, b, n, at);
  }
  ssize_t Read(int fd, void* b, size_t n, off_t at) {
    return fs != nullptr ? mayfly_pread(fd, b, n, at) : ::pread(fd, b, n, at);
  }
};

void Print(const Options& o, const char* name, double value, const char* unit, double extra = -1) {
  std::printf("{\"name\":\"%s\",\"value\":%.6g,\"unit\":\"%s\",\"side\":\"%s\",\"bytes\":%zu,\"checksum\":%d", name,
              value, unit, o.posix.empty() ? "mayfly" : "posix", o.bytes, o.checksum ? 1 : 0);
  if (extra >= 0) std::printf(",\"p99\":%.6g", extra);
  std::printf("}\n");
  std::fflush(stdout);
}

// ---- one at a time --------------------------------------------------------------------------------------------------

void Latency(const Options& o, Side& side) {
  std::vector<double> create(o.count), stat(o.count), unlink(o.count);
  std::vector<std::string> names;
  for (size_t i = 0; i < o.count; ++i) names.push_back(side.Path("f" + std::to_string(i)));
  for (size_t i = 0; i < o.count; ++i) {
    const double a = Now();
    int fd = side.Open(names[i], O_CREAT | O_EXCL | O_WRONLY, 0644);
    if (fd < 0 || side.Close(fd) != 0) Die("create", side.library());
    create[i] = Now() - a;
  }
  struct stat st;
  for (size_t i = 0; i < o.count; ++i) {
    const double a = Now();
    if (side.Stat(names[i], &st) != 0) Die("stat", side.library());
    stat[i] = Now() - a;
  }
  for (size_t i = 0; i < o.count; ++i) {
    const double a = Now();
    if (side.Unlink(names[i]) != 0) Die("unlink", side.library());
    unlink[i] = Now() - a;
  }
  Print(o, "latency create+close", Median(create) * 1e6, "us", Percentile99(create) * 1e6);
  Print(o, "latency stat", Median(stat) * 1e6, "us", Percentile99(stat) * 1e6);
  Print(o, "latency unlink", Median(unlink) * 1e6, "us", Percentile99(unlink) * 1e6);
}

void Creates(const Options& o, Side& side) {
  double a = Now();
  for (size_t i = 0; i < o.count; ++i) {
    int fd = side.Open(side.Path("c" + std::to_string(i)), O_CREAT | O_EXCL | O_WRONLY, 0644);
    if (fd < 0 || side.Close(fd) != 0) Die("create", side.library());
  }
  Print(o, "creates", static_cast<double>(o.count) / (Now() - a), "1/s");
  for (size_t i = 0; i < o.count; ++i) {
    if (side.Unlink(side.Path("c" + std::to_string(i))) != 0) Die("unlink", side.library());
  }
}

// ---- many in flight -------------------------------------------------------------------------------------------------

void Phase(const Options& o, Side& side, const char* name, mayfly_op_kind kind, const std::vector<std::string>& paths) {
  mayfly_batch* batch = mayfly_batch_create(side.fs);
  if (batch == nullptr) Die("batch", true);
  std::vector<mayfly_op> ops(o.depth);
  std::vector<struct stat> stats(o.depth);
  std::vector<mayfly_op*> done(o.depth), submit;
  size_t next = 0, finished = 0;
  auto arm = [&](mayfly_op* op) {
    struct stat* st = &stats[static_cast<size_t>(op - ops.data())];
    *op = mayfly_op{};
    op->kind = kind;
    op->path = paths[next++].c_str();
    op->mode = 0644;
    op->flags = O_EXCL;
    op->buffer = st;
    submit.push_back(op);
  };
  const double a = Now();
  for (size_t i = 0; i < std::min(o.depth, paths.size()); ++i) arm(&ops[i]);
  while (finished < paths.size()) {
    if (!submit.empty() && mayfly_batch_submit(batch, submit.data(), submit.size()) != 0) Die("submit", true);
    submit.clear();
    const ssize_t n = mayfly_batch_wait(batch, 1, done.data(), done.size(), -1);
    if (n <= 0) Die("wait", true);
    for (ssize_t i = 0; i < n; ++i) {
      if (done[i]->error != 0) {
        errno = done[i]->error;
        Die(name, false);
      }
      ++finished;
      if (next < paths.size()) arm(done[i]);
    }
  }
  Print(o, name, static_cast<double>(paths.size()) / (Now() - a), "1/s");
  mayfly_batch_destroy(batch);
}

void Rates(const Options& o, Side& side) {
  std::vector<std::string> names;
  for (size_t i = 0; i < o.count; ++i) names.push_back(side.Path("r" + std::to_string(i)));
  Phase(o, side, "rate empty", MAYFLY_OP_PING, names);
  Phase(o, side, "rate create", MAYFLY_OP_CREATE, names);
  Phase(o, side, "rate stat", MAYFLY_OP_STAT, names);
  Phase(o, side, "rate unlink", MAYFLY_OP_UNLINK, names);
}

// Creates them and leaves them, for the memory that a file takes; or looks for each: one that is missing ends the run.
void Files(const Options& o, Side& side, const char* name, mayfly_op_kind kind) {
  std::vector<std::string> names;
  for (size_t i = 0; i < o.count; ++i) names.push_back(side.Path("m" + std::to_string(i)));
  Phase(o, side, name, kind, names);
}

// A steady load: as much is there at its end as at its beginning.
void Churn(const Options& o, Side& side) {
  std::vector<uint64_t> data((o.bytes + 7) / 8);
  std::vector<char> back(o.bytes);
  const auto path = [&](size_t i) { return side.Path("k" + std::to_string(i)); };
  const auto remove = [&](size_t i) {
    Fill(&data, i);
    int fd = side.Open(path(i), O_RDONLY, 0);
    if (fd < 0 || side.Read(fd, back.data(), o.bytes, 0) != static_cast<ssize_t>(o.bytes)) Die("read", side.library());
    if (std::memcmp(data.data(), back.data(), o.bytes) != 0) {
      std::fprintf(stderr, "mayfly_operations: file %zu came back with other bytes\n", i);
      std::exit(1);
    }
    if (side.Close(fd) != 0 || side.Unlink(path(i)) != 0) Die("unlink", side.library());
  };
  const double a = Now();
  for (size_t i = 0; i < o.count; ++i) {
    Fill(&data, i);
    int fd = side.Open(path(i), O_CREAT | O_EXCL | O_WRONLY, 0644);
    if (fd < 0 || side.Write(fd, data.data(), o.bytes, 0) != static_cast<ssize_t>(o.bytes) || side.Close(fd) != 0) {
      Die("write", side.library());
    }
    if (i >= o.depth) remove(i - o.depth);
  }
  for (size_t i = o.count - std::min(o.count, o.depth); i < o.count; ++i) remove(i);
  Print(o, "churn", static_cast<double>(o.count) / (Now() - a), "1/s");
}

// ---- bytes ----------------------------------------------------------------------------------------------------------

// Write-behind and readahead begin once a process has written small pieces in a row: lets it do so, and waits until
// files are opened for it alone.
void WarmUp(const Options& o, Side& side) {
  if (!o.buffered || !side.library()) return;
  const std::string path = side.Path("warm");
  char piece[512] = {};
  for (int round = 0; round < 20; ++round) {
    int fd = side.Open(path, O_CREAT | O_RDWR, 0644);
    if (fd < 0) Die("open", true);
    for (int i = 0; i < 8; ++i) {
      if (side.Write(fd, piece, sizeof piece, static_cast<off_t>(i * sizeof piece)) < 0) Die("write", true);
    }
    if (side.Close(fd) != 0) Die("close", true);
    usleep(10'000);
  }
  if (side.Unlink(path) != 0) Die("unlink", true);
}

constexpr int kPasses = 6;

// The seconds that reading all blocks takes, by groups whose content is compared with `data` between two looks at the
// clock: a look costs as much as half a small block's copy.
template <class Read>
double ReadAll(const Options& o, size_t blocks, std::vector<uint64_t>* data, Read&& read) {
  const size_t group = std::max<size_t>(size_t{64 << 10} / o.bytes, 1);
  std::vector<char> back(group * o.bytes);
  double seconds = 0;
  for (size_t i = 0; i < blocks; i += group) {
    const size_t end = std::min(i + group, blocks);
    const double a = Now();
    for (size_t k = i; k < end; ++k) read(&back[(k - i) * o.bytes], k);
    seconds += Now() - a;
    for (size_t k = i; k < end; ++k) {
      (*data)[0] = k;
      if (std::memcmp(data->data(), &back[(k - i) * o.bytes], o.bytes) != 0) {
        std::fprintf(stderr, "mayfly_operations: block %zu came back with other bytes\n", k);
        std::exit(1);
      }
    }
  }
  return seconds;
}

void Bandwidth(const Options& o, Side& side) {
  WarmUp(o, side);
  const size_t blocks = std::max<size_t>(1, o.total / o.bytes);
  std::vector<uint64_t> data((o.bytes + 7) / 8);
  const std::string path = side.Path("data");
  // The first pass touches memory that nobody touched before, which is another figure. What is written over lies in a
  // fresh place, so it takes some more until all places that are in turn have been used by this process.
  std::vector<double> writes, reads;
  for (int pass = 0; pass < kPasses; ++pass) {
    int fd = side.Open(path, O_CREAT | O_RDWR, 0644);
    if (fd < 0) Die("open", side.library());
    Fill(&data, static_cast<uint64_t>(pass) + 7);
    double a = Now();
    for (size_t i = 0; i < blocks; ++i) {
      data[0] = i;
      if (side.Write(fd, data.data(), o.bytes, static_cast<off_t>(i * o.bytes)) != static_cast<ssize_t>(o.bytes)) {
        Die("write", side.library());
      }
    }
    const double wrote = Now() - a;
    const double reading = ReadAll(o, blocks, &data, [&](char* to, size_t i) {
      if (side.Read(fd, to, o.bytes, static_cast<off_t>(i * o.bytes)) != static_cast<ssize_t>(o.bytes)) {
        Die("read", side.library());
      }
    });
    if (side.Close(fd) != 0) Die("close", side.library());
    const double bytes = static_cast<double>(blocks * o.bytes) / 1e6;
    writes.push_back(bytes / wrote);
    reads.push_back(bytes / reading);
  }
  Print(o, "write first", writes.front(), "MB/s");
  Print(o, "read first", reads.front(), "MB/s");
  Print(o, "write", Median({writes.begin() + 1, writes.end()}), "MB/s");
  Print(o, "read", Median({reads.begin() + 1, reads.end()}), "MB/s");
  if (side.Unlink(path) != 0) Die("unlink", side.library());
}

// The limit of a copy: from a buffer of one block into a working set as large as the file, and back as Bandwidth reads.
void Memcpy(const Options& o) {
  const size_t blocks = std::max<size_t>(1, o.total / o.bytes);
  std::vector<uint64_t> block((o.bytes + 7) / 8);
  Fill(&block, 3);
  void* area =
      ::mmap(nullptr, blocks * o.bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (area == MAP_FAILED) Die("mmap", false);
  char* to = static_cast<char*>(area);
  for (int pass = 0; pass < 2; ++pass) {
    const double a = Now();
    for (size_t i = 0; i < blocks; ++i) {
      block[0] = i;
      std::memcpy(to + i * o.bytes, block.data(), o.bytes);
    }
    const double in = Now() - a;
    const double out =
        ReadAll(o, blocks, &block, [&](char* into, size_t i) { std::memcpy(into, to + i * o.bytes, o.bytes); });
    if (pass == 0) continue;
    const double bytes = static_cast<double>(blocks * o.bytes) / 1e6;
    Print(o, "memcpy in", bytes / in, "MB/s");
    Print(o, "memcpy out", bytes / out, "MB/s");
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  if (argc > 1) o.what = argv[1];
  for (int i = 2; i < argc; ++i) {
    const std::string name = argv[i];
    auto number = [&] { return i + 1 < argc ? std::strtoull(argv[++i], nullptr, 10) : 0; };
    if (name == "--posix")
      o.posix = i + 1 < argc ? argv[++i] : "";
    else if (name == "--count")
      o.count = number();
    else if (name == "--bytes")
      o.bytes = number();
    else if (name == "--total")
      o.total = number();
    else if (name == "--depth")
      o.depth = number();
    else if (name == "--id")
      o.id = static_cast<int>(number());
    else if (name == "--at")
      o.at = i + 1 < argc ? argv[++i] : "";
    else if (name == "--no-checksum")
      o.checksum = false;
    else if (name == "--send")
      o.send = true;
    else if (name == "--buffered")
      o.buffered = true;
    else {
      std::fprintf(stderr, "mayfly_operations: unknown option %s\n", name.c_str());
      return 2;
    }
  }
  if (o.what == "memcpy") {
    Memcpy(o);
    return 0;
  }
  Side side;
  if (o.posix.empty()) {
    mayfly_options options;
    mayfly_options_init(&options);
    options.checksum = o.checksum ? 1 : 0;
    options.map_arena = o.send ? 0 : 1;
    if (!o.buffered) options.write_behind_bytes = options.readahead_bytes = 0;
    if (mayfly_connect(nullptr, &options, &side.fs) != 0) Die("connect", true);
  }
  side.base =
      o.at.empty() ? o.posix + "/bench" + std::to_string(o.id) + "." + std::to_string(::getpid()) : o.posix + o.at;
  if (o.what != "there" && side.Mkdir(side.base) != 0) Die("mkdir", side.library());
  if (o.what == "latency")
    Latency(o, side);
  else if (o.what == "creates")
    Creates(o, side);
  else if (o.what == "rates")
    Rates(o, side);
  else if (o.what == "bandwidth")
    Bandwidth(o, side);
  else if (o.what == "churn")
    Churn(o, side);
  else if (o.what == "files")
    Files(o, side, "create", MAYFLY_OP_CREATE);
  else if (o.what == "there")
    Files(o, side, "stat", MAYFLY_OP_STAT);
  else {
    std::fprintf(stderr, "mayfly_operations: latency, rates, creates, bandwidth, memcpy, files, there or churn\n");
    return 2;
  }
  const bool leaves = o.what == "files" || o.what == "there";
  if (!leaves && side.Rmdir(side.base) != 0) Die("rmdir", side.library());
  return side.fs != nullptr && mayfly_disconnect(side.fs) != 0 ? 1 : 0;
}
