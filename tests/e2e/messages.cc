// Messages that a server must refuse and count, sent to a shard over its real transport by hand; then one that it must
// answer, on the same endpoint.
//   e2e_messages SHARD
// Prints a line for each counter of `mayfly status --json` with how many messages should have raised it. Status 1 if
// the last message was not answered.
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "adapt/posix/clock.h"
#include "adapt/posix/random.h"
#include "adapt/ucx/ucx_transport.h"
#include "session/discover.h"
#include "wire/header.h"

namespace mayfly {
namespace {

constexpr Nanos kPatience = 60 * kSecond;

void Die(const std::string& why) {
  fprintf(stderr, "e2e_messages: %s\n", why.c_str());
  exit(1);
}

// A lane without a Caller.
class Speaker final : public Receiver {
 public:
  Speaker(const FoundSession& found, std::unique_ptr<UcxTransport> transport, Bytes server, ShardId shard)
      : secret_(found.file.secret), uuid_(found.file.uuid), shard_(shard), transport_(std::move(transport)) {
    transport_->SetReceiver(this);
    auto endpoint = transport_->Connect(server);
    if (!endpoint.ok()) Die("cannot connect");
    endpoint_ = *endpoint;
  }

  void OnMessage(Bytes header, Payload) override {
    Prefix prefix;
    Decoder d(header);
    d.Get(prefix);
    if (d.ok() && prefix.kind == MessageKind::kWelcome) welcome_.assign(header.begin(), header.end());
    answered_ |= d.ok() && prefix.kind == MessageKind::kReply && HeaderIsSealed(header, key_);
  }
  void OnEndpointDown(EndpointId) override { Die("the server closed the endpoint"); }

  std::vector<uint8_t> MakeHello() {
    Hello hello;
    random_.Fill(nonce_);
    hello.nonce = nonce_;
    hello.uuid = uuid_;
    hello.client = client_ = ClientId(random_.U64() | 1);
    hello.process = ClientId(random_.U64() | 1);
    hello.cred.uid = geteuid();
    hello.cred.gid = getegid();
    hello.host = "by hand";
    hello.address = transport_->address();
    Prefix prefix;
    prefix.kind = MessageKind::kHello;
    prefix.slot = shard_.value;
    prefix.generation = 1;
    std::vector<uint8_t> bytes(Transport::kHeaderBytesMax);
    Encoder e{MutableBytes(bytes)};
    e.Put(prefix);
    e.Put(hello);
    bytes.resize(e.size());
    return bytes;
  }
  // Sealed, so that it counts as what is wrong with it.
  std::vector<uint8_t> MakeRequest(Method method, std::vector<uint8_t> body) {
    Prefix prefix;
    prefix.connection = connection_;
    RequestHeader header;
    header.method = method;
    header.time_left_ms = 30'000;
    header.sequence = Sequence::Make(++calls_, 0);
    std::vector<uint8_t> bytes(Transport::kHeaderBytesMax);
    Encoder e{MutableBytes(bytes)};
    e.Put(prefix);
    e.Put(header);
    e.Raw(body.data(), body.size());
    bytes.resize(e.size());
    return Sealed(std::move(bytes), key_);
  }
  static std::vector<uint8_t> Sealed(std::vector<uint8_t> bytes, const TagKey& key) {
    SealHeader(bytes, key);
    return bytes;
  }
  void Greet() {
    Send(Sealed(MakeHello(), HelloKey(secret_, uuid_)));
    Await("a welcome", [this] { return !welcome_.empty(); });
    Welcome welcome;
    Decoder d(Bytes(welcome_).subspan(Prefix::kBytes));
    welcome.Fields(d);
    if (!d.Finish().ok() || welcome.code != Code::kOk) Die("not welcome");
    key_ = ConnectionKey(secret_, uuid_, client_, nonce_, welcome.nonce);
    if (!HeaderIsSealed(welcome_, key_)) Die("a false welcome");
    connection_ = welcome.connection;
  }
  // Returns when the transport let go of the bytes, however that went.
  void Send(std::vector<uint8_t> header, size_t payload_bytes = 0) {
    struct Sending : Completion {
      bool over = false;
    } sending;
    sending.fn = [](Completion* self, Status) { static_cast<Sending*>(self)->over = true; };
    const std::vector<uint8_t> payload(payload_bytes, 0x5a);
    sending.over = transport_->Send(endpoint_, header, payload, &sending) == Transport::Sent::kDone;
    Await("the end of a send", [&] { return sending.over; });
  }
  void Ping() {
    Send(MakeRequest(Method::kPing, {}));
    Await("an answer", [this] { return answered_; });
  }
  const TagKey& key() const { return key_; }

