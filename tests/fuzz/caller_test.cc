// A live Caller whose shard is the input: welcomes and replies, good, changed or made up, with and without payloads
// that come or fail, connections that break. It does not crash, takes nothing that is not sealed, and every call ends
// in time.
#include "fuzz/fuzz.h"
#include "unit/rpc/rpc_world.h"
#include "unit/wire/message_fill.h"

namespace mayfly {
namespace {

// Payloads whose fetch ends when the input says so.
class Source final : public Payload::Source {
 public:
  Payload Eager(std::vector<uint8_t> bytes) {
    if (bytes.empty()) return {};
    auto* kept = new std::vector<uint8_t>(std::move(bytes));
    ++live;
    return Payload(this, kept, kept->size(), *kept);
  }
  Payload Rendezvous(std::vector<uint8_t> bytes) {
    if (bytes.empty()) return {};
    auto* kept = new std::vector<uint8_t>(std::move(bytes));
    ++live;
    return Payload(this, kept, kept->size(), {});
  }
  void Fetch(void* token, MutableBytes to, Completion* done) override {
    const auto* kept = static_cast<std::vector<uint8_t>*>(token);
    FUZZ_CHECK(to.size() == kept->size());
    std::copy(kept->begin(), kept->end(), to.begin());
    running.push_back(done);
  }
  void Drop(void* token) override {
    delete static_cast<std::vector<uint8_t>*>(token);
    --live;
  }
  void End(Status status) {
    for (Completion* done : std::exchange(running, {})) done->fn(done, status);
  }
  int live = 0;
  std::vector<Completion*> running;
};

// A shard that only listens: it keeps the headers that a lane sends.
struct Listener : Receiver {
  explicit Listener(SimNetwork& network) : transport(network.Create()) { transport->SetReceiver(this); }
  virtual ~Listener() { transport->SetReceiver(nullptr); }
  void OnMessage(Bytes header, Payload) override {
    if (PrefixOf(header).kind == MessageKind::kHello) hello = Copy(header);
    if (PrefixOf(header).kind == MessageKind::kRequest) requests.push_back(Copy(header));
    if (requests.size() > 64) requests.erase(requests.begin());
  }
  void OnEndpointDown(EndpointId endpoint) override { transport->Close(endpoint); }
  std::unique_ptr<SimTransport> transport;
  std::vector<uint8_t> hello;
  std::vector<std::vector<uint8_t>> requests;
};

class Run {
 public:
  Run(const uint8_t* data, size_t size)
      : choices_(data, size), network_(World::WithClock({}, &clock_)), book_(1), random_(1), listener_(network_) {
    book_.addresses[0] = Copy(listener_.transport->address());
    identity_.secret = SecretOf(1);
    identity_.client = ClientId(5);
    identity_.process = ClientId(6);
    lane_ = std::make_unique<TestLane>(network_, clock_, random_, book_, identity_);
  }
  void Go() {
    for (int steps = 0; steps < 300 && !choices_.empty(); ++steps) {
      Step();
      Turn();
    }
    if (choices_.Byte() % 2 == 0) lane_->caller->Shutdown();
    // Everything ends: the last deadline, the grace of a transfer, then the transfer itself.
    for (int i = 0; i < 400; ++i) {
      clock_.Advance(100 * kMillisecond);
      Turn();
      if (i == 200) source_.End(Code::kUnavailable);
    }
    source_.End(Code::kOk);
    Turn();
    for (auto& task : tasks_) FUZZ_CHECK(task.done());
    FUZZ_CHECK(lane_->caller->in_flight() == 0);
    lane_->End();
    FUZZ_CHECK(source_.live == 0);
  }

