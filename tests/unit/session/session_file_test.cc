#include "session/session_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "scratch.h"
#include "session/uuid.h"

namespace mayfly {
namespace {

using Json = nlohmann::ordered_json;

class SessionFileTest : public Scratch {
 protected:
  const std::string path_ = At("session.json");
  const SessionFile file_ = ExampleFile(UuidOf(7));
};

TEST(SessionUuid, TextAndBack) {
  const Uuid uuid = {0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x42, 0xd3, 0xa4, 0x56, 0x42, 0x66, 0x14, 0x17, 0x40, 0x00};
  EXPECT_EQ(UuidText(uuid), "123e4567-e89b-42d3-a456-426614174000");
  EXPECT_EQ(ParseUuid(UuidText(uuid)), uuid);
  for (const char* bad : {"", "123e4567", "123e4567-e89b-42d3-a456-42661417400",
                          "123e4567-e89b-42d3-a456-4266141740000", "123E4567-e89b-42d3-a456-426614174000",
                          "123e4567ae89b-42d3-a456-426614174000", "123e4567-e89b-42d3-a456-42661417400g"}) {
    EXPECT_FALSE(ParseUuid(bad)) << bad;
  }
}

TEST_F(SessionFileTest, WhatWasWrittenIsRead) {
  for (SessionState state : {SessionState::kStarting, SessionState::kReady, SessionState::kStopping}) {
    SessionFile file = file_;
    file.state = state;
    file.ring = {.points_per_member = 20, .seed = ~uint64_t{0}};
    ASSERT_TRUE(WriteSessionFile(path_, file).ok());
    auto read = ReadSessionFile(path_, Uid(), kSpoken);
    ASSERT_TRUE(read.ok()) << read.failure().sentence;
    EXPECT_EQ(*read, file);
  }
}

TEST_F(SessionFileTest, OnlyTheOwnerCanReadItAndNoTemporaryFileStays) {
  const mode_t before = umask(0);
  ASSERT_TRUE(WriteSessionFile(path_, file_).ok());
  ASSERT_TRUE(WriteSessionFile(path_, file_).ok());
  umask(before);
  EXPECT_EQ(ModeOf(path_), 0600u);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(root_), {}), 1);
}

TEST_F(SessionFileTest, AFailedWriteLeavesTheOldFile) {
  ASSERT_TRUE(WriteSessionFile(path_, file_).ok());
  SessionFile file = file_;
  file.job = "\xff\xfe";
  auto written = WriteSessionFile(path_, file);
  ASSERT_FALSE(written.ok());
  ExpectSentence(written.failure(), Code::kInvalid, "UTF-8");
  EXPECT_EQ(*ReadSessionFile(path_, Uid(), kSpoken), file_);
  auto nowhere = WriteSessionFile(At("none/session.json"), file_);
  ASSERT_FALSE(nowhere.ok());
  ExpectSentence(nowhere.failure(), Code::kNoEntry, At("none/session.json"));
}

TEST_F(SessionFileTest, WrongPermissionsAndOwnersAreRefused) {
  auto missing = ReadSessionFile(path_, Uid(), kSpoken);
  ASSERT_FALSE(missing.ok());
  ExpectSentence(missing.failure(), Code::kNoEntry, path_);

  ASSERT_TRUE(WriteSessionFile(path_, file_).ok());
  for (mode_t open_to_others : {0640u, 0604u, 0620u, 0601u}) {
    ASSERT_EQ(chmod(path_.c_str(), open_to_others), 0);
    auto read = ReadSessionFile(path_, Uid(), kSpoken);
    ASSERT_FALSE(read.ok());
    ExpectSentence(read.failure(), Code::kAccess, "chmod 600 " + path_);
  }
  ASSERT_EQ(chmod(path_.c_str(), 0600), 0);
  auto others = ReadSessionFile(path_, Uid() + 1, kSpoken);
  ASSERT_FALSE(others.ok());
  ExpectSentence(others.failure(), Code::kAccess, path_);

  SessionFile file = file_;
  file.uid = Uid() + 1;  // says so inside only
  ASSERT_TRUE(WriteSessionFile(path_, file).ok());
  auto inside = ReadSessionFile(path_, Uid(), kSpoken);
  ASSERT_FALSE(inside.ok());
  ExpectSentence(inside.failure(), Code::kAccess, path_);
}

