// Readahead of files that are open for reading only: small reads in order are served by large ones, and every client
// sees every acknowledged write all the same.
#include <gtest/gtest.h>

#include <deque>
#include <random>

#include "server/read_leases.h"
#include "sim/client.h"

namespace mayfly {
namespace {

std::string Text(size_t bytes, uint32_t seed) {
  std::string text(bytes, '\0');
  uint32_t x = seed * 2654435761u + 1;
  for (char& c : text) {
    x = x * 1664525u + 1013904223u;
    c = static_cast<char>('a' + (x >> 24) % 26);
  }
  return text;
}

// A process and its blocking calls.
struct Process {
  explicit Process(SimCluster& cluster, ClientOptions options = {}) : client(cluster, options) {}
  Lane& lane() { return client.lane(); }
  int Open(std::string_view path, uint32_t flags) {
    auto fd = client.Wait(lane().Open(path, flags, 0644));
    EXPECT_TRUE(fd.ok()) << TextOf(fd.code());
    return fd.ok() ? *fd : -1;
  }
  FileRef File(int fd) { return client.mount().files().Find(fd); }
  std::string ReadAt(int fd, uint64_t offset, size_t bytes) {
    std::string text(bytes, '?');
    auto read = client.Wait(lane().ReadAt(File(fd), {reinterpret_cast<uint8_t*>(text.data()), bytes}, offset));
    EXPECT_TRUE(read.ok());
    text.resize(read.ok() ? *read : 0);
    return text;
  }
  std::string Read(int fd, size_t bytes) {
    std::string text(bytes, '?');
    auto read = client.Wait(lane().Read(File(fd), {reinterpret_cast<uint8_t*>(text.data()), bytes}));
    EXPECT_TRUE(read.ok());
    text.resize(read.ok() ? *read : 0);
    return text;
  }
  void WriteAt(int fd, uint64_t offset, const std::string& text) {
    auto wrote = client.Wait(lane().WriteAt(File(fd), AsBytes(text), offset));
    ASSERT_TRUE(wrote.ok());
    ASSERT_EQ(*wrote, text.size());
  }
  void Close(int fd) { EXPECT_TRUE(client.Wait(lane().Close(fd)).ok()); }
  void Truncate(std::string_view path, uint64_t size) {
    SetAttrRequest change;
    change.mask = kSetSize;
    change.size = size;
    Lane::Target target;
    target.path = path;
    EXPECT_TRUE(client.Wait(lane().SetAttr(target, change)).ok());
  }
  uint64_t hits() { return client.mount().counters().read_ahead_hits; }

  SimClient client;
};

struct ReaderTest : testing::Test {
  static constexpr size_t kRead = 1000;

  SimCluster cluster;
  Process writer{cluster, Direct()};
  Process reader{cluster};
  std::string text = Text(1'000'000, 1);
  int fd = -1;

