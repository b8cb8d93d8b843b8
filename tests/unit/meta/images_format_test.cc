// Decodes the worked example of share/doc/format/images.md, and builds it again.
#include <fmt/format.h>

#include "fake/worked_example.h"
#include "meta/images.h"
#include "unit/meta/support.h"

namespace mayfly {
namespace {

std::string Hex(Bytes bytes) {
  std::string text;
  for (size_t i = 0; i < bytes.size(); ++i) text += fmt::format("{}{:02x}", i % 16 == 0 ? "\n" : " ", bytes[i]);
  return text;
}

TEST(ImagesFormat, TheWorkedExampleIsWhatACreateWrites) {
  const std::vector<uint8_t> example = ReadExample("images.md").at("create");
  Shard shard;
  TlvWriter out;
  shard.ns.SetRecorder(&out);
  const Cred cred{1000, 100, {}};
  bool changed = false;
  SetAttrRequest open_to_all;
  open_to_all.mask = kSetMode;
  open_to_all.permissions = 0777;
  ASSERT_TRUE(shard.ns.SetAttr(*shard.ns.FindInode(shard.root), open_to_all, kRoot, 9, &changed).ok());
  out.Clear();
  Inode* file = *shard.Make(shard.root, "a", FileType::kFile, cred, 0644, 10000);
  shard.ns.RegisterOpen(*file, ClientId(0x77), true);
  EXPECT_EQ(Hex(out.bytes()), Hex(example));

  TlvReader reader{Bytes(example)};
  Tag tag = 0;
  Bytes value;
  const auto next = [&](auto image) {
    EXPECT_TRUE(reader.Next(&tag, &value));
    EXPECT_EQ(tag, decltype(image)::kTag);
    Decoder d(value);
    d.Get(image);
    EXPECT_TRUE(d.Finish().ok());
    return image;
  };
  const EntryImage entry = next(EntryImage());
  EXPECT_EQ(entry.parent, InodeId::Make(ShardId(3), 1));
  EXPECT_EQ(entry.inode, file->id);
  EXPECT_EQ(entry.sequence, 1u);
  EXPECT_EQ(entry.type, FileType::kFile);
  EXPECT_EQ(entry.touched, 10000u);
  EXPECT_EQ(entry.name, "a");
  const InodeImage inode = next(InodeImage());
  EXPECT_EQ(inode.id, file->id);
  EXPECT_EQ(inode.flags, 0);
  EXPECT_EQ(inode.permissions, 0644);
  EXPECT_EQ(inode.uid, 1000u);
  EXPECT_EQ(inode.gid, 100u);
  EXPECT_EQ(inode.mtime, 10000u);
  EXPECT_EQ(inode.chunk_bits, 22);
  const OpenImage open = next(OpenImage());
  EXPECT_EQ(open.inode, file->id);
  EXPECT_EQ(open.process, ClientId(0x77));
  EXPECT_EQ(open.opens, 1u);
  EXPECT_TRUE(open.writes);
  EXPECT_TRUE(reader.Finish().ok());
}

}  // namespace
}  // namespace mayfly
