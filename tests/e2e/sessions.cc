// Three connections of one process, two to one cluster and one to another, used by several threads each at once: files
// do not mix, descriptors are nobody else's, and what ends one connection, or one cluster, leaves the others alone.
//   e2e_sessions A B      session files. After "B may go" on standard output a line is awaited: then B's servers are
//   gone
#include <fcntl.h>
#include <mayfly/mayfly.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr int kThreads = 3, kRounds = 12;
constexpr size_t kBytes = 150'000;

#define EXPECT(condition)                                                                              \
  do {                                                                                                 \
    if (!(condition)) {                                                                                \
      std::fprintf(stderr, "sessions.cc:%d: %s: %s, %s\n", __LINE__, #condition, std::strerror(errno), \
                   mayfly_error());                                                                    \
      std::exit(1);                                                                                    \
    }                                                                                                  \
  } while (false)

mayfly_fs* ConnectTo(const char* session) {
  mayfly_options options;
  mayfly_options_init(&options);
  options.op_timeout_ms = 20'000;
  mayfly_fs* fs = nullptr;
  EXPECT(mayfly_connect(session, &options, &fs) == 0);
  return fs;
}

// What `cluster` has under `path`, and no other.
std::vector<char> Content(char cluster, const std::string& path) {
  std::vector<char> data(kBytes);
  size_t seed = static_cast<unsigned char>(cluster);
  for (char c : path) seed = seed * 131 + static_cast<unsigned char>(c);
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(seed + i * 7 + i / 251);
  data[0] = cluster;
  return data;
}

void ExpectContent(mayfly_fs* fs, char cluster, const std::string& path) {
  const std::vector<char> want = Content(cluster, path);
  std::vector<char> have(kBytes + 1);
  const int fd = mayfly_open(fs, path.c_str(), O_RDONLY);
  EXPECT(fd >= 0);
  EXPECT(mayfly_pread(fd, have.data(), have.size(), 0) == static_cast<ssize_t>(kBytes));
  EXPECT(std::memcmp(have.data(), want.data(), kBytes) == 0);
  EXPECT(mayfly_close(fd) == 0);
}

void Make(mayfly_fs* fs, char cluster, const std::string& path) {
  const std::vector<char> data = Content(cluster, path);
  const int fd = mayfly_open(fs, path.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644);
  EXPECT(fd >= 0);
  for (size_t at = 0; at < data.size(); at += 3901) {  // write-behind
    const size_t bytes = std::min<size_t>(3901, data.size() - at);
    EXPECT(mayfly_write(fd, data.data() + at, bytes) == static_cast<ssize_t>(bytes));
  }
  EXPECT(mayfly_close(fd) == 0);
}

// One connection, with a file that stays open.
struct Line {
  mayfly_fs* fs = nullptr;
  char cluster = 0;
  int number = 0;
  int kept = -1;
};

// The same paths on both clusters, other paths on the two connections of one.
std::string PathOf(const Line& line, int thread, int round) {
  return "/f-" + std::to_string(line.cluster == 'B' ? 0 : line.number) + "-" + std::to_string(thread) + "-" +
         std::to_string(round);
}

void Work(const Line& line, int thread, int from, int to) {
  for (int round = from; round < to; ++round) {
    const std::string path = PathOf(line, thread, round);
    Make(line.fs, line.cluster, path);
    ExpectContent(line.fs, line.cluster, path);
    char byte = 0;
    EXPECT(mayfly_pread(line.kept, &byte, 1, 0) == 1 && byte == static_cast<char>('0' + line.number));
  }
}

void AllWork(const std::vector<Line>& lines, int from, int to, const std::vector<std::thread*>& also = {}) {
  std::vector<std::thread> threads;
  for (const Line& line : lines) {
    for (int thread = 0; thread < kThreads; ++thread) threads.emplace_back(Work, line, thread, from, to);
  }
  for (std::thread& thread : threads) thread.join();
  for (std::thread* thread : also) thread->join();
}

