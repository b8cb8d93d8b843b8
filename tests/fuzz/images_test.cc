// Any bytes as after-images of a namespace: recovering from them does not crash, and what it accepts is a namespace
// that can be used, walked, and recovered from its walk. Inputs are what a namespace would write, in any order, with a
// few changes.
#include "meta/images.h"

#include "base/log.h"
#include "fuzz/fuzz.h"
#include "meta/namespace_walk.h"

namespace mayfly {
namespace {

constexpr ShardId kSelf{3};

class Maker {
 public:
  explicit Maker(Choices& choices) : choices_(choices) {}

  // Something to build on: directories that are joined, files and their names.
  void Begin(TlvWriter* out) {
    for (uint64_t i = 1; i <= 8; ++i) {
      InodeImage inode;
      inode.id = InodeId::Make(kSelf, i);
      inode.type = TypeOf(inode.id);
      inode.flags = InodeImage::kLinks;
      inode.nlink = 2;
      inode.chunk_bits = 22;
      inode.parent = InodeId::Make(kSelf, 4);
      inode.target = "to";
      PutImage(out, inode);
      if (inode.type == FileType::kDirectory) PutImage(out, PartImage{inode.id, 0, 0, 0, 1, 4, 5, 1});
    }
    PutImage(out, PartImage{InodeId::Make(ShardId(9), 1), 0, 0, 0, 1, 4, 5, 1});
    for (uint64_t i = 1; i <= 3; ++i) {
      PutImage(out, EntryImage{Dir(), InodeId::Make(kSelf, i), i, FileType::kFile, 6, "a"});
    }
  }

  void One(TlvWriter* out) {
    switch (choices_.Below(15)) {
      case 0:
      case 1:
        return PutImage(out, Inode());
      case 2:
        return PutImage(out, InodeGoneImage{Any()});
      case 3:
        return PutImage(out, InodeShardImage{Any(), ShardId(choices_.Below(4))});
      case 4:
        return PutImage(out, XattrImage{Any(), Name(), "value"});
      case 5:
        return PutImage(out, XattrGoneImage{Any(), Name()});
      case 6:
      case 7:
        return Entry(out);
      case 8:
        return PutImage(out, EntryGoneImage{Any(), choices_.Byte(), Name()});
      case 9:
        return PutImage(out, PartImage{Dir(), 0, 0, 0, 1 + choices_.Below(3), 4, 5, 10 + choices_.Below(20)});
      case 10:
        return PutImage(out, PartGoneImage{Dir()});
      case 11:
        return PutImage(out,
                        OpenImage{Any(), ClientId(choices_.Below(3)), choices_.Below(4), choices_.Byte() % 2 == 0});
      case 12:
        return PutImage(out, ProcessGoneImage{ClientId(choices_.Below(3))});
      case 13:
        return PutImage(out, Prepared());
      case 14:
        return PutImage(out, DecidedImage{TxnId(choices_.Below(4))});
    }
  }

 private:
  void Entry(TlvWriter* out) {
    const InodeId inode = Any();
    const FileType type = choices_.Byte() % 32 == 0 ? Type() : TypeOf(inode);
    PutImage(out, EntryImage{Dir(), inode, 1 + choices_.Below(9), type, choices_.Byte(), Name()});
  }
  // A directory, or now and then something else.
  InodeId Dir() {
    const uint8_t which = choices_.Byte();
    if (which == 0) return Any();
    return which % 5 == 0 ? InodeId::Make(ShardId(9), 1) : InodeId::Make(kSelf, 4 + which % 4);
  }
  // The first are files, the next directories, then a symlink, one of another shard, and none.
  InodeId Any() {
    const uint32_t which = choices_.Below(9);
    if (which == 8) return InodeId(choices_.Byte() % 8 == 0 ? 0 : InodeId::Make(ShardId(9), 1).value);
    return InodeId::Make(kSelf, 1 + which);
  }
  static FileType TypeOf(InodeId id) {
    if (id.sequence() <= 3) return FileType::kFile;
    return id.sequence() <= 7 ? FileType::kDirectory : FileType::kSymlink;
  }
  FileType Type() { return static_cast<FileType>(choices_.Below(choices_.Byte() % 4 == 0 ? 4 : 3)); }
  std::string_view Name() {
    static constexpr std::string_view kNames[] = {"a", "b", "user.c", ".."};
    return kNames[choices_.Below(4)];
  }
  InodeImage Inode() {
    InodeImage image;
    image.id = Any();
    image.type = TypeOf(image.id);
    image.flags = static_cast<uint8_t>(choices_.Byte() & choices_.Byte());
    if (choices_.Byte() % 4 != 0) image.flags &= static_cast<uint8_t>(~(InodeImage::kDirGone | InodeImage::kEpochs));
    image.nlink = choices_.Below(4);
    image.size = choices_.U64();
    image.chunk_bits = 22;
    image.parent = Any();
    image.target = "to";
    return image;
  }
  PreparedImage Prepared() {
    PreparedImage image;
    image.txn = TxnId(choices_.Below(4));
    for (uint32_t n = choices_.Below(4); n > 0; --n) {
      TxnOp op;
      op.kind = static_cast<TxnKind>(1 + choices_.Below(5));
      op.inode = op.kind == TxnKind::kLink ? Any() : Dir();
      op.name = Name();
      if (choices_.Byte() % 4 == 0) op.expect = Any();
      if (choices_.Byte() % 2 == 0) op.set = Any();
      op.set_type = Type();
      op.delta = static_cast<int8_t>(choices_.Byte());
      image.ops.push_back(op);
    }
    return image;
  }

