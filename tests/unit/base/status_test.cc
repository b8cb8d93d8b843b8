#include "base/status.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <string>

namespace mayfly {
namespace {

TEST(Status, EveryCodeHasAnErrnoAndAText) {
  int known = 0;
  for (int raw = 0; raw < 256; ++raw) {
    if (!IsKnownCode(static_cast<uint8_t>(raw))) continue;
    ++known;
    Code code = static_cast<Code>(raw);
    EXPECT_NE(TextOf(code), "unknown code") << raw;
    EXPECT_EQ(ErrnoOf(code) == 0, code == Code::kOk) << raw;
  }
  EXPECT_EQ(known, 35 + 6);
}

TEST(Status, ErrnosComeBackAsTheirCode) {
  for (int error : {EPERM, ENOENT, EEXIST, ENOTDIR, EISDIR, ENOSPC, ENOTEMPTY, ELOOP, ENAMETOOLONG, ESTALE}) {
    EXPECT_EQ(ErrnoOf(CodeOfErrno(error)), error);
  }
  EXPECT_EQ(CodeOfErrno(ENOTTY), Code::kIo);
}

TEST(Result, HoldsAValueOrACodeAndMoves) {
  Result<std::unique_ptr<std::string>> r(std::make_unique<std::string>("x"));
  ASSERT_TRUE(r.ok());
  auto moved = std::move(r);
  EXPECT_EQ(**moved, "x");
  moved = Code::kBusy;
  EXPECT_EQ(moved.code(), Code::kBusy);
}

}  // namespace
}  // namespace mayfly