// One thread in all connections in turn.
void TakeTurns(const std::vector<Line>& lines, const std::string& path) {
  std::set<int> descriptors;
  std::vector<int> fds;
  for (const Line& line : lines) {
    const std::string mine = path + std::to_string(line.number);
    const int fd = mayfly_open(line.fs, mine.c_str(), O_CREAT | O_RDWR, 0644);
    EXPECT(fd >= MAYFLY_FD_BASE && descriptors.insert(fd).second);
    fds.push_back(fd);
  }
  for (int round = 0; round < 50; ++round) {
    for (size_t i = 0; i < lines.size(); ++i) {
      const char byte = static_cast<char>(lines[i].number * 50 + round);
      EXPECT(mayfly_pwrite(fds[i], &byte, 1, round) == 1);
    }
  }
  for (size_t i = 0; i < lines.size(); ++i) {
    char bytes[51];
    EXPECT(mayfly_pread(fds[i], bytes, sizeof bytes, 0) == 50);
    for (int round = 0; round < 50; ++round) EXPECT(bytes[round] == static_cast<char>(lines[i].number * 50 + round));
    EXPECT(mayfly_close(fds[i]) == 0);
  }
}

Line Connect(const char* session, char cluster, int number) {
  Line line{ConnectTo(session), cluster, number, -1};
  line.kept = mayfly_open(line.fs, ("/kept-" + std::to_string(number)).c_str(), O_CREAT | O_RDWR, 0644);
  const char byte = static_cast<char>('0' + number);
  EXPECT(line.kept >= 0 && mayfly_pwrite(line.kept, &byte, 1, 0) == 1);
  return line;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  Line one = Connect(argv[1], 'A', 1), two = Connect(argv[1], 'A', 2), other = Connect(argv[2], 'B', 3);
  TakeTurns({one, two, other}, "/turn-");
  AllWork({one, two, other}, 0, kRounds);
  struct stat a, b, c;
  EXPECT(mayfly_stat(one.fs, "/f-1-0-0", &a) == 0 && mayfly_stat(two.fs, "/f-1-0-0", &b) == 0);
  EXPECT(a.st_dev == b.st_dev && a.st_ino == b.st_ino);
  EXPECT(mayfly_stat(other.fs, "/f-0-0-0", &c) == 0 && c.st_dev != a.st_dev);
  // Each cluster has its own, whoever looks.
  for (int thread = 0; thread < kThreads; ++thread) {
    for (int round = 0; round < kRounds; ++round) {
      ExpectContent(two.fs, 'A', PathOf(one, thread, round));
      ExpectContent(one.fs, 'A', PathOf(two, thread, round));
      EXPECT(mayfly_access(other.fs, PathOf(one, thread, round).c_str(), F_OK, 0) == -1 && errno == ENOENT);
      EXPECT(mayfly_access(one.fs, PathOf(other, thread, round).c_str(), F_OK, 0) == -1 && errno == ENOENT);
    }
  }

  // One goes while the others work; it may come again.
  for (int again = 1; again <= 3; ++again) {
    std::thread going([&] {
      EXPECT(mayfly_disconnect(one.fs) == 0);  // its descriptors may be the others' from here on
      one = Connect(argv[1], 'A', 1);
    });
    AllWork({two, other}, again * kRounds, (again + 1) * kRounds, {&going});
    ExpectContent(one.fs, 'A', PathOf(two, 0, again * kRounds));
  }
  TakeTurns({one, two, other}, "/turn-again-");

  // A whole cluster goes.
  std::puts("B may go");
  std::fflush(stdout);
  char line[16];
  EXPECT(std::fgets(line, sizeof line, stdin) != nullptr);
  std::thread lost([&] {
    char byte = 0;
    EXPECT(mayfly_pread(other.kept, &byte, 1, 0) == -1);
    EXPECT(mayfly_open(other.fs, "/new", O_CREAT | O_WRONLY, 0644) == -1);
    (void)mayfly_disconnect(other.fs);
  });
  AllWork({one, two}, 4 * kRounds, 5 * kRounds, {&lost});
  EXPECT(mayfly_disconnect(one.fs) == 0);
  AllWork({two}, 5 * kRounds, 6 * kRounds);
  EXPECT(mayfly_disconnect(two.fs) == 0);
  char byte = 0;
  for (const int kept : {one.kept, two.kept, other.kept}) {
    EXPECT(mayfly_pread(kept, &byte, 1, 0) == -1 && errno == EBADF);
  }
  std::puts("all as expected");
}
