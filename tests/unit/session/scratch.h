// What the tests of this room share: a directory that goes away, and a small session to write.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "ring/layout.h"
#include "ring/placement.h"
#include "session/charter.h"
#include "session/node_map.h"
#include "session/runtime_dir.h"
#include "session/session_file.h"

namespace mayfly {

constexpr ProtocolRange kSpoken{2, 3};

class Scratch : public ::testing::Test {
 protected:
  Scratch() {
    std::string pattern = ::testing::TempDir() + "mayfly-session-XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
  }
  ~Scratch() override { std::filesystem::remove_all(root_); }

  std::string At(const std::string& name) const { return root_ + "/" + name; }
  static uint32_t Uid() { return geteuid(); }
  static void Write(const std::string& path, std::string_view content, mode_t mode = 0600) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
    ASSERT_EQ(chmod(path.c_str(), mode), 0);
  }
  static std::string Read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  static mode_t ModeOf(const std::string& path) {
    struct stat attributes {};
    EXPECT_EQ(lstat(path.c_str(), &attributes), 0) << path;
    return attributes.st_mode & 07777;
  }

  std::string root_;
};

// A sentence for users: names what it is about, is one line, does not end in a full stop.
inline void ExpectSentence(const Failure& failure, Code code, std::string_view about) {
  EXPECT_EQ(failure.status.code(), code) << failure.sentence;
  EXPECT_NE(failure.sentence.find(about), std::string::npos) << failure.sentence;
  EXPECT_EQ(failure.sentence.find('\n'), std::string::npos) << failure.sentence;
  EXPECT_FALSE(failure.sentence.ends_with('.')) << failure.sentence;
}

inline Uuid UuidOf(uint8_t n) {
  Uuid uuid;
  uuid.fill(n);
  return uuid;
}

// The layout of the worked examples: member 0 with weight 4 and two shards, member 1 with weight 1 and one.
inline Layout ExampleLayout() {
  return Layout::Build({{MemberId(0), "node0", 4, 2}, {MemberId(1), "node1", 1, 1}}).value();
}

inline SessionFile ExampleFile(const Uuid& uuid) {
  SessionFile file;
  file.uuid = uuid;
  for (size_t i = 0; i < file.secret.size(); ++i) file.secret[i] = static_cast<uint8_t>(0xa0 + i);
  file.protocol = 2;
  file.state = SessionState::kReady;
  file.durable = true;
  file.syncs = true;
  file.job = "4711";
  file.uid = geteuid();
  file.created_ns = 1700000000000000000;
  file.member_count = 2;
  file.shard_count = 3;
  file.map_path = "/nowhere/map";
  file.hosts = HostsOf(ExampleLayout());
  return file;
}

inline Charter ExampleCharter() {
  Charter charter;
  charter.uuid[0] = 0xab;
  charter.secret[31] = 1;
  charter.server_secret[0] = 2;
  charter.uid = geteuid();
  charter.created_ns = 1'700'000'000'000'000'001;
  charter.job = "4711";
  charter.chunk_bits = 22;
  charter.durability = "process";
  charter.fsync = "commit";
  charter.evict = "lru";
  charter.journal_bytes = 64u << 20;
  charter.commit_interval_ns = 2'000'000;
  charter.flush_to = "/pfs/out";
  charter.memory_bytes = 1u << 30;
  charter.capacity_bytes = 4ull << 30;
  charter.members = {{MemberId(0), "node1", 1, 2}, {MemberId(1), "node2", 3, 1}};
  charter.self = MemberId(1);
  return charter;
}

// The bytes of a map of ExampleLayout with addresses aa bb, none, and cc.
inline std::vector<uint8_t> ExampleMap(const Uuid& uuid, View view = View(3)) {
  static const Layout layout = ExampleLayout();
  static const Placement placement = Placement::Build(layout).value();
  const std::vector<Bytes> addresses = {AsBytes("\xaa\xbb"), {}, AsBytes("\xcc")};
  return *EncodeNodeMap({uuid, view, layout, {}, placement, addresses});
}

}  // namespace mayfly