 private:
  template <class Done>
  void Await(const char* what, Done done) {
    PosixClock clock;
    const Nanos end = clock.Now() + kPatience;
    while (!done()) {
      transport_->Progress();
      if (clock.Now() > end) Die(std::string("waited in vain for ") + what);
    }
  }

  const Secret secret_;
  const SessionUuid uuid_;
  const ShardId shard_;
  PosixRandom random_;
  std::unique_ptr<UcxTransport> transport_;
  EndpointId endpoint_;
  ClientId client_;
  Nonce nonce_{};
  TagKey key_{};
  uint64_t connection_ = 0, calls_ = 0;
  std::vector<uint8_t> welcome_;
  bool answered_ = false;
};

void SendAll(Speaker& speaker) {
  // Before there is a connection, as anybody on the network can.
  const TagKey wrong{1, 2, 3};
  std::vector<uint8_t> bytes = speaker.MakeHello();
  bytes.resize(Prefix::kBytes - 1);
  speaker.Send(bytes);                                        // truncated
  speaker.Send(Speaker::Sealed(speaker.MakeHello(), wrong));  // unauthenticated
  speaker.Send(speaker.MakeRequest(Method::kPing, {}));       // unknown_connection
  bytes = speaker.MakeHello();
  bytes[Prefix::kTagBytes] ^= 1;  // the magic
  speaker.Send(bytes);            // malformed
  Prefix prefix;
  prefix.kind = MessageKind::kWelcome;
  bytes.assign(Prefix::kBytes, 0);
  Encoder e{MutableBytes(bytes)};
  e.Put(prefix);
  speaker.Send(bytes);  // refused: an answer that is none
  // On a connection, as a user who is let in can.
  speaker.Greet();
  bytes = speaker.MakeRequest(Method::kPing, {});
  bytes.resize(Prefix::kBytes + RequestHeader::kBytes - 1);
  speaker.Send(Speaker::Sealed(bytes, speaker.key()));                           // truncated
  speaker.Send(Speaker::Sealed(speaker.MakeRequest(Method::kPing, {}), wrong));  // unauthenticated
  speaker.Send(speaker.MakeRequest(static_cast<Method>(60'000), {}));            // malformed
  speaker.Send(speaker.MakeRequest(Method::kUnlink, {1, 2, 3}));                 // malformed
  speaker.Send(speaker.MakeRequest(Method::kWrite, {}), kTransferBytesMax + 1);  // oversized
  speaker.Send(speaker.MakeRequest(Method::kLease, {}));                         // denied: a server's method
  speaker.Ping();
  puts("truncated 2\nunauthenticated 2\nunknown_connection 1\nmalformed 3\nrefused 1\noversized 1\ndenied 1");
}

}  // namespace
}  // namespace mayfly

int main(int argc, char** argv) {
  using namespace mayfly;
  if (argc != 2) return 2;
  const ShardId shard(static_cast<uint32_t>(atoi(argv[1])));
  auto found = Discover(DiscoverOptions::FromEnvironment("", ProtocolRange{kWireVersion, kWireVersion}));
  if (!found.ok()) Die(found.failure().sentence);
  auto map = OpenNodeMap(*found);
  if (!map.ok()) Die(map.failure().sentence);
  std::string why;
  auto transport = UcxTransport::Create({}, &why);
  if (transport == nullptr) Die(why);
  Speaker speaker(*found, std::move(transport), map->AddressOf(shard), shard);
  SendAll(speaker);
  return 0;
}
