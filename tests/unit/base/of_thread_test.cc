#include "base/of_thread.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <thread>

namespace mayfly {
namespace {

struct Counted {
  static inline int alive = 0;
  Counted() { ++alive; }
  ~Counted() { --alive; }
  int value = 0;
};

TEST(OfThread, IsOneAThreadAndEndsWithIt) {
  OfThread<Counted>::Get().value = 1;
  std::thread([] {
    EXPECT_EQ(OfThread<Counted>::Get().value, 0);
    OfThread<Counted>::Get().value = 2;
    EXPECT_EQ(OfThread<Counted>::Get().value, 2);
    EXPECT_EQ(Counted::alive, 2);
  }).join();
  EXPECT_EQ(Counted::alive, 1);
  EXPECT_EQ(OfThread<Counted>::Get().value, 1);
}

// glibc runs the destructors of pthread keys after those of C++'s objects, as it runs exit handlers after those of the
// main thread's.
TEST(OfThread, MayBeUsedAfterItsEnd) {
  struct Late {
    int value = 0;
  };
  static int seen = -1, seen_again = -1;
  pthread_key_t key;
  ASSERT_EQ(pthread_key_create(&key,
                               [](void*) {
                                 seen = OfThread<Late>::Get().value;
                                 OfThread<Late>::Get().value = 5;
                                 seen_again = OfThread<Late>::Get().value;
                                 delete &OfThread<Late>::Get();  // or it stays, for the leak sanitizer to find
                               }),
            0);
  std::thread([key] {
    OfThread<Late>::Get().value = 3;
    pthread_setspecific(key, &seen);
  }).join();
  pthread_key_delete(key);
  EXPECT_EQ(seen, 0) << "what was destroyed was used";
  EXPECT_EQ(seen_again, 5);
}

}  // namespace
}  // namespace mayfly
