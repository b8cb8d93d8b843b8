// Storage of a member on a real directory, as its servers make it: charter, journals with records, kept memory.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <string>

#include "adapt/local_disk.h"
#include "adapt/posix/clock.h"
#include "adapt/posix/posix_kept_memory.h"
#include "base/log.h"
#include "base/tlv.h"
#include "inspect/places.h"
#include "journal/journal.h"
#include "session/process_mark.h"
#include "session/runtime_dir.h"

namespace mayfly {

// A journal that is open, in this process, as in a server.
class OpenJournal {
 public:
  OpenJournal(const std::string& directory, const std::string& kept_in, JournalIdentity identity)
      : kept_({.directory = kept_in, .prefix = KeptPrefix(identity.shard)}) {
    options_.identity = identity;
    options_.ring_bytes = kRingBytesMin;
    options_.window_bytes = kWindowBytesMin;
    LocalDiskOptions disk;
    disk.directory.path = directory;
    disk.try_uring = false;
    disk.at_once_in_memory = true;
    disk_ = OpenLocalDisk(std::move(disk)).disk;
    auto made = Run(Journal::Create(&executor_, disk_.get(), &kept_, options_));
    EXPECT_TRUE(made.ok()) << TextOf(made.code());
    if (made.ok()) journal_ = std::move(*made);
  }
  ~OpenJournal() {
    if (journal_ != nullptr) Run(journal_->Stop());  // as a kill leaves it
  }
  void Append(int records) {
    for (int i = 0; i < records; ++i) {
      TlvWriter w;
      w.PutWith(7, 4, [&](Encoder& e) { e.Put(i); });
      ASSERT_TRUE(journal_->Append(w.bytes()).ok());
    }
  }
  void CloseInOrder() {
    ASSERT_TRUE(Run(journal_->Close()).ok());
    journal_.reset();
  }

 private:
  template <class T>
  T Run(Task<T> task) {
    while (!task.done()) {
      if (journal_ != nullptr) journal_->Turn();
      disk_->Poll();
      executor_.RunOnce();
    }
    if constexpr (!std::is_void_v<T>) return task.Take();
  }

  PosixClock clock_;
  Executor executor_{clock_};
  PosixKeptMemory kept_;
  JournalOptions options_;
  std::unique_ptr<LocalDisk> disk_;
  std::unique_ptr<Journal> journal_;
};

struct StorageWorld : testing::Test {
  StorageWorld() {
    std::string pattern = testing::TempDir() + "mayfly-inspect-XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    root = pattern;
    user.uid = geteuid();
    user.host = MarkOfThisProcess().host;
    user.runtime_path = root + "/runtime";
    user.lock_wait = 0;
    uuid.fill(0x5a);
    SetLogSink([](LogLevel, std::string_view) {}, LogLevel::kError);  // the failures are the tests'
  }
  ~StorageWorld() override {
    std::filesystem::remove_all(root);
    SetLogSink(nullptr, LogLevel::kWarn);
  }

  // Of two members, with two shards and one; `other` is where the second is.
  Charter CharterOf(MemberId self, const std::string& other) const {
    Charter charter;
    charter.uuid = uuid;
    charter.uid = user.uid;
    charter.created_ns = 1;
    charter.chunk_bits = 22;
    charter.durability = "process";
    charter.fsync = "commit";
    charter.evict = "lru";
    charter.members = {{MemberId(0), user.host, 1, 2}, {MemberId(1), other, 1, 1}};
    charter.self = self;
    return charter;
  }
  std::string Base() const { return StorageBase(root + "/dir", "", uuid); }
  std::string SessionDirectory() const { return user.runtime_path + "/" + UuidText(uuid); }
  std::string Of(MemberId member) const { return MemberStorage(Base(), member); }
  std::string Of(MemberId member, ShardId shard) const { return ShardStorage(Base(), member, shard); }

  // Both members' directories, without journals.
  void MakeDirectories(const std::string& other) {
    std::filesystem::create_directories(SessionDirectory());
    for (const std::string& path : {user.runtime_path, SessionDirectory()}) {
      std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    }
    for (const ShardId shard : {ShardId(0), ShardId(1)}) std::filesystem::create_directories(Of(MemberId(0), shard));
    std::filesystem::create_directories(Of(MemberId(1), ShardId(2)));
    for (const MemberId member : {MemberId(0), MemberId(1)}) {
      ASSERT_TRUE(WriteCharter(Of(member), CharterOf(member, other)).ok());
    }
  }
  std::unique_ptr<OpenJournal> MakeJournal(MemberId member, ShardId shard, int records) {
    JournalIdentity identity;
    identity.uuid = uuid;
    identity.shard = shard;
    auto journal = std::make_unique<OpenJournal>(Of(member, shard), SessionDirectory(), identity);
    journal->Append(records);
    return journal;
  }
  // Every file and directory, with its size and time of change.
  std::set<std::string> Everything() const {
    std::set<std::string> all;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
      const bool file = entry.is_regular_file();
      const auto changed = file ? entry.last_write_time().time_since_epoch().count() : 0;
      all.insert(fmt::format("{} {} {}", entry.path().string(), file ? entry.file_size() : 0, changed));
    }
    return all;
  }
  std::vector<MemberPlace> Find(const std::string& directory) const {
    auto found = FindPlaces(directory, user);
    EXPECT_TRUE(found.ok()) << found.failure().sentence;
    return found.ok() ? *found : std::vector<MemberPlace>();
  }

  std::string root;
  Uuid uuid{};
  PlacesOptions user;
};

}  // namespace mayfly
