// Any bytes as any message: decoding does not crash, does not allocate beyond them, and what it accepts is what
// encoding gives again, byte by byte (a message has one form). Inputs are bytes as they come, and messages with a few
// changes.
#include "fuzz/fuzz.h"
#include "unit/wire/message_fill.h"

namespace mayfly {
namespace {

template <class T>
void TryAs(Bytes bytes) {
  T message;
  if (!DecodeInto(bytes, &message).ok()) return;
  const std::vector<uint8_t> again = Encoded(message);
  FUZZ_CHECK(again.size() == bytes.size() && std::equal(again.begin(), again.end(), bytes.begin()));
}

void TryAsAll(Bytes bytes) {
#define MAYFLY_EACH(name, number, request, reply, once, who) \
  TryAs<request>(bytes);                                     \
  TryAs<reply>(bytes);
  MAYFLY_METHODS(MAYFLY_EACH)
#undef MAYFLY_EACH
  TryAs<Prefix>(bytes);
  TryAs<RequestHeader>(bytes);
  TryAs<ReplyHeader>(bytes);
  TryAs<Hello>(bytes);
  TryAs<Welcome>(bytes);
  TryAs<ListingEntry>(bytes);
  TryAs<std::vector<TxnOp>>(bytes);
  TryAs<FlushSpec>(bytes);
  TryAs<FlushPath>(bytes);
  TryAs<FlushOutcome>(bytes);
}

template <class T>
std::vector<uint8_t> Valid(Filler& filler) {
  T message;
  filler(message);
  return Encoded(message);
}

std::vector<uint8_t> ValidOne(uint32_t which, Filler& filler) {
  switch (which) {
#define MAYFLY_EACH(name, number, request, reply, once, who) \
  case 2 * number:                                           \
    return Valid<request>(filler);                           \
  case 2 * number + 1:                                       \
    return Valid<reply>(filler);
    MAYFLY_METHODS(MAYFLY_EACH)
#undef MAYFLY_EACH
    case 0:
      return Valid<Hello>(filler);
    case 1:
      return Valid<Welcome>(filler);
    case 200:
      return Valid<std::vector<TxnOp>>(filler);
    case 201:
      return Valid<FlushSpec>(filler);
    case 202:
      return Valid<FlushPath>(filler);
    case 203:
      return Valid<FlushOutcome>(filler);
    case 204:
      return Valid<ListingEntry>(filler);
    default:
      return Valid<Attr>(filler);
  }
}

}  // namespace

void Fuzz(const uint8_t* data, size_t size) {
  TryAsAll({data, size});
  Choices choices(data, size);
  const uint32_t which = choices.Below(210);
  Filler filler(choices.U64(), choices.Byte() % 4 == 0 ? Filler::How::kLargest : Filler::How::kByChance);
  std::vector<uint8_t> message = ValidOne(which, filler);
  do {
    TryAsAll(message);
    choices.Mutate(&message);
  } while (!choices.empty());
}

FUZZ_TEST_MAIN(DecodingAcceptsOnlyWhatEncodingGives, 1500)

}  // namespace mayfly
