// A message that owns its bytes and ends with the transport's use of them, so that whoever sent it may go away before.
// For the rare ones: welcomes, repeated answers, signs of life. Calls and first answers are sent from where they stand.
#pragma once

#include <memory>
#include <vector>

#include "os/transport.h"
#include "wire/header.h"

namespace mayfly {

class Parcel final : private Completion {
 public:
  // Seals `header` (encoded, tag still open) and sends it with `payload`. A failure shows as the endpoint going down.
  static void Send(Transport& transport, EndpointId to, Bytes header, Bytes payload, const TagKey& key) {
    std::unique_ptr<Parcel> parcel(new Parcel(header, payload));
    SealHeader(parcel->header_, key);
    if (transport.Send(to, parcel->header_, parcel->payload_, parcel.get()) == Transport::Sent::kPending) {
      (void)parcel.release();  // its completion ends it: a transport runs each one (N3)
    }
  }

 private:
  Parcel(Bytes header, Bytes payload)
      : header_(header.begin(), header.end()), payload_(payload.begin(), payload.end()) {
    fn = [](Completion* self, Status) { delete static_cast<Parcel*>(self); };
  }
  std::vector<uint8_t> header_, payload_;
};

}  // namespace mayfly
