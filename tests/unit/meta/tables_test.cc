// The tables by themselves, against maps.
#include <algorithm>
#include <map>
#include <set>

#include "meta/dentry_table.h"
#include "meta/inode_table.h"
#include "meta/order_index.h"
#include "unit/meta/support.h"

namespace mayfly {
namespace {

TEST(DentryStore, KeepsNamesOfEveryLengthApart) {
  DentryStore store;
  std::map<DentryRef, std::string> held;
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    if (held.empty() || random() % 5 < 3) {
      const std::string name(1 + random() % kNameBytesMax, static_cast<char>('a' + random() % 26));
      const DentryRef ref = store.Allocate(name);
      ASSERT_NE(ref, DentryRef::kNone);
      ASSERT_TRUE(held.emplace(ref, name).second) << "one block was given out twice";
    } else {
      const auto it = std::next(held.begin(), static_cast<ptrdiff_t>(random() % std::min<size_t>(held.size(), 50)));
      ASSERT_EQ(store.Get(it->first).name(), it->second);
      store.Free(it->first);
      held.erase(it);
    }
  }
  for (const auto& [ref, name] : held) ASSERT_EQ(store.Get(ref).name(), name);
  EXPECT_EQ(store.live(), held.size());
  for (const auto& [ref, name] : held) store.Free(ref);
  EXPECT_EQ(store.live(), 0u);
  EXPECT_LE(store.memory_bytes(), 2 * DentryStore::kSlabBytes);
}

TEST(DentryStore, FillsTheGapsOfFullSlabsFirst) {
  DentryStore store;
  std::vector<DentryRef> refs;
  for (int i = 0; i < 10000; ++i) refs.push_back(store.Allocate("a name of some length"));
  const uint64_t full = store.memory_bytes();
  for (size_t i = 0; i < refs.size(); i += 2) store.Free(refs[i]);
  for (size_t i = 0; i < refs.size(); i += 2) refs[i] = store.Allocate("a name of some length");
  EXPECT_EQ(store.memory_bytes(), full);
  std::sort(refs.begin(), refs.end());
  EXPECT_EQ(std::unique(refs.begin(), refs.end()), refs.end());
}

class Names {
 public:
  DentryRef Add(InodeId parent, const std::string& name, uint32_t hash) {
    const DentryRef ref = store.Allocate(name);
    store.Get(ref).parent = parent;
    table.Insert(ref, hash);
    return ref;
  }
  DentryRef Add(InodeId parent, const std::string& name) {
    return Add(parent, name, DentryTable::HashOf(parent, name));
  }
  void Remove(InodeId parent, const std::string& name, uint32_t hash) {
    const DentryRef ref = table.Find(parent, name, hash);
    ASSERT_NE(ref, DentryRef::kNone) << name;
    table.Erase(ref, hash);
    store.Free(ref);
  }
  DentryStore store;
  DentryTable table{&store};
};

TEST(DentryTable, GrowsAndShrinksBySegments) {
  Names names;
  const InodeId dir(5);
  const uint64_t empty = names.table.memory_bytes();
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 50000; ++i) {
      names.Add(dir, "n" + std::to_string(i));
      if (i % 10000 == 0) {
        ASSERT_EQ(names.table.Check(), "");
      }
    }
    EXPECT_LT(names.table.memory_bytes(), 50000u * 20);
    for (int i = 0; i < 50000; ++i) {
      const std::string name = "n" + std::to_string((i * 7919) % 50000);
      names.Remove(dir, name, DentryTable::HashOf(dir, name));
      if (i % 10000 == 0) {
        ASSERT_EQ(names.table.Check(), "");
      }
    }
    EXPECT_EQ(names.table.size(), 0u);
    EXPECT_EQ(names.table.Check(), "");
    EXPECT_LE(names.table.memory_bytes(), empty + 64 * 1024);
  }
}

TEST(DentryTable, TellsEqualNamesOfTwoDirectoriesApart) {
  Names names;
  const DentryRef a = names.Add(InodeId(1), "same"), b = names.Add(InodeId(2), "same");
  EXPECT_EQ(names.table.Find(InodeId(1), "same", DentryTable::HashOf(InodeId(1), "same")), a);
  EXPECT_EQ(names.table.Find(InodeId(2), "same", DentryTable::HashOf(InodeId(2), "same")), b);
  EXPECT_EQ(names.table.Find(InodeId(3), "same", DentryTable::HashOf(InodeId(3), "same")), DentryRef::kNone);
}

// T4: names chosen to hash alike cost a longer search, never the machine's memory.
TEST(DentryTable, EqualHashesDoNotBlowUpTheDirectory) {
  for (const uint32_t spread : {1u, 4u, 256u}) {
    Names names;
    const auto hash = [&](int i) { return 0xabcd0000u + static_cast<uint32_t>(i) % spread; };
    for (int i = 0; i < 3000; ++i) names.Add(InodeId(1), "n" + std::to_string(i), hash(i));
    EXPECT_LT(names.table.memory_bytes(), 512u * 1024);
    for (int i = 0; i < 3000; ++i) {
      ASSERT_NE(names.table.Find(InodeId(1), "n" + std::to_string(i), hash(i)), DentryRef::kNone);
    }
    for (int i = 0; i < 3000; ++i) names.Remove(InodeId(1), "n" + std::to_string(i), hash(i));
    EXPECT_EQ(names.table.size(), 0u);
  }
}

