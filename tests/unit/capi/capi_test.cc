// The C functions on a simulated platform: arguments, errno, sentences, batches, and what a failed check leaves.
#include <errno.h>
#include <gmock/gmock.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/histogram.h"
#include "capi/entry.h"
#include "unit/capi/sim_platform.h"
#include "unit/client/fake_server.h"
#include "wire/payload.h"

namespace mayfly {
namespace {

// A clock with a bug: what asks it the time fails a check, in the middle of whatever it is doing.
struct BadClock : SimClock {
  bool bad = false;
  Nanos Now() override {
    MAYFLY_CHECK(!bad);
    return SimClock::Now();
  }
};

struct CapiTest : testing::Test {
  BadClock clock;
  SimNetwork network{[this] {
    SimNetwork::Options options;
    options.clock = &clock;
    return options;
  }()};
  FakeServer server{network, clock, 3};
  mayfly_fs* fs = nullptr;

  CapiTest() { fs = Connect(); }
  ~CapiTest() override {
    if (fs != nullptr) {
      EXPECT_EQ(mayfly_disconnect(fs), 0) << mayfly_error();
    }
  }
  mayfly_fs* Connect() {
    SimWorld world;
    world.clock = &clock;
    world.network = &network;
    world.step = [this] { return server.Step(); };
    world.next = [this] { return server.next(); };
    auto platform =
        std::make_unique<SimPlatform>(world, server.layout(), server.placement(), server, server.identity(0));
    ClientOptions options;
    options.op_timeout = 2 * kSecond;
    return ConnectTo(std::move(platform), options, kSecond);
  }
  int Open(const char* path, int flags) { return mayfly_open(fs, path, flags, 0644); }
};

#define EXPECT_ERRNO(expression, error)                \
  do {                                                 \
    errno = 0;                                         \
    EXPECT_EQ((expression), -1);                       \
    EXPECT_EQ(errno, error) << strerrorname_np(errno); \
  } while (0)

TEST_F(CapiTest, WriteAndReadBack) {
  const int fd = Open("/f", O_CREAT | O_RDWR);
  ASSERT_GE(fd, MAYFLY_FD_BASE);
  EXPECT_EQ(mayfly_write(fd, "hello world", 11), 11);
  EXPECT_EQ(mayfly_lseek(fd, 6, SEEK_SET), 6);
  char text[20] = {};
  EXPECT_EQ(mayfly_read(fd, text, sizeof text), 5);
  EXPECT_STREQ(text, "world");
  struct stat st;
  EXPECT_EQ(mayfly_fstat(fd, &st), 0);
  EXPECT_EQ(st.st_size, 11);
  EXPECT_TRUE(S_ISREG(st.st_mode));
  EXPECT_EQ(mayfly_close(fd), 0);
  EXPECT_ERRNO(mayfly_close(fd), EBADF);
}

TEST_F(CapiTest, WhatLinuxRefusesIsRefusedAlike) {
  const int fd = Open("/f", O_CREAT | O_RDONLY);
  char byte = 0;
  EXPECT_ERRNO(mayfly_pread(99, &byte, 1, -1), EINVAL);  // the offset counts first
  EXPECT_ERRNO(mayfly_pread(99, &byte, 1, 0), EBADF);
  EXPECT_ERRNO(mayfly_write(fd, &byte, 1), EBADF);
  EXPECT_ERRNO(mayfly_read(fd, nullptr, 1), EFAULT);
  EXPECT_ERRNO(mayfly_lseek(fd, 0, 77), EINVAL);
  EXPECT_ERRNO(mayfly_ftruncate(fd, -1), EINVAL);
  EXPECT_ERRNO(mayfly_ftruncate(fd, 1), EINVAL);
  EXPECT_ERRNO(mayfly_truncate(fs, "/f", -1), EINVAL);
  EXPECT_ERRNO(mayfly_fallocate(fd, 0, 0, 0), EINVAL);
  EXPECT_ERRNO(mayfly_fallocate(fd, 0, 0, 1), EBADF);
  EXPECT_ERRNO(mayfly_fallocate(fd, 2, 0, 1), EOPNOTSUPP);
  EXPECT_ERRNO(mayfly_fallocate(fd, 1 << 20, 0, 1), EOPNOTSUPP);
  EXPECT_ERRNO(Open("/f", O_CREAT | O_DIRECTORY), EINVAL);
  EXPECT_ERRNO(Open("/f", O_ACCMODE), EINVAL);
  EXPECT_ERRNO(Open("/f", O_PATH), EINVAL);
  EXPECT_ERRNO(Open("/", O_TMPFILE | O_RDWR), EOPNOTSUPP);
  EXPECT_ERRNO(Open("", O_RDONLY), ENOENT);
  EXPECT_ERRNO(Open(nullptr, O_RDONLY), EFAULT);
  EXPECT_ERRNO(mayfly_access(fs, "/f", 8, 0), EINVAL);
  EXPECT_ERRNO(mayfly_readlink(fs, "/f", &byte, 0), EINVAL);
  EXPECT_ERRNO(mayfly_setxattr(fs, "/f", "", "v", 1, 0), ERANGE);
  EXPECT_ERRNO(mayfly_setxattr(fs, "/f", "user.a", "v", 1, 4), EINVAL);
  EXPECT_ERRNO(mayfly_setxattr(fs, "/f", "user.a", "v", 65537, 0), E2BIG);
  const timespec bad[2] = {{0, 1'000'000'000}, {0, 0}};
  EXPECT_ERRNO(mayfly_utimens(fs, "/none", bad, 0), ENOENT);
  EXPECT_ERRNO(mayfly_utimens(fs, "/f", bad, 0), EINVAL);
  const timespec omit[2] = {{0, UTIME_OMIT}, {0, UTIME_OMIT}};
  EXPECT_EQ(mayfly_utimens(fs, "/none", omit, 0), 0);
  EXPECT_EQ(mayfly_close(fd), 0);
}

TEST_F(CapiTest, VectorsAreOneTransfer) {
  const int fd = Open("/f", O_CREAT | O_RDWR);
  char a[] = "one", b[] = "", c[] = "three";
  const iovec out[3] = {{a, 3}, {b, 0}, {c, 5}};
  EXPECT_EQ(mayfly_pwritev(fd, out, 3, 2), 8);
  EXPECT_EQ(server.count(Method::kWrite), 1u);
  char d[4] = {}, e[10] = {};
  const iovec in[2] = {{d, 3}, {e, 9}};
  EXPECT_EQ(mayfly_preadv(fd, in, 2, 2), 8);
  EXPECT_STREQ(d, "one");
  EXPECT_STREQ(e, "three");
  EXPECT_ERRNO(mayfly_preadv(fd, in, -1, 0), EINVAL);
  EXPECT_ERRNO(mayfly_preadv(fd, in, 1025, 0), EINVAL);
  EXPECT_EQ(mayfly_close(fd), 0);
}

TEST_F(CapiTest, TheUmaskIsTheProcesssAtFirstAndTheSessionsOwnFromThenOn) {
  const mode_t before = umask(027);
  mayfly_fs* const other = Connect();
  EXPECT_EQ(umask(before), 027u);  // it is as it was left
  EXPECT_EQ(mayfly_mkdir(other, "/d", 0777), 0);
  EXPECT_EQ(server.Find(server.root(), "d")->attr.permissions, 0750);
  EXPECT_EQ(mayfly_umask(other, 07000), 027u);  // only permissions can be masked
  const int fd = mayfly_open(other, "/f", O_CREAT | O_WRONLY, 0666);
  EXPECT_EQ(server.Find(server.root(), "f")->attr.permissions, 0666);
  EXPECT_EQ(mayfly_umask(other, 077), 0u);
  EXPECT_EQ(mayfly_mknod(other, "/n", S_IFREG | 0666), 0);
  EXPECT_EQ(server.Find(server.root(), "n")->attr.permissions, 0600);
  EXPECT_EQ(mayfly_umask(fs, before), before);  // each session has its own
  EXPECT_EQ(mayfly_close(fd), 0);
  EXPECT_EQ(mayfly_disconnect(other), 0);
}

TEST_F(CapiTest, MknodMakesAnEmptyFileAndOpensNothing) {
  ASSERT_EQ(mayfly_mknod(fs, "/n", S_IFREG | 0640), 0);
  EXPECT_EQ(server.Find(server.root(), "n")->attr.permissions, 0640 & ~022);
  EXPECT_ERRNO(mayfly_mknod(fs, "/n", 0600), EEXIST);
  EXPECT_ERRNO(mayfly_mknod(fs, "/n/", 0600), EEXIST);
  EXPECT_ERRNO(mayfly_mknod(fs, "/missing/", 0600), ENOENT);
  EXPECT_ERRNO(mayfly_mknod(fs, "/", 0600), EEXIST);
  EXPECT_ERRNO(mayfly_mknod(fs, "/fifo", S_IFIFO | 0600), EOPNOTSUPP);
  EXPECT_ERRNO(mayfly_mknod(fs, nullptr, 0600), EFAULT);
  EXPECT_ERRNO(mayfly_mknod(nullptr, "/n", 0600), EFAULT);
}

TEST_F(CapiTest, SyncTellsAnErrorOfAnyFileOnce) {
  EXPECT_EQ(mayfly_sync(fs), 0);
  const int fd = Open("/f", O_CREAT | O_WRONLY), other = Open("/g", O_CREAT | O_WRONLY);
  Registry::Get().files().Find(fd)->deferred = Code::kNoSpace;
  EXPECT_ERRNO(mayfly_sync(fs), ENOSPC);
  EXPECT_EQ(mayfly_sync(fs), 0);
  EXPECT_ERRNO(mayfly_sync(nullptr), EFAULT);
  EXPECT_EQ(mayfly_close(fd), 0);
  EXPECT_EQ(mayfly_close(other), 0);
}

TEST_F(CapiTest, ASentenceSaysWhatAndWhere) {
  struct stat st;
  EXPECT_ERRNO(mayfly_stat(fs, "/no/such", &st), ENOENT);
  EXPECT_STREQ(mayfly_error(), "stat '/no/such': No such file or directory");
  server.On<Method::kUnlink>([](const NameRequest&, Empty*, FakeCall&) { return Code::kShutdown; });
  EXPECT_ERRNO(mayfly_unlink(fs, "/x"), ESHUTDOWN);
  EXPECT_NE(strstr(mayfly_error(), "the session is stopping"), nullptr);
}

TEST_F(CapiTest, ABatchKeepsManyInFlight) {
  mayfly_batch* batch = mayfly_batch_create(fs);
  ASSERT_NE(batch, nullptr);
  constexpr size_t kOps = 100;
  std::vector<mayfly_op> ops(kOps);
  std::vector<mayfly_op*> list;
  std::vector<std::string> names(kOps);
  for (size_t i = 0; i < kOps; ++i) {
    names[i] = "/b" + std::to_string(i);
    ops[i].kind = MAYFLY_OP_CREATE;
    ops[i].path = names[i].c_str();
    ops[i].mode = 0644;
    ops[i].flags = i == 50 ? O_EXCL : 0;
    list.push_back(&ops[i]);
  }
  server.Add(server.root(), "b50", FileType::kFile);
  EXPECT_EQ(mayfly_batch_submit(batch, list.data(), kOps), 0);
  std::vector<mayfly_op*> done(kOps);
  size_t finished = 0;
  while (finished < kOps) {
    const ssize_t n = mayfly_batch_wait(batch, 10, done.data(), 30, -1);
    ASSERT_GE(n, 10);
    finished += static_cast<size_t>(n);
  }
  for (size_t i = 0; i < kOps; ++i) {
    EXPECT_EQ(ops[i].error, i == 50 ? EEXIST : 0);
    EXPECT_EQ(ops[i].result, i == 50 ? -1 : 0);
  }
  EXPECT_EQ(mayfly_batch_wait(batch, 1, done.data(), 30, -1), 0);  // nothing is left

  char text[8] = {};
  struct stat st;
  mayfly_op open{}, write{}, read{}, stat_op{}, bad{};
  open.kind = MAYFLY_OP_OPEN;
  open.path = "/b1";
  open.flags = O_RDWR;
  mayfly_op* one = &open;
  EXPECT_EQ(mayfly_batch_submit(batch, &one, 1), 0);
  EXPECT_EQ(mayfly_batch_wait(batch, 1, done.data(), 1, 1000), 1);
  ASSERT_GE(open.result, MAYFLY_FD_BASE);
  write.kind = MAYFLY_OP_PWRITE;
  write.fd = read.fd = static_cast<int>(open.result);
  write.buffer = const_cast<char*>("abc");
  write.bytes = 3;
  one = &write;
  EXPECT_EQ(mayfly_batch_submit(batch, &one, 1), 0);
  EXPECT_EQ(mayfly_batch_wait(batch, 1, done.data(), 1, 1000), 1);
  read.kind = MAYFLY_OP_PREAD;
  read.buffer = text;
  read.bytes = 8;
  stat_op.kind = MAYFLY_OP_STAT;
  stat_op.path = "/b1";
  stat_op.buffer = &st;
  mayfly_op* two[] = {&read, &stat_op};
  EXPECT_EQ(mayfly_batch_submit(batch, two, 2), 0);
  EXPECT_EQ(mayfly_batch_wait(batch, 2, done.data(), 9, -1), 2);
  EXPECT_EQ(read.result, 3);
  EXPECT_STREQ(text, "abc");
  EXPECT_EQ(st.st_size, 3);
  mayfly_op ping{};
  ping.kind = MAYFLY_OP_PING;
  mayfly_op* pings[] = {&ping};
  EXPECT_EQ(mayfly_batch_submit(batch, pings, 1), 0);
  EXPECT_EQ(mayfly_batch_wait(batch, 1, done.data(), 9, -1), 1);
  EXPECT_EQ(ping.error, 0);
  bad.kind = 99;
  mayfly_op* mixed[] = {&read, &bad};
  EXPECT_ERRNO(mayfly_batch_submit(batch, mixed, 2), EINVAL);
  EXPECT_EQ(mayfly_batch_destroy(batch), 0);
  EXPECT_EQ(mayfly_close(static_cast<int>(open.result)), 0);
}

TEST_F(CapiTest, ABatchWaitsNoLongerThanItIsTold) {
  server.On<Method::kUnlink>([](const NameRequest&, Empty*, FakeCall&) { return std::optional<Code>(); });
  mayfly_batch* batch = mayfly_batch_create(fs);
  mayfly_op op{};
  op.kind = MAYFLY_OP_UNLINK;
  op.path = "/x";
  mayfly_op* one = &op;
  EXPECT_EQ(mayfly_batch_submit(batch, &one, 1), 0);
  const Nanos before = clock.Now();
  EXPECT_EQ(mayfly_batch_wait(batch, 1, &one, 1, 50), 0);
  EXPECT_LE(clock.Now() - before, 100 * kMillisecond);
  EXPECT_EQ(mayfly_batch_wait(batch, 1, &one, 1, -1), 1);  // the operation's own deadline
  EXPECT_EQ(op.error, ETIMEDOUT);
  EXPECT_EQ(mayfly_batch_destroy(batch), 0);
}

TEST_F(CapiTest, DescriptorsOfASessionEndWithIt) {
  const int fd = Open("/f", O_CREAT | O_WRONLY);
  EXPECT_EQ(mayfly_disconnect(fs), 0) << mayfly_error();
  EXPECT_EQ(server.count(Method::kClose), 1u);
  EXPECT_ERRNO(mayfly_write(fd, "x", 1), EBADF);
  fs = Connect();
  ASSERT_NE(fs, nullptr);
}

TEST_F(CapiTest, TwoSessionsDoNotMixTheirDescriptors) {
  mayfly_fs* other = Connect();
  ASSERT_NE(other, nullptr);
  const int a = Open("/a", O_CREAT | O_WRONLY);
  const int b = mayfly_open(other, "/b", O_CREAT | O_WRONLY, 0644);
  EXPECT_NE(a, b);
  EXPECT_EQ(mayfly_disconnect(other), 0);
  EXPECT_ERRNO(mayfly_write(b, "x", 1), EBADF);
  EXPECT_EQ(mayfly_write(a, "x", 1), 1);
  EXPECT_EQ(mayfly_close(a), 0);
}

TEST_F(CapiTest, AServerThatIsGoneIsAnErrorInTime) {
  const int fd = Open("/f", O_CREAT | O_WRONLY);
  for (uint32_t s = 0; s < 3; ++s) network.Kill(server.transport(s));
  const Nanos before = clock.Now();
  struct stat st;
  EXPECT_EQ(mayfly_stat(fs, "/f", &st), -1);
  EXPECT_EQ(errno, EIO);
  EXPECT_EQ(mayfly_write(fd, "x", 1), -1);
  EXPECT_NE(strstr(mayfly_error(), "cannot be reached"), nullptr);
  EXPECT_LE(clock.Now() - before, 5 * kSecond);
  EXPECT_EQ(mayfly_disconnect(fs), 0);
  fs = nullptr;
}

// In a process of its own, because what was under way when the check failed is never cleaned up.
int FailACheck(CapiTest* test) {
  mayfly_fs* fs = test->fs;
  mayfly_fs* other = test->Connect();
  const int fd = test->Open("/f", O_CREAT | O_WRONLY);
  struct stat st;
  test->clock.bad = true;  // the coroutine of unlink asks for its deadline
  if (mayfly_unlink(fs, "/x") != -1 || errno != EIO) return 1;
  test->clock.bad = false;
  if (mayfly_stat(fs, "/", &st) != -1 || errno != EIO) return 2;
  if (mayfly_write(fd, "x", 1) != -1 || errno != EIO) return 3;
  if (mayfly_stat(other, "/", &st) != 0) return 4;
  if (mayfly_disconnect(fs) != -1 || errno != EIO) return 5;
  if (mayfly_disconnect(other) != 0) return 6;
  return 0;
}

TEST_F(CapiTest, AFailedCheckPoisonsItsSessionAndNothingElse) {
  EXPECT_EXIT(_exit(FailACheck(this)), testing::ExitedWithCode(0), "internal check failed");
}

TEST_F(CapiTest, ReportsAreJson) {
  server.On<Method::kGetStatus>([](const StatusRequest&, Empty*, FakeCall& call) {
    const std::string json = fmt::format(R"({{"shard":{}}})", call.shard.value);
    call.out.assign(json.begin(), json.end());
    return Code::kOk;
  });
  for (const char* what : {"status", "ring", "ping"}) {
    char* report = mayfly_report(fs, what);
    ASSERT_NE(report, nullptr);
    EXPECT_EQ(report[0], '{');
    free(report);
  }
  errno = 0;
  EXPECT_EQ(mayfly_report(fs, "weather"), nullptr);
  EXPECT_EQ(errno, EINVAL);
}

// What a shard is asked to do, in order.
struct AskedToTrace {
  std::vector<TraceRequest> requests;
  explicit AskedToTrace(FakeServer& server, Code code = Code::kOk) {
    server.On<Method::kTrace>([this, code](const TraceRequest& q, Empty*, FakeCall& call) {
      if (call.shard == ShardId(0)) requests.push_back(q);
      if (!q.report) return call.shard == ShardId(2) ? code : Code::kOk;
      std::vector<TraceLine> lines(2);
      lines[0].method = lines[1].method = Method::kOpen;
      lines[0].stage = TraceStage::kWork;
      lines[0].sum = lines[0].max = 40 + call.shard.value;
      lines[0].buckets = {{static_cast<uint16_t>(Histogram::BucketOf(40 + call.shard.value)), 1}};
      lines[1].stage = TraceStage::kWire;
      lines[1].sum = lines[1].max = 1'000;
      lines[1].buckets = {{static_cast<uint16_t>(Histogram::BucketOf(1'000)), 1}};
      const std::string payload = EncodedPayload(lines, kTransferBytesMax);
      call.out.assign(payload.begin(), payload.end());
      return Code::kOk;
    });
  }
};

TEST_F(CapiTest, ATraceIsRenewedEndedAndAddedUp) {
  AskedToTrace asked(server);
  const Nanos start = clock.Now();
  char* text = mayfly_trace(fs, 2'500);
  ASSERT_NE(text, nullptr) << mayfly_error();
  EXPECT_GE(clock.Now() - start, 2'500 * kMillisecond);
  const auto report = nlohmann::json::parse(text);
  free(text);
  ASSERT_EQ(report["methods"].size(), 1u);
  const auto& method = report["methods"][0];
  EXPECT_EQ(method["method"], "Open");
  EXPECT_EQ(method["count"], 3);
  EXPECT_EQ(method["stages"]["work"]["count"], 3);
  EXPECT_DOUBLE_EQ(method["stages"]["work"]["p50_us"], 0.041);
  EXPECT_DOUBLE_EQ(method["stages"]["work"]["max_us"], 0.042);
  EXPECT_DOUBLE_EQ(method["stages"]["wire"]["mean_us"], 1.0);
  EXPECT_FALSE(method["stages"].contains("wait"));
  EXPECT_EQ(report["shards"], 3);
  // On, twice more, off, and the report.
  ASSERT_EQ(asked.requests.size(), 5u);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(asked.requests[i].trace, asked.requests[0].trace);
    EXPECT_EQ(asked.requests[i].for_ms, i < 3 ? 3'000u : 0u);
    EXPECT_EQ(asked.requests[i].report, i == 4);
  }
}

TEST_F(CapiTest, ATraceThatOneServerRefusesEndsAtTheOthers) {
  AskedToTrace asked(server, Code::kBusy);
  errno = 0;
  EXPECT_EQ(mayfly_trace(fs, 1'000), nullptr);
  EXPECT_EQ(errno, EBUSY);
  EXPECT_THAT(mayfly_error(), testing::HasSubstr("being traced already"));
  ASSERT_EQ(asked.requests.size(), 2u);
  EXPECT_EQ(asked.requests[1].for_ms, 0u);
  EXPECT_TRUE(asked.requests[1].report);  // it is not kept for this one
  AskedToTrace other(server, Code::kPermission);
  EXPECT_EQ(mayfly_trace(fs, 1'000), nullptr);
  EXPECT_EQ(errno, EPERM);
}

TEST_F(CapiTest, AFlushIsFollowedToItsEnd) {
  int asked = 0;
  server.On<Method::kFlush>([&](const FlushRequest& q, FlushReply* a, FakeCall& call) {
    EXPECT_EQ(call.shard, server.placement().RootShard());
    EXPECT_TRUE(q.flush);
    FlushSpec spec;
    Decoder d(Bytes(call.payload));
    spec.Fields(d);
    EXPECT_TRUE(d.Finish().ok());
    EXPECT_EQ(spec.target, "/pfs/out");
    a->job = 99;
    return Code::kOk;
  });
  server.On<Method::kFlushStatus>([&](const FlushStatusRequest& q, FlushStatusReply* a, FakeCall& call) {
    EXPECT_EQ(q.job, 99u);
    a->files_done = static_cast<uint64_t>(++asked);
    a->files_total = 3;
    a->done = asked == 3;
    a->result = Code::kNoSpace;
    const std::string report = R"({"missing":["/a"]})";
    if (a->done) call.out.assign(report.begin(), report.end());
    return Code::kOk;
  });
  mayfly_flush_options options;
  mayfly_flush_options_init(&options);
  options.target = "/pfs/out";
  std::vector<uint64_t> seen;
  char* report = nullptr;
  auto progress = [](const mayfly_progress* now, void* user) {
    static_cast<std::vector<uint64_t>*>(user)->push_back(now->files_done);
    return 0;
  };
  EXPECT_EQ(mayfly_flush(fs, &options, progress, &seen, &report), -1);
  EXPECT_EQ(errno, ENOSPC);
  EXPECT_EQ(seen, (std::vector<uint64_t>{1, 2, 3}));
  ASSERT_NE(report, nullptr);
  EXPECT_STREQ(report, R"({"missing":["/a"]})");
  free(report);
}

}  // namespace
}  // namespace mayfly