 private:
  void Turn() {
    for (int i = 0; i < 50 && (lane_->Step() | listener_.transport->Progress()); ++i) {
    }
  }
  std::vector<uint8_t> WelcomeNow(TagKey* key) {
    Decoder d(listener_.hello);
    Prefix prefix;
    Hello hello;
    d(prefix, hello);
    FUZZ_CHECK(d.Finish().ok());
    Welcome welcome;
    welcome.nonce[0] = choices_.Byte();
    welcome.connection = choices_.Byte();
    welcome.generation = Generation(choices_.Byte());
    if (choices_.Byte() % 8 == 0) welcome.code = static_cast<Code>(choices_.Byte());
    if (choices_.Byte() % 8 == 0) welcome.shard = ShardId(1);
    prefix.kind = MessageKind::kWelcome;
    *key = ConnectionKey(identity_.secret, identity_.uuid, identity_.client, hello.nonce, welcome.nonce);
    std::vector<uint8_t> bytes(200);
    Encoder e{MutableBytes(bytes)};
    e.Put(prefix);
    e.Put(welcome);
    bytes.resize(e.size());
    SealHeader(bytes, *key);
    return bytes;
  }
  std::vector<uint8_t> ReplyTo(Bytes request) {
    Decoder d(request);
    Prefix prefix;
    RequestHeader header;
    d(prefix, header);
    FUZZ_CHECK(d.ok());
    prefix.kind = choices_.Byte() % 6 == 0 ? MessageKind::kWorking : MessageKind::kReply;
    ReplyHeader reply;
    if (choices_.Byte() % 3 == 0) reply.code = static_cast<Code>(choices_.Byte() % 34);
    reply.generation = Generation(choices_.Byte());
    std::vector<uint8_t> bytes(2048);
    Encoder e{MutableBytes(bytes)};
    e.Put(prefix);
    if (prefix.kind == MessageKind::kReply) {
      e.Put(reply);
      Filler filler(choices_.U64(), Filler::How::kByChance);
      if (header.method == Method::kRead) {
        ReadReply body;
        filler(body);
        e.Put(body);
      }
      if (header.method == Method::kOpen) {
        OpenReply body;
        filler(body);
        e.Put(body);
      }
    }
    bytes.resize(e.size());
    return bytes;
  }
  Payload SomePayload() {
    switch (choices_.Byte() % 4) {
      case 0:
        return source_.Eager(choices_.Some(64));
      case 1:
        return source_.Rendezvous(choices_.Some(64));
      case 2:
        return source_.Rendezvous(std::vector<uint8_t>(choices_.Below(6000)));
      default:
        return {};
    }
  }
  void Give(Bytes bytes) { lane_->caller->OnMessage(bytes, SomePayload()); }
  void Step() {
    switch (choices_.Byte() % 14) {
      case 0:
      case 1:
      case 2:
        if (tasks_.size() < 50) StartCall();
        return;
      case 3:
      case 4:
        if (!listener_.hello.empty()) Give(WelcomeNow(&key_));
        return;
      case 5: {  // changed on its way
        if (listener_.hello.empty()) return;
        TagKey key;
        std::vector<uint8_t> bytes = WelcomeNow(&key);
        const std::vector<uint8_t> good = bytes;
        choices_.Mutate(&bytes);
        if (bytes != good) Refused(bytes);
        return;
      }
      case 6:
      case 7:
      case 8:
        if (!listener_.requests.empty()) {
          std::vector<uint8_t> bytes = ReplyTo(AnyRequest());
          if (choices_.Byte() % 4 == 0) choices_.Mutate(&bytes);
          if (bytes.size() < Prefix::kBytes) return;
          SealHeader(bytes, key_);
          Give(bytes);
        }
        return;
      case 9:
        if (!listener_.requests.empty()) {
          std::vector<uint8_t> bytes = ReplyTo(AnyRequest());
          SealHeader(bytes, key_);
          const std::vector<uint8_t> good = bytes;
          choices_.Mutate(&bytes);
          if (bytes != good) Refused(bytes);
        }
        return;
      case 10:
        Refused(choices_.Some(200));
        return;
      case 11:
        lane_->caller->OnEndpointDown(EndpointId(1 + choices_.Byte() % 8));
        return;
      case 12:
        clock_.Advance(choices_.Below(3000) * kMillisecond);
        return;
      default:
        source_.End(choices_.Byte() % 2 == 0 ? Code::kOk : Code::kUnavailable);
    }
  }
  // Nothing that the lane did not refuse or find late; no call ends by it.
  void Refused(Bytes bytes) {
    const CallerStats before = lane_->caller->stats();
    lane_->caller->OnMessage(bytes, SomePayload());
    const CallerStats& after = lane_->caller->stats();
    FUZZ_CHECK(after.refused_messages + after.late_replies == before.refused_messages + before.late_replies + 1);
  }
  Bytes AnyRequest() { return listener_.requests[choices_.Below(static_cast<uint32_t>(listener_.requests.size()))]; }
  void StartCall() {
    const Nanos deadline = clock_.Now() + (1 + choices_.Below(20'000)) * kMillisecond;
    switch (choices_.Byte() % 4) {
      case 0:
        tasks_.push_back(lane_->Ping(0, deadline));
        return;
      case 1:
        tasks_.push_back(lane_->Read(0, 1, choices_.Byte() * 30u, deadline));
        return;
      case 2:
        tasks_.push_back(lane_->Write(0, 1, choices_.Byte() * 100u, deadline));
        return;
      default:
        tasks_.push_back(lane_->Open(0, 1, "name", deadline));
    }
  }

  Choices choices_;
  SimClock clock_;
  SimNetwork network_;
  TestBook book_;
  SimRandom random_;
  Identity identity_;
  Source source_;
  Listener listener_;
  std::unique_ptr<TestLane> lane_;
  std::vector<Task<Status>> tasks_;
  TagKey key_{};
};

}  // namespace

void Fuzz(const uint8_t* data, size_t size) {
  SetLogSink([](LogLevel, std::string_view) {}, LogLevel::kError);
  Run(data, size).Go();
}

std::vector<FuzzInput> Examples() { return {}; }

FUZZ_TEST_MAIN(EveryCallEndsWhateverAShardSays, 8000)

}  // namespace mayfly