  Choices& choices_;
};

// Each field by itself: one that is refused does nothing, and the next is tried.
void ApplyAll(Namespace* ns, Bytes images, bool all_are_good) {
  TlvReader reader(images);
  Tag tag = 0;
  Bytes value;
  while (reader.Next(&tag, &value)) {
    const Status status = ns->Apply(tag, value);
    FUZZ_CHECK(status.ok() || !all_are_good);
  }
}

// Whatever was accepted bears what a server does with it.
void Use(Namespace* ns, bool commit) {
  std::vector<InodeId> died;
  for (const TxnId txn : ns->Prepared()) FUZZ_CHECK(ns->Decide(txn, commit || txn.value % 2 == 0, 50, &died).ok());
  for (const ClientId process : ns->Openers()) ns->ReleaseAll(process, &died);
  for (uint64_t dir = 0; dir <= 8; ++dir) {
    const InodeId parent = InodeId::Make(kSelf, dir);
    for (const char* name : {"a", "b", "user.c"}) {
      const auto entry = ns->Find(parent, name);
      if (entry.ok() && entry->local != nullptr && entry->local->nlink == 0) {
        // A name that was held while its links went comes back only if who decides is mistaken.
        FUZZ_CHECK(!commit || entry->local->type == FileType::kDirectory);
        continue;
      }
      (void)ns->Unlink(parent, name, Cred(), 60);
    }
    (void)ns->Create({parent, "new", FileType::kFile, 0644, 0, {}}, Cred(), 70);
  }
  std::vector<uint8_t> page(4096);
  for (uint64_t dir = 0; dir <= 8; ++dir) {
    Encoder out{MutableBytes(page)};
    (void)ns->List(InodeId::Make(kSelf, dir), 0, out);
  }
  ns->ForEachInode([&](Inode& inode) {
    if (inode.dead()) ns->Forget(inode);
  });
}

}  // namespace

void Fuzz(const uint8_t* data, size_t size) {
  SetLogSink([](LogLevel, std::string_view) {}, LogLevel::kError);
  Namespace plain({kSelf, 22});
  ApplyAll(&plain, {data, size}, false);

  Choices choices(data, size);
  Maker maker(choices);
  TlvWriter out;
  const uint32_t changed = choices.Byte() % 4;
  if (choices.Byte() % 8 != 0) maker.Begin(&out);
  for (uint32_t left = choices.Below(60); left > 0 && !choices.empty(); --left) maker.One(&out);
  std::vector<uint8_t> images(out.bytes().begin(), out.bytes().end());
  if (changed == 0) {
    Choices again(data, size);
    again.Mutate(&images);
  }
  Namespace ns({kSelf, 22});
  ApplyAll(&ns, images, false);
  std::vector<InodeId> dead, orphans;
  if (!ns.FinishRecovery(&dead, &orphans).ok()) return;
  FUZZ_CHECK(ns.Check().empty());
  for (const InodeId id : dead) FUZZ_CHECK(ns.FindInode(id)->dead());

  out.Clear();
  FUZZ_CHECK(!NamespaceWalk(ns).Step(&out, SIZE_MAX / 2));
  Namespace copy({kSelf, 22});
  ApplyAll(&copy, out.bytes(), true);
  dead.clear();
  FUZZ_CHECK(copy.FinishRecovery(&dead, &orphans).ok() && copy.Check().empty());
  TlvWriter told;
  FUZZ_CHECK(!NamespaceWalk(copy).Step(&told, SIZE_MAX / 2));
  FUZZ_CHECK(AsText(told.bytes()) == AsText(out.bytes()));
  Use(&ns, size % 2 == 0);
}

std::vector<FuzzInput> Examples() { return {}; }

FUZZ_TEST_MAIN(RecoveryTakesNoNamespaceThatCannotBe, 6000)

}  // namespace mayfly
