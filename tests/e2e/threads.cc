// Many threads of one process on one session, through the C interface: each on files of its own, all on one file with
// one descriptor, and on one directory; a thread that ends takes its engine with it; a forked child goes on by itself.
// Every byte and every count is checked. What it is for is the thread sanitizer; it must hold anywhere.
#include <fcntl.h>
#include <mayfly/mayfly.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr int kThreads = 8, kRounds = 6, kRecords = 40;
constexpr size_t kRecordBytes = 5000, kFileBytes = 300'000;

#define EXPECT(condition)                                                                                              \
  do {                                                                                                                 \
    if (!(condition)) {                                                                                                \
      std::fprintf(stderr, "threads.cc:%d: %s: %s, %s\n", __LINE__, #condition, std::strerror(errno), mayfly_error()); \
      std::exit(1);                                                                                                    \
    }                                                                                                                  \
  } while (false)

std::vector<char> Pattern(int who, size_t bytes) {
  std::vector<char> data(bytes);
  for (size_t i = 0; i < bytes; ++i) data[i] = static_cast<char>(static_cast<size_t>(who) * 31 + i * 7 + i / 251);
  return data;
}

void WholeLife(mayfly_fs* fs, int who, int round) {
  const std::string directory = "/own-" + std::to_string(who), file = directory + "/" + std::to_string(round);
  EXPECT(mayfly_mkdir(fs, directory.c_str(), 0755) == 0 || errno == EEXIST);
  const std::vector<char> data = Pattern(who + round, kFileBytes);
  int fd = mayfly_open(fs, file.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644);
  EXPECT(fd >= MAYFLY_FD_BASE);
  for (size_t at = 0; at < data.size(); at += 3901) {  // small and sequential: write-behind
    const size_t bytes = std::min<size_t>(3901, data.size() - at);
    EXPECT(mayfly_write(fd, data.data() + at, bytes) == static_cast<ssize_t>(bytes));
  }
  EXPECT(mayfly_close(fd) == 0);
  struct stat st;
  EXPECT(mayfly_stat(fs, file.c_str(), &st) == 0 && st.st_size == static_cast<off_t>(kFileBytes));
  fd = mayfly_open(fs, file.c_str(), O_RDONLY);
  EXPECT(fd >= 0);
  std::vector<char> back(kFileBytes + 1);
  size_t have = 0;
  for (ssize_t n; (n = mayfly_read(fd, back.data() + have, std::min<size_t>(40'000, back.size() - have))) != 0;) {
    EXPECT(n > 0);
    have += static_cast<size_t>(n);
  }
  EXPECT(have == kFileBytes && std::memcmp(back.data(), data.data(), have) == 0);
  EXPECT(mayfly_close(fd) == 0);
  if (round % 2 == 0) EXPECT(mayfly_unlink(fs, file.c_str()) == 0);
}

void Batch(mayfly_fs* fs, int who, int round) {
  mayfly_batch* batch = mayfly_batch_create(fs);
  EXPECT(batch != nullptr);
  std::vector<std::string> paths;
  for (int i = 0; i < kRecords; ++i) {
    paths.push_back("/shared/" + std::to_string(who) + "-" + std::to_string(round) + "-" + std::to_string(i));
  }
  std::vector<mayfly_op> ops(kRecords);
  std::vector<mayfly_op*> list, done(kRecords);
  for (int i = 0; i < kRecords; ++i) {
    mayfly_op& op = ops[static_cast<size_t>(i)];
    op = {};
    op.kind = MAYFLY_OP_CREATE;
    op.path = paths[static_cast<size_t>(i)].c_str();
    op.mode = 0600;
    op.flags = O_EXCL;
    list.push_back(&op);
  }
  EXPECT(mayfly_batch_submit(batch, list.data(), list.size()) == 0);
  EXPECT(mayfly_batch_wait(batch, list.size(), done.data(), done.size(), -1) == kRecords);
  for (const mayfly_op& op : ops) EXPECT(op.result == 0);
  EXPECT(mayfly_batch_destroy(batch) == 0);
}

size_t EntriesOf(mayfly_fs* fs, const char* path) {
  mayfly_dir* dir = mayfly_opendir(fs, path);
  EXPECT(dir != nullptr);
  size_t count = 0;
  mayfly_dirent entry;
  int more;
  while ((more = mayfly_readdir(dir, &entry)) == 1) ++count;
  EXPECT(more == 0);
  EXPECT(mayfly_closedir(dir) == 0);
  return count - 2;  // "." and ".."
}

void Child(mayfly_fs* fs) {
  const std::vector<char> data = Pattern(1, 10'000);
  const int fd = mayfly_open(fs, "/child", O_CREAT | O_RDWR, 0644);
  EXPECT(fd >= 0 && mayfly_pwrite(fd, data.data(), data.size(), 0) == static_cast<ssize_t>(data.size()));
  EXPECT(mayfly_close(fd) == 0 && mayfly_disconnect(fs) == 0);
  std::_Exit(0);
}

// The thread sanitizer ends a child of many threads' process that starts a thread, as the library does there.
#ifdef __SANITIZE_THREAD__
constexpr bool kForks = false;
#else
constexpr bool kForks = true;
#endif

}  // namespace

int main() {
  mayfly_fs* fs = nullptr;
  EXPECT(mayfly_connect(nullptr, nullptr, &fs) == 0);
  EXPECT(mayfly_mkdir(fs, "/shared", 0755) == 0);
  const int one = mayfly_open(fs, "/one", O_CREAT | O_RDWR, 0644),
            log = mayfly_open(fs, "/log", O_CREAT | O_WRONLY | O_APPEND, 0644);
  EXPECT(one >= 0 && log >= 0);
  std::atomic<int> lives{0};
  for (int generation = 0; generation < 2; ++generation) {
    std::vector<std::thread> threads;
    for (int who = 0; who < kThreads; ++who) {
      threads.emplace_back([=, &lives] {
        const int name = generation * kThreads + who;
        for (int round = 0; round < kRounds; ++round) {
          WholeLife(fs, name, round);
          Batch(fs, name, round);
          for (int i = who; i < kRecords; i += kThreads) {  // records of one file by all, through one descriptor
            const std::vector<char> record = Pattern(i, kRecordBytes);
            EXPECT(mayfly_pwrite(one, record.data(), record.size(), i * static_cast<off_t>(kRecordBytes)) ==
                   static_cast<ssize_t>(kRecordBytes));
          }
          EXPECT(mayfly_write(log, "0123456", 7) == 7);
          (void)EntriesOf(fs, "/shared");
        }
        ++lives;
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT(lives == 2 * kThreads);
  EXPECT(EntriesOf(fs, "/shared") == static_cast<size_t>(2 * kThreads * kRounds * kRecords));
  for (int i = 0; i < kRecords; ++i) {
    const std::vector<char> want = Pattern(i, kRecordBytes);
    std::vector<char> have(kRecordBytes);
    EXPECT(mayfly_pread(one, have.data(), have.size(), i * static_cast<off_t>(kRecordBytes)) ==
               static_cast<ssize_t>(kRecordBytes) &&
           have == want);
  }
  struct stat st;
  EXPECT(mayfly_fstat(log, &st) == 0 && st.st_size == 2 * kThreads * kRounds * 7);
  if (kForks) {
    const pid_t child = fork();
    if (child == 0) Child(fs);
    int status = 0;
    EXPECT(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    EXPECT(mayfly_stat(fs, "/child", &st) == 0 && st.st_size == 10'000);
  }
  EXPECT(mayfly_close(one) == 0 && mayfly_close(log) == 0 && mayfly_disconnect(fs) == 0);
  std::puts("all as expected");
}
