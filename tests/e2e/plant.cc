// For repair_test.sh: puts what a bug or a lost page would leave into the journals of a session that has ended, as its
// servers would have said it. The tree has what it looks for in /in.
//   e2e_plant WHAT DIRECTORY...
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "inspect/journal_door.h"
#include "meta/images.h"
#include "meta/namespace_look.h"
#include "session/process_mark.h"
#include "session/runtime_dir.h"

namespace mayfly {
namespace {

class Plant {
 public:
  Plant(Storage* storage, PlacesOptions user) : storage_(*storage), user_(std::move(user)) {}

  bool Run(const std::string& what) {
    const InodeId in = Of(storage_.root, "in");
    if (what == "dangling") {  // a name of nothing
      const ShardId shard = storage_.placement->DentryShard(in, "dangling");
      Put(shard, EntryImage{in, InodeId::Make(shard, 1u << 20), 1u << 20, FileType::kFile, 9, "dangling"});
      return Write();
    }
    const InodeId inode = Of(in, what);
    if (what == "links") {  // more than it has
      InodeImage image = InodeImage::Of(*Tables(inode.home()).names().FindInode(inode));
      image.nlink = 5;
      image.flags |= InodeImage::kLinks;
      Put(inode.home(), image);
    } else if (what == "nameless" || what == "empty" || what == "folder") {
      Put(storage_.placement->DentryShard(in, what), EntryGoneImage{in, 9, what});
    } else if (what == "headless") {  // a directory whose inode is gone
      Put(inode.home(), InodeGoneImage{inode});
    } else if (what == "leaked") {
      Put(storage_.placement->DentryShard(in, what), EntryGoneImage{in, 9, what});
      Put(inode.home(), InodeGoneImage{inode});
    } else {
      return false;
    }
    return Write();
  }

 private:
  ShardTables& Tables(ShardId shard) { return *storage_.shards[shard.value]->tables; }
  InodeId Of(InodeId dir, std::string_view name) {
    InodeId found;
    const ShardId shard = storage_.placement->DentryShard(dir, name);
    NamespaceLook(Tables(shard).names()).ForEachEntry(dir, [&](std::string_view other, InodeId inode, FileType) {
      if (other == name) found = inode;
    });
    if (found.valid() || name == "dangling") return found;
    std::fprintf(stderr, "e2e_plant: there is no %.*s\n", static_cast<int>(name.size()), name.data());
    std::exit(1);
  }
  template <class Image>
  void Put(ShardId shard, const Image& image) {
    PutImage(&images_[shard.value], image);
  }
  bool Write() {
    for (const auto& [number, images] : images_) {
      const StoredShard& shard = *storage_.shards[number];
      JournalDoor door(shard, user_, storage_.durability == "node");
      Outcome<Done> done = door.Open(*shard.tables);
      if (done.ok()) done = door.Write(shard.fields.bytes(), images.bytes());
      if (!done.ok()) std::fprintf(stderr, "e2e_plant: %s\n", done.failure().sentence.c_str());
      if (!done.ok()) return false;
    }
    return true;
  }

  Storage& storage_;
  const PlacesOptions user_;
  std::map<uint32_t, TlvWriter> images_;
};

int Main(int argc, char** argv) {
  if (argc < 3) return 2;
  const char* runtime = std::getenv("MAYFLY_RUNTIME_DIR");
  StorageOptions options;
  options.user.uid = geteuid();
  options.user.host = MarkOfThisProcess().host;
  options.user.runtime_path = RuntimeDir::PathFor(runtime != nullptr ? runtime : "", options.user.uid);
  options.keep_fields = true;
  Outcome<Storage> storage = OpenStorage({argv + 2, argv + argc}, options);
  if (!storage.ok()) {
    std::fprintf(stderr, "e2e_plant: %s\n", storage.failure().sentence.c_str());
    return 1;
  }
  return Plant(&*storage, options.user).Run(argv[1]) ? 0 : 1;
}

}  // namespace
}  // namespace mayfly

int main(int argc, char** argv) { return mayfly::Main(argc, argv); }
