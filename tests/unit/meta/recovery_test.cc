// A namespace is what its after-images say: whichever way it is recovered, from whatever checkpoint.
#include <functional>
#include <set>

#include "base/log.h"
#include "meta/images.h"
#include "unit/meta/storm.h"

namespace mayfly {
namespace {

class RecoveryTest : public testing::TestWithParam<uint64_t> {
 protected:
  void Steps(uint64_t count) {
    for (uint64_t i = 0; i < count; ++i) storm_.Step();
  }
  std::span<const Record> Since(size_t first, size_t end = SIZE_MAX) {
    const std::span<const Record> all = storm_.records();
    return all.subspan(first, std::min(end, all.size()) - first);
  }
  // The images of a walk that is interrupted by operations.
  Record Walk(size_t bytes_a_step, uint64_t operations_a_step) {
    NamespaceWalk walk(storm_.ns());
    TlvWriter out;
    Record images;
    for (bool more = true; more;) {
      more = walk.Step(&out, bytes_a_step);
      images.insert(images.end(), out.bytes().begin(), out.bytes().end());
      out.Clear();
      if (operations_a_step != 0) Steps(storm_.Random() % (2 * operations_a_step));
    }
    return images;
  }
  void ExpectEqual(Recovered& recovered) {
    ASSERT_EQ(recovered.Finish(), Code::kOk);
    ASSERT_EQ(storm_.ns().Check(), "");
    EXPECT_EQ(Dump(recovered.ns, storm_.dirs()), storm_.Dump());
    std::vector<InodeId> dead, orphans;
    storm_.ns().ForEachInode([&](Inode& inode) {
      if (inode.dead()) dead.push_back(inode.id);
      if (inode.nlink == 0 && inode.opens > 0) orphans.push_back(inode.id);
    });
    EXPECT_EQ(recovered.dead, dead);
    EXPECT_EQ(recovered.orphans, orphans);
    if (testing::Test::HasFailure()) FAIL() << "seed " << GetParam();
  }