TEST_F(SessionFileTest, WhatIsNoFileIsRefusedWithoutHanging) {
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  auto pipe = ReadSessionFile(path_, Uid(), kSpoken);
  ASSERT_FALSE(pipe.ok());
  ExpectSentence(pipe.failure(), Code::kInvalid, path_);
  auto directory = ReadSessionFile(root_, Uid(), kSpoken);
  ASSERT_FALSE(directory.ok());
  ExpectSentence(directory.failure(), Code::kInvalid, root_);
}

TEST_F(SessionFileTest, OtherVersionsAreNamedAsSuchWhateverTheRestIs) {
  Json json = {{"format", "mayfly-session"}, {"version", 2}, {"protocol", 2}};
  auto newer = ParseSessionFile(json.dump(), path_, kSpoken);
  ASSERT_FALSE(newer.ok());
  ExpectSentence(newer.failure(), Code::kNotSupported, path_);
  json["version"] = 1;
  for (uint32_t protocol : {1u, 4u}) {
    json["protocol"] = protocol;
    auto other = ParseSessionFile(json.dump(), path_, kSpoken);
    ASSERT_FALSE(other.ok());
    ExpectSentence(other.failure(), Code::kNotSupported, "protocol " + std::to_string(protocol));
  }
}

TEST_F(SessionFileTest, CutAtAnyLengthItIsRefused) {
  const std::string text = *EncodeSessionFile(file_);
  for (size_t n = 0; n + 1 < text.size(); ++n) {  // without the last newline it is whole
    auto cut = ParseSessionFile(text.substr(0, n), path_, kSpoken);
    ASSERT_FALSE(cut.ok()) << n;
    ASSERT_EQ(cut.failure().status.code(), Code::kCorrupt) << n;
  }
}

TEST_F(SessionFileTest, EachFieldIsNeededAndChecked) {
  const Json whole = Json::parse(*EncodeSessionFile(file_));
  auto expect_damaged = [&](const Json& json, const std::string& name) {
    auto parsed = ParseSessionFile(json.dump(), path_, kSpoken);
    ASSERT_FALSE(parsed.ok()) << name;
    ExpectSentence(parsed.failure(), Code::kCorrupt, path_);
    if (name != "format") ExpectSentence(parsed.failure(), Code::kCorrupt, "\"" + name + "\"");
  };
  for (const auto& [name, value] : whole.items()) {
    SCOPED_TRACE(name);
    Json json = whole;
    json.erase(name);
    expect_damaged(json, name);
    const std::vector<Json> wrong = {nullptr, -1, 1.5, Json::object(), value.is_string() ? Json(5) : Json("text")};
    for (const Json& other : wrong) {
      json[name] = other;
      expect_damaged(json, name);
    }
  }
  auto expect_wrong = [&](const std::string& name, const Json& value) {
    Json json = whole;
    json[name] = value;
    expect_damaged(json, name);
  };
  expect_wrong("session", "7");
  expect_wrong("secret", std::string(63, '0'));
  expect_wrong("secret", std::string(64, 'G'));
  expect_wrong("state", "asleep");
  expect_wrong("uid", uint64_t{1} << 32);
  expect_wrong("ring_points", 0);
  expect_wrong("members", 0);
  expect_wrong("members", Layout::kMembersMax + 1);
  expect_wrong("shards", 1);
  expect_wrong("shards", Layout::kShardsMax + 1);
  expect_wrong("hosts", Json::array());
  expect_wrong("hosts", Json::array({"a", 5}));
  expect_wrong("hosts", Json::array({"a", "b", "c"}));
  expect_wrong("map", std::string("a\0b", 3));
  EXPECT_FALSE(ParseSessionFile("[]", path_, kSpoken).ok());
  EXPECT_FALSE(ParseSessionFile("5", path_, kSpoken).ok());
}

TEST_F(SessionFileTest, UnknownFieldsAreIgnored) {
  Json json = Json::parse(*EncodeSessionFile(file_));
  json["later"] = "idea";
  EXPECT_EQ(*ParseSessionFile(json.dump(), path_, kSpoken), file_);
}

TEST(SessionFileHosts, EachHostOnce) {
  const Layout layout =
      Layout::Build({{MemberId(0), "b", 1, 1}, {MemberId(1), "a", 1, 1}, {MemberId(2), "b", 1, 1}}).value();
  EXPECT_EQ(HostsOf(layout), (std::vector<std::string>{"b", "a"}));
}

}  // namespace
}  // namespace mayfly
