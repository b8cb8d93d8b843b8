// A live Responder between strangers and insiders: whatever arrives, in whatever order, it does not crash, and no
// request that is not sealed under its connection's key reaches a handler. The input is a list of what to do next.
#include "fuzz/fuzz.h"
#include "unit/rpc/strangers.h"
#include "unit/wire/message_fill.h"

namespace mayfly {
namespace {

template <class T>
std::vector<uint8_t> Valid(Filler& filler) {
  T message;
  filler(message);
  return Encoded(message);
}

std::vector<uint8_t> ValidBody(uint16_t method, Filler& filler) {
  switch (method) {
#define MAYFLY_EACH(name, number, request, reply, once, who) \
  case number:                                               \
    return Valid<request>(filler);
    MAYFLY_METHODS(MAYFLY_EACH)
#undef MAYFLY_EACH
  }
  return {};
}

class Run {
 public:
  Run(const uint8_t* data, size_t size) : choices_(data, size), client_(world_), peer_(world_, true) {}
  void Go() {
    for (int answers = choices_.Byte() % 8; answers > 0; --answers) ApplyAnswer();
    for (int steps = 0; steps < 200 && !choices_.empty(); ++steps) Step();
    if (choices_.Byte() % 2 == 0) shard().responder->Close();
    shard().Release();
    world_.RunFor(choices_.Byte() % 4 == 0 ? 20 * kSecond : kMillisecond);
    FUZZ_CHECK(shard().started <= sealed_);
    FUZZ_CHECK(shard().gate.running() == 0);
  }

 private:
  TestShard& shard() { return *world_.shards[0]; }
  const ResponderStats& stats() { return shard().responder->stats(); }

