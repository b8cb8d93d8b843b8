// A store with its chunk file on a simulated disk, which outlives it.
#pragma once

#include <map>

#include "fake/sim_clock.h"
#include "fake/sim_disk.h"
#include "store/chunk_file.h"
#include "store/disk_reader.h"
#include "store/store_look.h"
#include "store/write_back.h"
#include "store_fixture.h"

namespace mayfly {

// A store with its chunk file. The platter is the test's: it outlives a loss of power.
struct StoreOnDisk {
  StoreOnDisk(SimPlatter& platter, SimClock& clock, bool there, uint64_t memory_bytes = 64 * kMiB,
              uint64_t file_bytes = 64 * kMiB)
      : clock(clock), executor(clock), disk(platter, clock), space(file_bytes), test(memory_bytes) {
    ChunkFileState state;
    ChunkFileHeader header;
    header.bytes = file_bytes;
    auto opened = there ? OpenChunkFile(&executor, &disk, header.uuid, header.shard, &state)
                        : CreateChunkFile(&executor, &disk, header);
    file = Run(std::move(opened))->file;
    test.store.SetDisk(&space, true);
    write_back = std::make_unique<WriteBack>(&executor, &disk, file, &test.store, true);
    reader = std::make_unique<DiskReader>(&executor, &disk, file, &test.store, memory_bytes, NoRoom);
  }
  template <class T>
  T Run(Task<T> task) {
    while (!task.done()) Turn();
    return task.Take();
  }
  void Turn() {
    bool worked = executor.RunOnce();
    if (write_back != nullptr) worked |= write_back->Turn();
    worked |= disk.Poll();
    if (!worked && disk.NextAt() != kNever) clock.AdvanceTo(std::max(clock.Now(), disk.NextAt()));
  }
  // As StoreUnderTest::Read, with what is on the disk alone read back.
  std::string Read(ChunkRange range, bool in_order = true) {
    std::string text;
    for (;;) {
      ReadPieces pieces;
      const auto covered = test.store.Read(range, &pieces);
      EXPECT_TRUE(covered.ok());
      EXPECT_EQ(Run(reader->Fetch(&pieces, in_order, kNever)), Status());
      for (const ReadPiece& piece : pieces) text += test.TextOf(piece);
      if (!covered->cut) return text;
      range.offset += covered->bytes;
      range.bytes -= covered->bytes;
    }
  }
  // Blocks of the chunk file that what is here has, by the tables: of a store in which nothing is staged or held.
  uint64_t BlocksOfFiles() const {
    std::vector<StoredRun> runs;
    test.store.ForEachFile([&](InodeId file) { StoreLook(&test.store).RunsOf(file, &runs); });
    std::map<uint64_t, StoredRun> by_first;
    for (const StoredRun& run : runs) by_first[run.first] = run;
    uint64_t blocks = 0;
    for (const auto& [first, run] : by_first) blocks += run.blocks;
    return blocks;
  }
  uint64_t blocks_used() const { return space.blocks() - 1 - space.blocks_free(); }
  static Task<Status> NoRoom(uint32_t, Nanos) { co_return Code::kNoSpace; }
  Status Keep() { return Run(Kept(this)); }
  static Task<Status> Kept(StoreOnDisk* s) { co_return co_await s->write_back->Kept(s->write_back->written(), kNever); }
  static Task<Status> Stopped(StoreOnDisk* s) {
    co_await s->write_back->Stop();
    co_return Status();
  }
  ~StoreOnDisk() { (void)Run(Stopped(this)); }

  SimClock& clock;
  Executor executor;
  SimDisk disk;
  DiskFileId file;
  DiskSpace space;
  StoreUnderTest test;
  std::unique_ptr<WriteBack> write_back;
  std::unique_ptr<DiskReader> reader;
};

}  // namespace mayfly
