// Several clients at once on one small tree, in one process: their operations and the messages of the cluster take
// times of chance, of one seed, and whether an order of whole operations explains all results is looked at as in
// e2e/model (tests/e2e/model_names.h). Here a thousand histories take a second, and one that is wrong comes again:
// MAYFLY_MODEL_SEED is the first seed, MAYFLY_MODEL_CELLS the number of histories a layout.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "e2e/model_choice.h"
#include "e2e/model_names.h"
#include "sim/client.h"

namespace mayfly {
namespace {

using model::Choice;
using model::Do;
using model::Record;

uint64_t Setting(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

struct LayoutOf {
  const char* name;
  uint32_t members, shards;
};

class ModelTest : public testing::TestWithParam<LayoutOf> {
 protected:
  static constexpr int kClients = 3, kWorkers = 6, kOperations = 7;
  static constexpr Nanos kTransitMost = 60 * kMicrosecond;

  void Up(uint64_t seed) {
    SimClusterOptions options;
    options.seed = seed;
    options.members = GetParam().members;
    options.shards_per_member = GetParam().shards;
    cluster_ = std::make_unique<SimCluster>(options);
    ClientOptions buffered;
    buffered.map_arena = false;
    ClientOptions direct = buffered;
    direct.write_behind_bytes = direct.readahead_bytes = 0;
    for (int i = 0; i < kClients; ++i) {
      clients_.push_back(std::make_unique<SimClient>(*cluster_, i == 0 ? buffered : direct));
    }
    cluster_->network().SetPolicy([this](const SimNetwork::Passing& passing) { return Transit(passing); });
  }
  void Down() {
    cluster_->network().SetPolicy(nullptr);
    clients_.clear();
    cluster_.reset();
    last_due_.clear();
  }

  // Each message takes a time of its own, but none passes another on its way.
  SimNetwork::Fate Transit(const SimNetwork::Passing& passing) {
    Nanos& last = last_due_[{passing.from, passing.to}];
    const Nanos now = cluster_->clock().Now();
    const Nanos most = model::Percent(random_, 20) ? 10 * kTransitMost : kTransitMost;
    last = std::max(last, now + model::Below(random_, most));
    SimNetwork::Fate fate;
    fate.delay = last - now;
    return fate;
  }

  Lane& LaneOf(int worker) { return clients_[static_cast<size_t>(worker % kClients)]->lane(); }
  std::string PathOf(uint8_t path) const { return cell_path_ + "/" + model::Paths()[path]; }
  static int64_t ResultOf(Status status) { return -ErrnoOf(status.code()); }
  int64_t Tick() { return ticks_ += 1000; }

  // A history of one cell, all of it chosen by `seed`. What is wrong with it, or "".
  std::string History(uint64_t seed) {
    random_.seed(seed);
    Up(seed);
    records_.clear();
    cell_path_ = "/cell" + std::to_string(seed);
    EXPECT_TRUE(cluster_->Wait(LaneOf(0).Mkdir(cell_path_, 0755)).ok());
    (void)cluster_->Wait(DoAll(this, 0, model::AnyTree(random_)));
    std::vector<Task<Status>> workers;
    for (int i = 0; i < kWorkers; ++i) {
      std::vector<Choice> choices;
      for (int k = 0; k < kOperations; ++k) choices.push_back(model::AnyNamesOperation(random_));
      workers.push_back(DoAll(this, i, std::move(choices)));
    }
    for (Task<Status>& worker : workers) cluster_->Run(worker);
    std::vector<Choice> looks;
    for (uint8_t path = 0; path < model::kPathCount; ++path) looks.push_back({Do::kStat, path});
    (void)cluster_->Wait(DoAll(this, static_cast<int>(seed % kWorkers), std::move(looks)));
    Down();
    return model::CheckNames(records_, &undecided_, true);
  }

  static Task<Status> DoAll(ModelTest* test, int worker, std::vector<Choice> choices) {
    for (const Choice& choice : choices) {
      if (choices.size() == kOperations) {
        Executor& executor = test->LaneOf(worker).executor();
        co_await executor.Sleep(
            model::Below(test->random_, kTransitMost * (model::Percent(test->random_, 30) ? 8 : 1)));
      }
      co_await DoOne(test, worker, choice);
    }
    co_return Code::kOk;
  }

  Record Begin(int worker, Do what) {
    Record r;
    r.worker = static_cast<uint16_t>(worker);
    r.what = what;
    r.op = static_cast<uint32_t>(++ops_);
    r.start = Tick();
    return r;
  }
  void End(Record r, int64_t result) {
    r.end = Tick();
    r.result = result;
    records_.push_back(r);
  }
  static void Show(Record* r, const Attr& attr) {
    r->type = attr.type == FileType::kDirectory ? 2 : 1;
    r->inode = attr.inode.value;
    if (attr.type != FileType::kFile) return;
    r->size = static_cast<int64_t>(attr.size);
    r->nlink = attr.nlink;
  }

  static Task<Status> DoOne(ModelTest* test, int worker, Choice choice) {
    Lane& lane = test->LaneOf(worker);
    const std::string path = test->PathOf(choice.path), other = test->PathOf(choice.other);
    Record r = test->Begin(worker, choice.what);
    r.path = choice.path;
    r.other = choice.other;
    Status status;
    switch (choice.what) {
      case Do::kStat: {
        auto attr = co_await lane.Stat(path, true);
        if (attr.ok()) Show(&r, *attr);
        status = attr.code();
        break;
      }
      case Do::kTruncate: {
        r.bytes = static_cast<int64_t>(model::Below(test->random_, 2000));
        SetAttrRequest change;
        change.mask = kSetSize;
        change.size = static_cast<uint64_t>(r.bytes);
        Lane::Target target;
        target.path = path;
        status = co_await lane.SetAttr(target, change);
        break;
      }
      case Do::kMkdir:
        status = co_await lane.Mkdir(path, 0755);
        break;
      case Do::kRmdir:
        status = co_await lane.Rmdir(path);
        break;
      case Do::kUnlink:
        status = co_await lane.Unlink(path);
        break;
      case Do::kLink:
        status = co_await lane.Link(path, other);
        break;
      case Do::kRename:
      case Do::kNoReplace:
      case Do::kExchange:
        status = co_await lane.Rename(path, other,
                                      choice.what == Do::kRename      ? 0
                                      : choice.what == Do::kNoReplace ? 1
                                                                      : 2);
        break;
      default: {
        uint32_t flags = kOpenRead | kOpenWrite;
        if (choice.what != Do::kOpen) flags |= kOpenCreate;
        if (choice.what == Do::kCreate) flags |= kOpenExclusive;
        auto fd = co_await lane.Open(path, flags, 0644);
        FileRef file = fd.ok() ? lane.mount().files().Find(*fd) : nullptr;
        if (file != nullptr) r.inode = file->inode.value;
        test->End(r, fd.ok() ? 0 : ResultOf(fd.status()));
        if (!fd.ok()) co_return fd.status();
        if (choice.what == Do::kOpen) co_await UseFile(test, worker, file);
        file = nullptr;
        co_return co_await lane.Close(*fd);
      }
    }
    test->End(r, ResultOf(status));
    co_return status;
  }

  static Task<Status> UseFile(ModelTest* test, int worker, FileRef file) {
    Lane& lane = test->LaneOf(worker);
    for (int i = 0; i < 3; ++i) {
      const uint64_t kind = model::Below(test->random_, 4);
      const std::string data(1 + model::Below(test->random_, 900), 'x');
      Record r = test->Begin(worker, kind == 0 ? Do::kFdTruncate : kind == 1 ? Do::kFdStat : Do::kWrite);
      r.inode = file->inode.value;
      r.bytes = static_cast<int64_t>(data.size());
      if (kind == 0) {
        const Status status = co_await lane.Truncate(file, data.size());
        test->End(r, ResultOf(status));
      } else if (kind == 1) {
        auto attr = co_await lane.Stat(file);
        if (attr.ok()) Show(&r, *attr);
        test->End(r, ResultOf(attr.code()));
      } else {
        r.offset = static_cast<int64_t>(model::Below(test->random_, 2000));
        auto bytes = co_await lane.WriteAt(file, AsBytes(data), static_cast<uint64_t>(r.offset));
        test->End(r, bytes.ok() ? static_cast<int64_t>(*bytes) : ResultOf(bytes.status()));
      }
    }
    co_return Code::kOk;
  }

  std::unique_ptr<SimCluster> cluster_;
  std::vector<std::unique_ptr<SimClient>> clients_;
  std::map<std::pair<uint64_t, uint64_t>, Nanos> last_due_;
  std::mt19937_64 random_;
  std::string cell_path_;
  std::vector<Record> records_;
  uint64_t undecided_ = 0, ops_ = 0;
  int64_t ticks_ = 0;
};

TEST_P(ModelTest, AnOrderOfWholeOperationsExplainsAllResults) {
  const uint64_t first = Setting("MAYFLY_MODEL_SEED", 1), cells = Setting("MAYFLY_MODEL_CELLS", 300);
  int wrong = 0;
  for (uint64_t seed = first; seed < first + cells; ++seed) {
    const std::string text = History(seed);
    if (!text.empty() && ++wrong <= 3) ADD_FAILURE() << "seed " << seed << ": " << text;
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_LE(undecided_, cells / 50);
}

INSTANTIATE_TEST_SUITE_P(Layouts, ModelTest,
                         testing::Values(LayoutOf{"OneShard", 1, 1}, LayoutOf{"TwoByTwo", 2, 2},
                                         LayoutOf{"Seven", 7, 1}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace mayfly