TEST(OrderIndex, AgreesWithAMap) {
  for (const unsigned keep : {0u, 1u, 5u, 50u}) {  // of a hundred: how many stay for long
    uint64_t total = 0;
    OrderIndex order(&total);
    std::map<uint64_t, DentryRef> model;
    std::mt19937_64 random(keep + 1);
    uint64_t sequence = 0;
    for (int i = 0; i < 30000; ++i) {
      if (model.empty() || random() % 2 == 0) {
        sequence += random() % 50 == 0 ? 1 + random() % 300 : 1;
        order.Append(sequence, DentryRef(i + 1));
        model[sequence] = DentryRef(i + 1);
      } else {
        auto it = model.lower_bound(random() % 3 == 0 ? random() % (sequence + 1) : sequence - random() % 100);
        if (it == model.end()) it = std::prev(model.end());
        if (it->first % 100 < keep) continue;
        order.Erase(it->first);
        model.erase(it);
      }
      ASSERT_EQ(order.size(), model.size());
      if (i % 97 != 0) continue;
      const uint64_t after = random() % (sequence + 2);
      auto it = model.upper_bound(after);
      ASSERT_TRUE(order.ForEachAfter(after, [&](DentryRef ref) {
        const bool same = it != model.end() && it->second == ref;
        EXPECT_TRUE(same);
        ++it;
        return same;
      }));
      EXPECT_EQ(it, model.end());
      EXPECT_EQ(order.At(after) == DentryRef::kNone, !model.contains(after));
      EXPECT_EQ(total, order.memory_bytes());
    }
    // What stayed alone on a page costs that page and four references.
    EXPECT_LT(order.memory_bytes(), 8192 + 100 * model.size());
    while (!model.empty()) {
      order.Erase(model.begin()->first);
      model.erase(model.begin());
    }
    EXPECT_LT(order.memory_bytes(), 1024u);
  }
}

TEST(InodeTable, KeepsOnlyPagesThatHoldSomething) {
  InodeTable table;
  std::map<uint64_t, Inode*> model;
  std::mt19937_64 random(4);
  for (uint64_t i = 1; i <= 40000; ++i) {
    const uint64_t sequence = i < 20000 ? i : i + 100000;  // a recovered shard leaves a gap
    Inode* inode = table.Insert(sequence);
    inode->id = InodeId(sequence);
    model[sequence] = inode;
  }
  for (uint64_t i = 0; i < 130000; ++i) {
    ASSERT_EQ(table.Find(i), model.contains(i) ? model[i] : nullptr);
  }
  EXPECT_LT(table.memory_bytes(), 40000 * (sizeof(Inode) + 4));
  uint64_t last = 0;
  table.ForEach([&](Inode& inode) {
    EXPECT_GT(inode.id.value, last);
    last = inode.id.value;
    if (inode.id.value % 100 != 0) {
      model.erase(inode.id.value);
      table.Erase(inode.id.value);  // allowed: its own
    }
  });
  EXPECT_EQ(table.size(), model.size());
  for (const auto& [sequence, inode] : model) ASSERT_EQ(table.Find(sequence), inode);
  for (const auto& [sequence, inode] : model) table.Erase(sequence);
  EXPECT_LT(table.memory_bytes(), 8192u);
  EXPECT_EQ(table.Find(uint64_t{1} << 39), nullptr);
}

TEST(OrderIndex, InsertsAnywhere) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    std::mt19937_64 random(seed);
    uint64_t total = 0;
    OrderIndex order(&total);
    std::map<uint64_t, DentryRef> model;
    const uint64_t span = 1 + random() % 3000;
    for (int i = 0; i < 2000; ++i) {
      const uint64_t sequence = 1 + random() % span;
      const auto ref = static_cast<DentryRef>(1 + random() % 1000000);
      if (random() % 3 != 0) {
        ASSERT_EQ(order.Insert(sequence, ref), model.emplace(sequence, ref).second);
      } else if (model.erase(sequence) != 0) {
        order.Erase(sequence);
      }
    }
    std::vector<DentryRef> expected, seen;
    for (const auto& [sequence, ref] : model) {
      expected.push_back(ref);
      ASSERT_EQ(order.At(sequence), ref);
    }
    order.ForEachAfter(0, [&](DentryRef ref) {
      seen.push_back(ref);
      return true;
    });
    EXPECT_EQ(seen, expected);
    EXPECT_EQ(order.size(), model.size());
    EXPECT_GT(order.append_from(), model.empty() ? 0 : model.rbegin()->first);
    EXPECT_LE(order.append_from(), span + 64);
    order.Append(order.append_from(), DentryRef{1});
    EXPECT_EQ(total, order.memory_bytes());
  }
}

TEST(InodeTable, FindsTheNextOneFromAnySequence) {
  InodeTable table;
  std::set<uint64_t> model;
  std::mt19937_64 random(1);
  for (int i = 0; i < 300; ++i) {
    const uint64_t sequence = random() % 8 == 0 ? random() % 500000 : random() % 300;
    if (model.insert(sequence).second) table.Insert(sequence)->id = InodeId(sequence);
  }
  for (int i = 0; i < 20000; ++i) {
    const uint64_t from = i < 400 ? static_cast<uint64_t>(i) : random() % 600000;
    const auto next = model.lower_bound(from);
    const Inode* found = table.FirstFrom(from);
    ASSERT_EQ(found != nullptr, next != model.end());
    if (found != nullptr) {
      ASSERT_EQ(found->id.value, *next);
    }
  }
}

}  // namespace
}  // namespace mayfly