  std::vector<uint8_t> Request(Insider& from) {
    Prefix prefix;
    prefix.connection = from.connection;
    prefix.slot = choices_.Byte();
    prefix.generation = choices_.Byte();
    RequestHeader header;
    header.method = static_cast<Method>(1 + choices_.Byte() % 53);
    header.attempt = choices_.Byte() % 3;
    header.time_left_ms = choices_.Below(1000);
    header.sequence = Sequence::Make(1 + choices_.Byte() % 16, choices_.Byte() % 4);
    Filler filler(choices_.U64(), Filler::How::kByChance);
    const std::vector<uint8_t> body = ValidBody(static_cast<uint16_t>(header.method), filler);
    std::vector<uint8_t> bytes(Transport::kHeaderBytesMax);
    Encoder e{MutableBytes(bytes)};
    e.Put(prefix);
    e.Put(header);
    e.Raw(body.data(), body.size());
    bytes.resize(e.size());
    return bytes;
  }
  // What a journal says was answered before a restart: nobody is served yet.
  void ApplyAnswer() {
    const std::vector<uint8_t> body = choices_.Some(choices_.Byte() % 8 == 0 ? 200 : 20);
    AnswerImage image;
    image.client = choices_.Byte() % 2 == 0 ? client_.me.client : ClientId(choices_.Byte() % 4);
    image.sequence = Sequence::Make(choices_.Byte() % 16, choices_.Byte() % 4);
    image.body = body;
    std::vector<uint8_t> bytes = Encoded(image);
    if (choices_.Byte() % 4 == 0) choices_.Mutate(&bytes);
    (void)shard().responder->ApplyAnswer(bytes);
  }
  // A message that nobody sealed for this connection.
  void Unsealed(Bytes bytes) {
    const uint64_t before = stats().requests;
    shard().responder->OnMessage(bytes, Payload());
    FUZZ_CHECK(stats().requests == before);
  }
  void Sealed(std::vector<uint8_t> bytes, const TagKey& key) {
    if (bytes.size() < Prefix::kBytes || bytes.size() > Transport::kHeaderBytesMax) return;
    SealHeader(bytes, key);
    ++sealed_;
    shard().responder->OnMessage(bytes, Payload());
    sent_.push_back(std::move(bytes));
  }
  void Step() {
    Insider& who = choices_.Byte() % 2 == 0 ? client_ : peer_;
    switch (choices_.Byte() % 13) {
      case 0:
        Unsealed(choices_.Some(300));
        return;
      case 1: {  // a good request, changed on its way
        std::vector<uint8_t> bytes = Request(who);
        SealHeader(bytes, who.key);
        const std::vector<uint8_t> good = bytes;
        choices_.Mutate(&bytes);
        if (bytes != good) Unsealed(bytes);
        return;
      }
      case 2: {  // under another key
        std::vector<uint8_t> bytes = Request(who);
        SealHeader(bytes, choices_.Byte() % 2 == 0 ? HelloKey(who.me.secret, who.me.uuid)
                                                   : (&who == &client_ ? peer_ : client_).key);
        Unsealed(bytes);
        return;
      }
      case 3:
      case 4:
        Sealed(Request(who), who.key);
        return;
      case 5: {  // an insider that sends nonsense
        std::vector<uint8_t> bytes = Request(who);
        choices_.Mutate(&bytes);
        Sealed(std::move(bytes), who.key);
        return;
      }
      case 6:
        if (!sent_.empty()) {  // again
          ++sealed_;
          const std::vector<uint8_t> copy = sent_[choices_.Below(static_cast<uint32_t>(sent_.size()))];
          shard().responder->OnMessage(copy, Payload());
        }
        return;
      case 7: {  // a greeting, good or not
        Hello hello;
        Filler filler(choices_.U64(), Filler::How::kByChance);
        Prefix prefix;
        filler(hello);
        prefix.kind = MessageKind::kHello;
        prefix.generation = choices_.Byte();
        hello.protocol = kWireVersion;
        hello.uuid = who.me.uuid;
        if (choices_.Byte() % 2 == 0) hello.client = who.me.client;
        if (choices_.Byte() % 2 == 0) hello.address = who.transport->address();
        hello.host = hello.host.substr(0, Hello::kHostBytesMax);
        std::vector<uint8_t> bytes(4096);
        Encoder e{MutableBytes(bytes)};
        e.Put(prefix);
        e.Put(hello);
        bytes.resize(e.size());
        if (choices_.Byte() % 2 == 0) choices_.Mutate(&bytes);
        if (bytes.size() < Prefix::kBytes || bytes.size() > Transport::kHeaderBytesMax) return;
        if (choices_.Byte() % 4 != 0) SealHeader(bytes, HelloKey(who.me.secret, who.me.uuid));
        shard().responder->OnMessage(bytes, Payload());
        return;
      }
      case 8:
        shard().responder->OnEndpointDown(EndpointId(choices_.Byte() % 8));
        return;
      case 9:
        world_.RunFor(choices_.Below(2000) * kMillisecond);
        return;
      case 10:
        world_.Step();
        return;
      case 11: {  // a trace, and what a client noted, good or not
        (void)shard().responder->trace().Switch(choices_.Byte() % 4, choices_.Below(2000) * kMillisecond);
        Prefix prefix;
        prefix.kind = MessageKind::kTrace;
        prefix.connection = who.connection;
        std::vector<uint8_t> bytes = Encoded(prefix);
        Filler filler(choices_.U64(), Filler::How::kByChance);
        for (int notes = choices_.Byte() % 4; notes > 0; --notes) {
          const std::vector<uint8_t> note = Valid<TraceNote>(filler);
          bytes.insert(bytes.end(), note.begin(), note.end());
        }
        if (choices_.Byte() % 4 == 0) choices_.Mutate(&bytes);
        Sealed(std::move(bytes), who.key);
        (void)shard().responder->trace().Read(choices_.Byte() % 4);
        return;
      }
      default:
        shard().hold = choices_.Byte() % 2 == 0;
        if (!shard().hold) shard().Release();
    }
  }

  Choices choices_;
  World world_;
  Insider client_, peer_;
  uint64_t sealed_ = 0;
  std::vector<std::vector<uint8_t>> sent_;
};

}  // namespace

void Fuzz(const uint8_t* data, size_t size) {
  SetLogSink([](LogLevel, std::string_view) {}, LogLevel::kError);
  Run(data, size).Go();
}

std::vector<FuzzInput> Examples() { return {}; }

FUZZ_TEST_MAIN(NothingUnsealedReachesAHandler, 8000)

}  // namespace mayfly
