#include "base/local_ptr.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace mayfly {
namespace {

struct Counted {
  std::string name;
  int* alive;
  Counted(std::string n, int* a) : name(std::move(n)), alive(a) { ++*alive; }
  Counted(Counted&& o) noexcept : name(std::move(o.name)), alive(o.alive) { ++*alive; }
  ~Counted() { --*alive; }
};

TEST(LocalPtr, TheLastOwnerEndsTheObject) {
  int alive = 0;
  LocalPtr<Counted> none;
  EXPECT_TRUE(none == nullptr);
  {
    auto a = LocalPtr<Counted>::Make("a", &alive);
    EXPECT_EQ(alive, 1);
    std::vector<LocalPtr<Counted>> copies(5, a);
    a.Reset();
    EXPECT_TRUE(a == nullptr);
    EXPECT_EQ(copies[4]->name, "a");
    a = copies[0];
    copies.clear();
    EXPECT_EQ((*a).name, "a");
    EXPECT_EQ(alive, 1);
    LocalPtr<Counted> b = std::move(a);
    EXPECT_TRUE(a == nullptr);  // NOLINT: a moved-from owner owns nothing
    b = LocalPtr<Counted>::Make("b", &alive);
    EXPECT_EQ(alive, 1);
    b = *&b;  // itself
    EXPECT_EQ(b->name, "b");
  }
  EXPECT_EQ(alive, 0);
}

}  // namespace
}  // namespace mayfly
