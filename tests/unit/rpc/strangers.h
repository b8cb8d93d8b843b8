// Parties that speak the protocol by hand, byte by byte: one on the network without a secret, one with it.
#pragma once

#include "unit/rpc/rpc_world.h"

namespace mayfly {

// Sends raw messages to a shard, as somebody on the network could.
struct Stranger : Receiver {
  explicit Stranger(World& w) : world(w), transport(w.network.Create()) {
    transport->SetReceiver(this);
    world.others.push_back(transport.get());
  }
  virtual ~Stranger() {
    std::erase(world.others, transport.get());
    transport->SetReceiver(nullptr);
  }
  void OnMessage(Bytes header, Payload) override { got.push_back(Copy(header)); }
  void OnEndpointDown(EndpointId endpoint) override { transport->Close(endpoint); }
  void Send(uint32_t shard, std::vector<uint8_t> header) {
    struct Done : Completion {
      std::vector<uint8_t> bytes;
    };
    auto* done = new Done;
    done->bytes = sent = std::move(header);
    done->fn = [](Completion* c, Status) { delete static_cast<Done*>(c); };
    auto endpoint = transport->Connect(world.book.AddressOf(ShardId(shard)));
    if (transport->Send(*endpoint, done->bytes, {}, done) == Transport::Sent::kDone) delete done;
    world.RunFor(kMillisecond);
  }
  World& world;
  std::unique_ptr<SimTransport> transport;
  std::vector<std::vector<uint8_t>> got;
  std::vector<uint8_t> sent;  // last
};

// One lane with the right secret, towards shard 0.
struct Insider : Stranger {
  explicit Insider(World& w, bool as_peer = false) : Stranger(w), me(w.Someone()), peer(as_peer) { Greet(1); }
  void Greet(uint32_t attempt) {
    Prefix prefix;
    prefix.kind = MessageKind::kHello;
    prefix.generation = attempt;
    Hello hello;
    hello.uuid = me.uuid;
    hello.client = me.client;
    hello.process = me.process;
    hello.address = transport->address();
    hello.peer = peer;
    if (peer) hello.proof = HelloProof(prefix, hello, PeerProofKey(SecretOf(2)));
    std::vector<uint8_t> bytes(Transport::kHeaderBytesMax);
    Encoder e{MutableBytes(bytes)};
    e.Put(prefix);
    e.Put(hello);
    bytes.resize(e.size());
    SealHeader(bytes, HelloKey(me.secret, me.uuid));
    Send(0, bytes);
    Decoder d(Bytes(got.at(0)).subspan(Prefix::kBytes));
    Welcome welcome;
    welcome.Fields(d);
    EXPECT_TRUE(d.Finish().ok());
    key = ConnectionKey(me.secret, me.uuid, me.client, hello.nonce, welcome.nonce);
    EXPECT_TRUE(HeaderIsSealed(got[0], key));
    connection = welcome.connection;
    got.clear();
  }
  void Request(uint16_t method, uint64_t sequence, std::vector<uint8_t> body, uint16_t attempt = 0) {
    Prefix prefix;
    prefix.connection = connection;
    RequestHeader header;
    header.method = static_cast<Method>(method);
    header.attempt = attempt;
    header.sequence = sequence;
    header.time_left_ms = 1000;
    std::vector<uint8_t> bytes(Transport::kHeaderBytesMax);
    Encoder e{MutableBytes(bytes)};
    e.Put(prefix);
    e.Put(header);
    e.Raw(body.data(), body.size());
    bytes.resize(e.size());
    SealHeader(bytes, key);
    Send(0, bytes);
  }
  Identity me;
  bool peer;
  TagKey key{};
  uint64_t connection = 0;
};

}  // namespace mayfly
