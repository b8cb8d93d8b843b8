// What the results of system calls mean for a request that is under way.
#include "adapt/posix/disk_op.h"

#include <gtest/gtest.h>

namespace mayfly {
namespace {

using Kind = DiskOp::Kind;
constexpr uint64_t kBlock = Disk::kBlockBytes;

struct Op : DiskOp {
  Op(Kind of, uint64_t blocks) {
    kind = of;
    offset = 10 * kBlock;
    left = blocks * kBlock;
    data = memory;
  }
  alignas(kBlock) uint8_t memory[kBlock * 4];
};

TEST(DiskOp, ShortTransfersGoOnAtTheNextWholeBlock) {
  for (Kind kind : {Kind::kRead, Kind::kWrite, Kind::kWriteThrough}) {
    Op op(kind, 4);
    EXPECT_TRUE(op.Advance(kBlock));
    EXPECT_TRUE(op.Advance(kBlock + 512)) << "half a block is moved again";
    EXPECT_EQ(op.offset, 12 * kBlock);
    EXPECT_EQ(op.data, op.memory + 2 * kBlock);
    EXPECT_EQ(op.left, 2 * kBlock);
    EXPECT_FALSE(op.Advance(2 * kBlock));
    EXPECT_TRUE(op.status.ok());
  }
}

TEST(DiskOp, TheEndOfTheFileIsCorruptToAReader) {
  for (int64_t result : {0, 511}) {
    Op op(Kind::kRead, 2);
    EXPECT_TRUE(op.Advance(kBlock));
    EXPECT_FALSE(op.Advance(result));
    EXPECT_EQ(op.status.code(), Code::kCorrupt);
  }
}

TEST(DiskOp, RetriesAreBoundedByProgress) {
  for (int64_t result : {-EINTR, -EAGAIN, -ENOMEM, 0}) {
    Op op(Kind::kWrite, 2);
    int tries = 1;
    while (op.Advance(result)) ++tries;
    EXPECT_EQ(tries, DiskOp::kTriesMax) << result;
    EXPECT_EQ(op.status.code(), result == -ENOMEM ? Code::kNoMemory : Code::kIo) << result;
    Op slow(Kind::kWrite, 2);
    for (int i = 1; i < DiskOp::kTriesMax; ++i) ASSERT_TRUE(slow.Advance(result));
    ASSERT_TRUE(slow.Advance(kBlock));
    for (int i = 1; i < DiskOp::kTriesMax; ++i) ASSERT_TRUE(slow.Advance(result));
    EXPECT_FALSE(slow.Advance(kBlock));
    EXPECT_TRUE(slow.status.ok());
  }
}

TEST(DiskOp, WhatRegisteredMemoryCannotPlainCallsCan) {
  for (int error : {ENOMEM, EFAULT}) {
    Op op(Kind::kWrite, 1);
    op.fixed = true;
    EXPECT_TRUE(op.Advance(-error));
    EXPECT_TRUE(op.plain);
    EXPECT_EQ(op.tries, 0);
    EXPECT_FALSE(op.Advance(kBlock));
    EXPECT_TRUE(op.status.ok());
  }
  Op plain(Kind::kWrite, 1);
  EXPECT_FALSE(plain.Advance(-EFAULT));
  EXPECT_EQ(plain.status.code(), Code::kIo);
}

TEST(DiskOp, EachErrorHasItsCode) {
  const struct {
    int error;
    Code code;
  } table[] = {{EIO, Code::kIo},         {ENODATA, Code::kIo},       {EILSEQ, Code::kIo},      {ENXIO, Code::kIo},
               {ETIMEDOUT, Code::kIo},   {EINVAL, Code::kIo},        {ENOSPC, Code::kNoSpace}, {EDQUOT, Code::kNoSpace},
               {EROFS, Code::kReadOnly}, {EFBIG, Code::kFileTooBig}, {EOPNOTSUPP, Code::kIo}};
  for (Kind kind : {Kind::kRead, Kind::kWrite, Kind::kFlush}) {
    for (const auto& [error, code] : table) {
      Op op(kind, 1);
      EXPECT_FALSE(op.Advance(-error));
      EXPECT_EQ(op.status.code(), code) << error;
    }
  }
  for (int error : {EOPNOTSUPP, EINVAL, ENOSYS}) {
    Op op(Kind::kDiscard, 1);
    EXPECT_FALSE(op.Advance(-error));
    EXPECT_EQ(op.status.code(), Code::kNotSupported) << error;
  }
  Op op(Kind::kDiscard, 1);
  EXPECT_FALSE(op.Advance(0));
  EXPECT_TRUE(op.status.ok());
}

TEST(DiskOp, ACallMovesAGibibyteAtMost) {
  Op op(Kind::kRead, 1);
  EXPECT_EQ(op.call_bytes(), kBlock);
  op.left = uint64_t{5} << 30;
  EXPECT_EQ(op.call_bytes(), 1u << 30);
}

}  // namespace
}  // namespace mayfly