  Storm storm_{GetParam()};
};

TEST_P(RecoveryTest, TheRecordsAloneGiveTheNamespace) {
  for (int round = 0; round < 12; ++round) {
    Steps(250);
    Recovered recovered;
    recovered.Replay(Since(0));
    ExpectEqual(recovered);
  }
}

TEST_P(RecoveryTest, ACheckpointAndTheRecordsSinceItBeganGiveTheNamespace) {
  for (int round = 0; round < 12; ++round) {
    Steps(200);
    const size_t start = storm_.records().size();
    const Record images = Walk(1 + storm_.Random() % 600, storm_.Random() % 6);
    Steps(storm_.Random() % 100);
    Recovered recovered;
    recovered.Replay(images);
    recovered.Replay(Since(start));
    ExpectEqual(recovered);
  }
}

TEST_P(RecoveryTest, ReplayingTwiceOrFromEarlierEndsTheSame) {
  Steps(1000);
  for (int round = 0; round < 6; ++round) {
    Steps(150);
    const size_t start = storm_.records().size();
    const Record images = Walk(1 + storm_.Random() % 600, 3);
    Steps(100);
    Recovered twice, earlier, torn;
    twice.Replay(images);
    twice.Replay(Since(start));
    twice.Replay(Since(start));
    ExpectEqual(twice);
    earlier.Replay(images);
    earlier.Replay(Since(storm_.Random() % (start + 1)));
    ExpectEqual(earlier);
    // Died in recovery, and once more from the start.
    torn.Replay(images);
    torn.Replay(Since(start, start + storm_.Random() % (storm_.records().size() - start)));
    torn.Replay(images);
    torn.Replay(Since(start));
    ExpectEqual(torn);
  }
}

TEST_P(RecoveryTest, ARecoveredNamespaceGoesOnAsTheFirstWould) {
  Steps(1500);
  Recovered recovered;
  recovered.Replay(Walk(500, 0));
  ExpectEqual(recovered);
  // A walk of either tells the same, however the tables grew (W1).
  const auto all_of = [](Namespace& ns) {
    TlvWriter out;
    EXPECT_FALSE(NamespaceWalk(ns).Step(&out, SIZE_MAX / 2));
    return Record(out.bytes().begin(), out.bytes().end());
  };
  EXPECT_EQ(all_of(recovered.ns), all_of(storm_.ns()));
  for (const InodeId id : recovered.dead) {
    recovered.ns.Forget(*recovered.ns.FindInode(id));
    storm_.ns().Forget(*storm_.ns().FindInode(id));
  }
  for (Namespace* ns : {&recovered.ns, &storm_.ns()}) {
    for (const InodeId dir : storm_.dirs()) {
      (void)ns->Create({dir, "new one", FileType::kFile, 0644, 0, {}}, kRoot, 5000);
      for (int i = 0; i < 12; ++i) {
        const auto gone = ns->Unlink(dir, "n" + std::to_string(i), kRoot, 5001);
        if (gone.ok() && (*gone)->dead()) ns->Forget(**gone);
      }
    }
    std::vector<InodeId> died;
    for (const ClientId process : ns->Openers()) ns->ReleaseAll(process, &died);
    for (const InodeId id : died) ns->Forget(*ns->FindInode(id));
    EXPECT_EQ(ns->Check(), "");
  }
  EXPECT_EQ(Dump(recovered.ns, storm_.dirs()), storm_.Dump());
}

TEST_P(RecoveryTest, PreparedTransactionsAreDecidedAfterwardsEitherWay) {
  for (int round = 0; round < 20; ++round) {
    Steps(100);
    Recovered commit, abort;
    commit.Replay(Since(0));
    ASSERT_EQ(commit.Finish(), Code::kOk);
    abort.Replay(Since(0));
    ASSERT_EQ(abort.Finish(), Code::kOk);
    Recovered two;
    two.Replay(Since(0));
    ASSERT_EQ(two.Finish(), Code::kOk);
    const size_t first = storm_.records().size();
    const std::vector<TxnId> prepared = storm_.prepared();
    for (const TxnId txn : prepared) {
      std::vector<InodeId> died;
      EXPECT_TRUE(abort.ns.Decide(txn, false, 77, &died).ok());
      EXPECT_TRUE(commit.ns.Decide(txn, true, 77, &died).ok());
    }
    EXPECT_EQ(abort.ns.prepared() + commit.ns.prepared(), 0u);
    EXPECT_EQ(abort.ns.Check(), "");
    EXPECT_EQ(commit.ns.Check(), "");
    // The first namespace decides them; the journal brings it to the second.
    while (!storm_.prepared().empty()) storm_.DecideOne(storm_.Random() % 2 == 0);
    Recovered later;
    later.Replay(Since(0, first));
    later.Replay(Since(first));
    ExpectEqual(later);
  }
}

TEST_P(RecoveryTest, AnImageCutShortOrTooLongIsRefused) {
  Steps(600);
  Namespace ns({Storm::kSelf, 22});
  std::set<Tag> seen;
  for (const Record& record : storm_.records()) {
    TlvReader reader{Bytes(record)};
    Tag tag = 0;
    Bytes value;
    while (reader.Next(&tag, &value)) {
      seen.insert(tag);
      for (size_t bytes = 0; bytes < value.size(); ++bytes) {
        ASSERT_EQ(ns.Apply(tag, value.first(bytes)).code(), Code::kCorrupt) << tag << " with " << bytes;
      }
      Record longer(value.begin(), value.end());
      longer.push_back(0);
      ASSERT_EQ(ns.Apply(tag, longer).code(), Code::kCorrupt) << tag;
    }
  }
  EXPECT_GE(seen.size(), 12u);
  EXPECT_EQ(ns.inodes(), 0u);
}

TEST(NamespaceWalk, AStepWritesAboutAsMuchAsItIsAskedFor) {
  Shard shard;
  const InodeId dir = shard.MakeDir(shard.root, "d");
  for (int i = 0; i < 3000; ++i) ASSERT_TRUE(shard.Make(i % 3 == 0 ? dir : shard.root, std::to_string(i)).ok());
  for (const size_t bytes : {1, 100, 1000, 65536}) {
    NamespaceWalk walk(shard.ns);
    TlvWriter out;
    size_t steps = 0, all = 0;
    for (bool more = true; more; ++steps) {
      more = walk.Step(&out, bytes);
      EXPECT_LT(out.size(), bytes + 100);
      EXPECT_TRUE(!more || out.size() >= bytes);
      all += out.size();
      out.Clear();
    }
    EXPECT_LE(steps, all / bytes + 1);
    EXPECT_FALSE(walk.Step(&out, bytes)) << "there is no more";
    EXPECT_TRUE(out.empty());
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RecoveryTest, testing::Range<uint64_t>(1, 9));

// ---- what an image must not say -----------------------------------------------------------------------------------

class Images : public testing::Test {
 public:
  template <class T>
  Code Apply(const T& image) {
    TlvWriter out;
    PutImage(&out, image);
    TlvReader reader(out.bytes());
    Tag tag = 0;
    Bytes value;
    EXPECT_TRUE(reader.Next(&tag, &value));
    return recovered_.ns.Apply(tag, value).code();
  }
  InodeId Local(uint64_t sequence) { return InodeId::Make(Storm::kSelf, sequence); }
  InodeImage File(uint64_t sequence) {
    InodeImage image;
    image.id = Local(sequence);
    image.type = FileType::kFile;
    image.chunk_bits = 22;
    return image;
  }
  InodeImage Directory(uint64_t sequence) {
    InodeImage image = File(sequence);
    image.type = FileType::kDirectory;
    image.parent = Local(1);
    return image;
  }
  PartImage Part(InodeId dir) {
    PartImage image;
    image.dir = dir;
    image.version = 1;
    image.next_sequence = 1;
    return image;
  }
  EntryImage Entry(InodeId parent, std::string_view name, uint64_t sequence, InodeId inode,
                   FileType type = FileType::kFile) {
    return {parent, inode, sequence, type, 10, name};
  }
  // The root, joined, with a file "a".
  void Good() {
    EXPECT_EQ(Apply(Directory(1)), Code::kOk);
    EXPECT_EQ(Apply(Part(Local(1))), Code::kOk);
    EXPECT_EQ(Apply(File(2)), Code::kOk);
    EXPECT_EQ(Apply(Entry(Local(1), "a", 1, Local(2))), Code::kOk);
  }
  PreparedImage Prepared(uint64_t txn, std::vector<TxnOp> ops) {
    PreparedImage image;
    image.txn = TxnId(txn);
    image.ops = std::move(ops);
    return image;
  }
  Code Finish() { return recovered_.Finish(); }

  Recovered recovered_;
};

TEST_F(Images, AnUnknownTagIsSkippedUnlessItMustBeUnderstood) {
  EXPECT_EQ(recovered_.ns.Apply(0x01f0, {}).code(), Code::kOk);
  EXPECT_EQ(recovered_.ns.Apply(0x01f0 | kTagMust, {}).code(), Code::kNotSupported);
  EXPECT_TRUE(IsNamesTag(0x01f0 | kTagMust));
  EXPECT_FALSE(IsNamesTag(0x0200));
  EXPECT_FALSE(IsNamesTag(0x0300 | kTagMust));
  EXPECT_FALSE(IsNamesTag(0x00ff));
}

TEST_F(Images, ValuesThatNoNamespaceHasAreRefused) {
  Good();
  const auto with = [](auto image, auto change) {
    change(image);
    return image;
  };
  const std::string long_name(256, 'n');
  EXPECT_EQ(Apply(with(File(3), [](auto& i) { i.id = InodeId::Make(ShardId(4), 3); })), Code::kCorrupt);
  EXPECT_EQ(Apply(with(File(3), [](auto& i) { i.id = InodeId::Make(Storm::kSelf, 0); })), Code::kCorrupt);
  EXPECT_EQ(Apply(File(uint64_t{1} << 39)), Code::kCorrupt) << "no such number was given out";
  EXPECT_EQ(Apply(with(File(3), [](auto& i) { i.type = FileType::kNone; })), Code::kCorrupt);
  EXPECT_EQ(Apply(with(File(3), [](auto& i) { i.chunk_bits = 40; })), Code::kCorrupt);
  EXPECT_EQ(Apply(with(File(3), [](auto& i) { i.permissions = 0xffff; })), Code::kCorrupt);
  EXPECT_EQ(Apply(with(File(3), [](auto& i) { i.flags = InodeImage::kDirGone; })), Code::kCorrupt);
  EXPECT_EQ(Apply(with(Directory(3), [](auto& i) { i.flags = InodeImage::kEpochs; })), Code::kCorrupt);
  EXPECT_EQ(Apply(with(Directory(3), [](auto& i) { i.parent = InodeId(); })), Code::kCorrupt);
  EXPECT_EQ(Apply(Directory(2)), Code::kCorrupt) << "a file becomes no directory";
  EXPECT_EQ(Apply(InodeGoneImage{InodeId::Make(ShardId(4), 3)}), Code::kCorrupt);
  EXPECT_EQ(Apply(InodeShardImage{InodeId::Make(ShardId(4), 3), ShardId(1)}), Code::kCorrupt);
  EXPECT_EQ(Apply(XattrImage{Local(2), "", "v"}), Code::kCorrupt);
  EXPECT_EQ(Apply(XattrImage{Local(2), long_name, "v"}), Code::kCorrupt);
  EXPECT_EQ(Apply(Entry(Local(1), "", 5, Local(2))), Code::kCorrupt);
  EXPECT_EQ(Apply(Entry(Local(1), "..", 5, Local(2))), Code::kCorrupt);
  EXPECT_EQ(Apply(Entry(Local(1), "a/b", 5, Local(2))), Code::kCorrupt);
  EXPECT_EQ(Apply(Entry(Local(1), long_name, 5, Local(2))), Code::kCorrupt);
  EXPECT_EQ(Apply(Entry(Local(1), "b", 0, Local(2))), Code::kCorrupt);
  EXPECT_EQ(Apply(Entry(Local(1), "b", uint64_t{1} << 39, Local(2))), Code::kCorrupt);
  EXPECT_EQ(Apply(Entry(Local(1), "b", 1, Local(2))), Code::kCorrupt) << "it came when \"a\" came";
  EXPECT_EQ(Apply(Entry(Local(1), "b", 5, Local(2), FileType::kNone)), Code::kCorrupt);
  EXPECT_EQ(Apply(Entry(InodeId(), "b", 5, Local(2))), Code::kCorrupt);
  EXPECT_EQ(Apply(with(Part(Local(1)), [](auto& i) { i.version = 0; })), Code::kCorrupt);
  EXPECT_EQ(Apply(with(Part(Local(1)), [](auto& i) { i.next_sequence = 0; })), Code::kCorrupt);
  EXPECT_EQ(Apply(OpenImage{Local(2), ClientId(1), 0, true}), Code::kCorrupt);
  EXPECT_EQ(Apply(OpenImage{InodeId::Make(ShardId(4), 3), ClientId(1), 1, true}), Code::kCorrupt);
  EXPECT_EQ(Apply(Prepared(0, {})), Code::kCorrupt);
  EXPECT_EQ(Apply(Prepared(1, std::vector<TxnOp>(65))), Code::kCorrupt);
  EXPECT_EQ(Apply(NextSequenceImage{~uint64_t{0}}), Code::kCorrupt);
  EXPECT_EQ(Finish(), Code::kOk) << "nothing of that did anything";
  EXPECT_EQ(recovered_.ns.inodes(), 2u);
}

TEST_F(Images, ContradictionsAreFoundAtTheEnd) {
  SetLogSink([](LogLevel, std::string_view) {}, LogLevel::kError);
  const InodeId far = InodeId::Make(ShardId(9), 1);
  const std::pair<const char*, std::function<void(Images*)>> cases[] = {
      {"an entry of a part that never joined", [&](Images* t) { t->Apply(t->Entry(far, "x", 1, far)); }},
      {"a name without an inode", [](Images* t) { t->Apply(t->Entry(t->Local(1), "x", 2, t->Local(50))); }},
      {"more names than links", [](Images* t) { t->Apply(t->Entry(t->Local(1), "x", 2, t->Local(2))); }},
      {"a name of another type",
       [](Images* t) {
         t->Apply(t->File(3));
         t->Apply(t->Entry(t->Local(1), "x", 2, t->Local(3), FileType::kSymlink));
       }},
      {"a part that gives sequences twice",
       [](Images* t) {
         t->Apply(t->Entry(t->Local(1), "a", 9, t->Local(2)));
         t->Apply(t->Part(t->Local(1)));
       }},
      {"other rights than at home",
       [](Images* t) {
         PartImage part = t->Part(t->Local(1));
         part.uid = 5;
         part.next_sequence = 2;
         t->Apply(part);
       }},
      {"a part of a file", [](Images* t) { t->Apply(t->Part(t->Local(2))); }},
      {"an open inode that is gone",
       [](Images* t) {
         t->Apply(OpenImage{t->Local(50), ClientId(1), 1, false});
       }},
      {"a transaction over another entry",
       [](Images* t) { t->Apply(t->Prepared(1, {DentryOp(t->Local(1), "a", t->Local(7), {})})); }},
      {"a transaction over no inode", [](Images* t) { t->Apply(t->Prepared(1, {LinkOp(t->Local(9), 1)})); }},
      {"a transaction that adds a name without a link",
       [](Images* t) { t->Apply(t->Prepared(1, {DentryOp(t->Local(1), "x", {}, t->Local(2))})); }},
      {"two transactions over one name",
       [](Images* t) {
         t->Apply(t->Prepared(1, {DentryOp(t->Local(1), "a", t->Local(2), {})}));
         t->Apply(t->Prepared(2, {DentryOp(t->Local(1), "a", t->Local(2), {})}));
       }},
      {"one over a name twice",
       [](Images* t) {
         const TxnOp op = DentryOp(t->Local(1), "a", t->Local(2), {});
         t->Apply(t->Prepared(1, {op, op}));
       }},
      {"the removal of the root",
       [](Images* t) { t->Apply(t->Prepared(1, {DirOp(TxnKind::kDirRemove, t->Local(1))})); }},
  };
  for (const auto& [what, change] : cases) {
    recovered_.ns.~Namespace();
    new (&recovered_.ns) Namespace({Storm::kSelf, 22});
    Good();
    change(this);
    EXPECT_EQ(Finish(), Code::kCorrupt) << what;
  }
}

// The coordinator of an unlink died before it decided, came back, and did it again: this shard has not heard yet that
// the first try is void.
TEST_F(Images, ALinkThatIsInDoubtMayBeANamesLast) {
  Good();
  EXPECT_EQ(Apply(Prepared(1, {LinkOp(Local(2), -1)})), Code::kOk);
  EXPECT_EQ(Finish(), Code::kOk);
}

TEST_F(Images, ANumberGivenOutDoesNotComeAgain) {
  Good();
  EXPECT_EQ(Apply(File(40)), Code::kOk);
  EXPECT_EQ(Apply(InodeGoneImage{Local(40)}), Code::kOk);
  EXPECT_EQ(Apply(InodeGoneImage{Local(42)}), Code::kOk);
  ASSERT_EQ(Finish(), Code::kOk);
  EXPECT_EQ(recovered_.ns.next_sequence(), 43u);
}

TEST_F(Images, EveryDirectoryCountsAsExposedAfterwards) {
  Good();
  EXPECT_EQ(Apply(Directory(3)), Code::kOk);
  EXPECT_EQ(Apply(Entry(Local(1), "d", 2, Local(3), FileType::kDirectory)), Code::kOk);
  ASSERT_EQ(Finish(), Code::kOk);
  EXPECT_TRUE(recovered_.ns.Find(Local(1), "d")->exposed);
  EXPECT_FALSE(recovered_.ns.Find(Local(1), "a")->exposed);
}

// ---- what a record holds ------------------------------------------------------------------------------------------

size_t FieldsOf(Bytes record) {
  TlvReader reader(record);
  Tag tag = 0;
  Bytes value;
  size_t fields = 0;
  while (reader.Next(&tag, &value)) ++fields;
  EXPECT_TRUE(reader.Finish().ok());
  return fields;
}

TEST(Recording, ACreateTakesLessThan250Bytes) {
  Shard shard;
  TlvWriter out;
  shard.ns.SetRecorder(&out);
  Inode* file = *shard.Make(shard.root, "file.mdtest.0.123456");
  const size_t create = out.size();
  shard.ns.RegisterOpen(*file, ClientId(7), true);
  const size_t opened = out.size();
  out.Clear();
  file->size = 4096;
  file->mtime = file->ctime = 20;
  ++file->version;
  shard.ns.Changed(*file);
  std::printf("a create: %zu bytes, with its open %zu, a write's inode %zu\n", create, opened, out.size());
  EXPECT_LT(opened, 250u);
  EXPECT_LT(out.size(), 100u);
}

TEST(Recording, TheImagesOfOneInodeInARecordAreOne) {
  Shard shard;
  Inode* file = *shard.Make(shard.root, "a");
  Inode* other = *shard.Make(shard.root, "b");
  TlvWriter out;
  shard.ns.SetRecorder(&out);
  for (int i = 1; i <= 100; ++i) {
    file->size = static_cast<uint64_t>(i);
    ++file->version;
    shard.ns.Changed(*file);
    other->size = static_cast<uint64_t>(i);
    ++other->version;
    shard.ns.Changed(*other);
  }
  EXPECT_EQ(FieldsOf(out.bytes()), 2u);
  Recovered recovered;
  recovered.Replay(out.bytes());
  EXPECT_EQ(recovered.ns.FindInode(file->id)->size, 100u);
  EXPECT_EQ(recovered.ns.FindInode(other->id)->size, 100u);
  // The next record has its own.
  out.Clear();
  shard.ns.Changed(*file);
  EXPECT_EQ(FieldsOf(out.bytes()), 1u);
}

TEST(Recording, WhatWasForgottenIsNotToldBefore) {
  Shard shard;
  TlvWriter out;
  shard.ns.SetRecorder(&out);
  ASSERT_TRUE(shard.Make(shard.root, "a").ok());
  out.Clear();
  ASSERT_EQ(shard.Remove(shard.root, "a"), Code::kOk);
  EXPECT_EQ(FieldsOf(out.bytes()), 2u) << "the entry and the inode are gone";
}

TEST(Recording, WhatChangesNothingWritesNothing) {
  Shard shard;
  Inode* file = *shard.Make(shard.root, "a", FileType::kFile, kRoot, 0644);
  TlvWriter out;
  shard.ns.SetRecorder(&out);
  EXPECT_EQ(shard.Make(shard.root, "a").code(), Code::kExists);
  EXPECT_EQ(shard.Remove(shard.root, "b"), Code::kNoEntry);
  shard.ns.Join(shard.ns.RightsOf(*shard.ns.FindInode(shard.root)));
  shard.ns.AddShard(*shard.ns.FindInode(shard.root), ShardId(3));
  shard.ns.ClearPrivileges(*file, kAlice);
  shard.ns.Expose(shard.root, "a");
  std::vector<InodeId> died;
  shard.ns.ReleaseOpen(file->id, ClientId(7), &died);
  shard.ns.ReleaseAll(ClientId(7), &died);
  EXPECT_TRUE(shard.ns.Decide(TxnId(5), true, 9, &died).ok());
  EXPECT_TRUE(out.empty());
  shard.ns.SetRecorder(nullptr);
  EXPECT_EQ(shard.Remove(shard.root, "a"), Code::kOk);
  EXPECT_TRUE(out.empty());
}

}  // namespace
}  // namespace mayfly