  static ClientOptions Direct() {
    ClientOptions options;
    options.write_behind_bytes = options.readahead_bytes = 0;
    return options;
  }
  void SetUp() override {
    const int made = writer.Open("/f", kOpenCreate | kOpenWrite);
    writer.WriteAt(made, 0, text);
    writer.Close(made);
    cluster.RunFor(3 * kSecond);  // closes travel late
    fd = reader.Open("/f", kOpenRead);
  }
  void ReadSome(int count) {
    for (int i = 0; i < count; ++i) {
      const uint64_t at = reader.File(fd)->offset;
      ASSERT_EQ(reader.Read(fd, kRead), text.substr(at, kRead));
    }
  }
  void ReadsAhead() {
    ReadSome(10);
    ASSERT_TRUE(reader.File(fd)->leased);
    ASSERT_FALSE(reader.File(fd)->ahead.pieces.empty());
    ASSERT_GT(reader.hits(), 4u);
  }
  // Where the reader will go on.
  uint64_t next() { return reader.File(fd)->offset; }
  void Change(int to_fd, Process& by) {
    by.WriteAt(to_fd, next(), std::string(kRead, '#'));
    text.replace(next(), kRead, kRead, '#');
  }
};

TEST_F(ReaderTest, SmallReadsInOrderComeInLargePieces) {
  std::string all;
  for (std::string part = reader.Read(fd, 4000); !part.empty(); part = reader.Read(fd, 4000)) all += part;
  EXPECT_EQ(all, text);
  EXPECT_GT(reader.hits(), 240u);
}

TEST_F(ReaderTest, OthersThatReadDisturbNobody) {
  Process third(cluster);
  const int other = third.Open("/f", kOpenRead);
  for (int i = 0; i < 200; ++i) {
    ASSERT_EQ(third.Read(other, kRead), text.substr(static_cast<size_t>(i) * kRead, kRead));
    ReadSome(1);
  }
  EXPECT_GT(third.hits(), 180u);
  EXPECT_GT(reader.hits(), 180u);
}

TEST_F(ReaderTest, WhoOpensItToWriteWaitsForTheLeaseAndIsSeenAtOnce) {
  ReadsAhead();
  const Nanos before = cluster.clock().Now();
  const int out = writer.Open("/f", kOpenWrite);
  EXPECT_LE(cluster.clock().Now() - before, ReadLeases::kLease + kMillisecond);
  Change(out, writer);
  ReadSome(20);
  // None while it may be written to, however long it takes; then again.
  const uint64_t hits = reader.hits();
  cluster.RunFor(kSecond);
  ReadSome(20);
  Change(out, writer);
  ReadSome(20);
  EXPECT_EQ(reader.hits(), hits);
  writer.Close(out);
  cluster.RunFor(3 * kSecond);
  ReadSome(20);
  EXPECT_GT(reader.hits(), hits + 10);
}

TEST_F(ReaderTest, AReaderThatStandsStillDelaysAWriterByOneLease) {
  ReadsAhead();
  cluster.Remove(&reader.client);
  const Nanos before = cluster.clock().Now();
  const int out = writer.Open("/f", kOpenWrite);
  EXPECT_LE(cluster.clock().Now() - before, ReadLeases::kLease + kMillisecond);
  Change(out, writer);
  cluster.Add(&reader.client);
  ReadSome(20);
}

TEST_F(ReaderTest, AnOpenThatTruncatesAndATruncationByPathAreSeen) {
  ReadsAhead();
  const uint64_t end = next() + 10;
  writer.Truncate("/f", end);
  EXPECT_EQ(reader.Read(fd, kRead), text.substr(end - 10, 10));
  EXPECT_EQ(reader.Read(fd, kRead), "");
  const int out = writer.Open("/f", kOpenWrite);
  writer.WriteAt(out, 0, text);
  writer.Close(out);
  cluster.RunFor(3 * kSecond);
  ReadsAhead();
  writer.Close(writer.Open("/f", kOpenWrite | kOpenTruncate));
  EXPECT_EQ(reader.Read(fd, kRead), "");
}

TEST_F(ReaderTest, ItsOwnProcessChangesItWithoutWaiting) {
  ReadsAhead();
  const Nanos before = cluster.clock().Now();
  const int out = reader.Open("/f", kOpenWrite);
  Change(out, reader);
  ReadSome(20);
  EXPECT_FALSE(reader.File(fd)->leased);
  EXPECT_LT(cluster.clock().Now() - before, ReadLeases::kLease / 4);
  reader.Close(out);
  cluster.RunFor(ReadLeases::kLease);
  ReadsAhead();  // this process knows that it has closed it, before the home does
  const Nanos again = cluster.clock().Now();
  reader.Truncate("/f", next() + 10);
  EXPECT_LT(cluster.clock().Now() - again, ReadLeases::kLease / 4);
  EXPECT_EQ(reader.Read(fd, kRead).size(), 10u);
  EXPECT_EQ(reader.Read(fd, kRead), "");
}

TEST_F(ReaderTest, AnUnlinkedFileIsReadToItsEnd) {
  ReadsAhead();
  EXPECT_TRUE(writer.client.Wait(writer.lane().Unlink("/f")).ok());
  ReadSome(500);
  EXPECT_GT(reader.hits(), 400u);
}

TEST_F(ReaderTest, AFileThatIsReadWithAFewReadsCostsNoMessageMore) {
  const int made = writer.Open("/small", kOpenCreate | kOpenWrite);
  writer.WriteAt(made, 0, text.substr(0, 10 * kRead));
  writer.Close(made);
  const int small = reader.Open("/small", kOpenRead);
  for (int i = 0; i < 12; ++i) (void)reader.Read(small, kRead);
  EXPECT_FALSE(reader.File(small)->leased);
  EXPECT_EQ(reader.File(small)->ahead.ask_again, 0u);
}

TEST_F(ReaderTest, AForkedChildHasNoLeaseAndNoBytesOfItsParent) {
  ReadsAhead();
  const uint64_t offset = next();
  reader.client.mount().files().Renew();
  EXPECT_FALSE(reader.File(fd)->leased);
  EXPECT_EQ(reader.File(fd)->ahead.leased_until, 0u);
  EXPECT_TRUE(reader.File(fd)->ahead.pieces.empty());
  EXPECT_EQ(next(), offset);
  ReadSome(20);
}

// Processes that open, read, write, truncate and close by chance, one call at a time: each read is what the file is.
class ReadersAndWriters : public testing::TestWithParam<uint32_t> {};

TEST_P(ReadersAndWriters, EveryReadIsOfTheFileAsItIs) {
  std::mt19937 random(GetParam());
  const auto below = [&](uint64_t n) { return random() % n; };
  SimClusterOptions options;
  options.seed = GetParam();
  SimCluster cluster(options);
  std::deque<Process> processes;
  for (int i = 0; i < 3; ++i) processes.emplace_back(cluster);
  struct Handle {
    size_t process;
    int fd;
    uint64_t at = 0;
    bool reads, writes;
  };
  std::vector<Handle> handles;
  std::string text = Text(300'000, GetParam());
  {
    const int made = processes[0].Open("/f", kOpenCreate | kOpenWrite);
    processes[0].WriteAt(made, 0, text);
    processes[0].Close(made);
  }
  for (int step = 0; step < 3000; ++step) {
    if (handles.size() < 2 || (handles.size() < 7 && below(40) == 0)) {
      const size_t by = below(processes.size());
      const bool writes = below(4) == 0, reads = !writes || below(2) == 0;
      const uint32_t flags = (reads ? uint32_t{kOpenRead} : 0u) | (writes ? uint32_t{kOpenWrite} : 0u);
      handles.push_back({by, processes[by].Open("/f", flags), below(text.size() + 1), reads, writes});
      continue;
    }
    const size_t which = below(handles.size());
    Handle& handle = handles[which];
    Process& process = processes[handle.process];
    const uint64_t what = below(1000);
    if (what < 10 || (handle.writes && what < 150)) {
      process.Close(handle.fd);
      handles.erase(handles.begin() + static_cast<ptrdiff_t>(which));
    } else if (what < 13) {
      const uint64_t size = 100'000 + below(300'000);
      process.Truncate("/f", size);
      text.resize(size);
    } else if (what < 152 && what >= 150) {  // who once wrote counts as writing until all that it opened is closed
      for (const Handle& open : handles) processes[open.process].Close(open.fd);
      handles.clear();
      cluster.RunFor(2 * kSecond);
    } else if (what < 18) {
      cluster.RunFor(below(5) == 0 ? 2 * kSecond : below(300) * kMillisecond);
    } else if (what < 60) {
      handle.at = below(text.size() + 1);
    } else if (handle.writes && what < 600) {
      const std::string bytes(1 + below(3000), static_cast<char>('A' + step % 26));
      ASSERT_NO_FATAL_FAILURE(process.WriteAt(handle.fd, handle.at, bytes));
      if (text.size() < handle.at + bytes.size()) text.resize(handle.at + bytes.size());
      text.replace(handle.at, bytes.size(), bytes);
      handle.at += bytes.size();
    } else if (handle.reads) {
      // A run of them, so that there is something to read ahead.
      const size_t count = 1 + below(20);
      for (size_t i = 0; i < count; ++i) {
        const std::string expected = handle.at < text.size() ? text.substr(handle.at, 700) : "";
        ASSERT_EQ(process.ReadAt(handle.fd, handle.at, 700), expected) << "step " << step;
        handle.at += expected.size();
        if (expected.empty()) handle.at = below(text.size() + 1);
      }
    }
  }
  uint64_t hits = 0;
  for (Process& process : processes) hits += process.hits();
  EXPECT_GT(hits, 100u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, ReadersAndWriters, testing::Range(1u, 9u));

}  // namespace
}  // namespace mayfly
