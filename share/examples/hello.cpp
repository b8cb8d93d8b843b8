// Many operations in flight from one thread: creates a thousand files with a batch, then looks at their attributes.
//
//   c++ -std=c++17 hello.cpp $(pkg-config --cflags --libs mayfly) -o hello
#include <mayfly/mayfly.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

namespace {

constexpr size_t kFiles = 1000, kInFlight = 64;

// Runs one operation of `kind` on each path, kInFlight at a time. The number that failed.
size_t ForAll(mayfly_fs* fs, mayfly_op_kind kind, const std::vector<std::string>& paths) {
  mayfly_batch* batch = mayfly_batch_create(fs);
  if (batch == nullptr) return paths.size();
  std::vector<mayfly_op> ops(kInFlight);
  std::vector<struct stat> stats(kInFlight);
  std::vector<mayfly_op*> done(kInFlight);
  size_t next = 0, failed = 0;
  // An operation and what it points to are the batch's from submit until wait returned it.
  auto start = [&](mayfly_op* op) {
    struct stat* attributes = &stats[static_cast<size_t>(op - ops.data())];
    *op = mayfly_op{};
    op->kind = kind;
    op->path = paths[next++].c_str();
    op->mode = 0644;
    op->buffer = attributes;
    return mayfly_batch_submit(batch, &op, 1);
  };
  for (size_t i = 0; i < kInFlight && next < paths.size(); ++i) failed += start(&ops[i]) != 0;
  for (size_t finished = 0; finished < paths.size();) {
    const ssize_t n = mayfly_batch_wait(batch, 1, done.data(), done.size(), -1);
    if (n <= 0) break;
    for (ssize_t i = 0; i < n; ++i) {
      if (done[i]->error != 0) {
        std::fprintf(stderr, "%s: %s\n", done[i]->path, std::strerror(done[i]->error));
        ++failed;
      }
      ++finished;
      if (next < paths.size()) failed += start(done[i]) != 0;
    }
  }
  mayfly_batch_destroy(batch);
  return failed;
}

}  // namespace

int main() {
  mayfly_fs* fs = nullptr;
  if (mayfly_connect(nullptr, nullptr, &fs) != 0) {
    std::fprintf(stderr, "%s\n", mayfly_error());
    return 1;
  }
  mayfly_mkdir(fs, "/batch", 0755);  // EEXIST does not matter
  std::vector<std::string> paths;
  for (size_t i = 0; i < kFiles; ++i) paths.push_back("/batch/file" + std::to_string(i));
  size_t failed = ForAll(fs, MAYFLY_OP_CREATE, paths);
  failed += ForAll(fs, MAYFLY_OP_STAT, paths);
  failed += ForAll(fs, MAYFLY_OP_UNLINK, paths);
  failed += mayfly_rmdir(fs, "/batch") != 0;
  std::printf("%zu files created, looked at and removed, %zu failures\n", kFiles, failed);
  return mayfly_disconnect(fs) == 0 && failed == 0 ? 0 : 1;
}
