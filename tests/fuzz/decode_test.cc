// Any bytes as any message: decoding does not crash, does not allocate beyond them, and what it accepts is what
// encoding gives again, byte by byte (a message has one form). Inputs are bytes as they come, and messages with a few
// changes.
#include "fuzz/fuzz.h"
#include "unit/wire/message_fill.h"
#include "wire/flush_messages.h"
#include "wire/member_messages.h"
#include "wire/stage_messages.h"

namespace mayfly {
namespace {

using Ops = std::vector<TxnOp>;
using Moves = std::vector<Moved>;
using TraceLines = std::vector<TraceLine>;

// What payloads carry, apart from bytes of files and texts.
#define MAYFLY_PAYLOADS(X) \
  X(ListingEntry)          \
  X(Ops)                   \
  X(Moves)                 \
  X(FlushSpec)             \
  X(FlushPath)             \
  X(FlushListing)          \
  X(FlushMissing)          \
  X(FlushNote)             \
  X(FlushOutcome)          \
  X(StageSpec)             \
  X(StageItem)             \
  X(StageReport)           \
  X(StageSummary)          \
  X(TraceLines)            \
  X(OwnPart)               \
  X(BirthRecord)           \
  X(ContentRecord)         \
  X(RemovalRecord)         \
  X(BundleDone)            \
  X(TraceNote)

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
#define MAYFLY_EACH(type) TryAs<type>(bytes);
  MAYFLY_PAYLOADS(MAYFLY_EACH)
#undef MAYFLY_EACH
}

template <class T>
std::vector<uint8_t> Valid(Filler& filler) {
  T message;
  filler(message);
  return Encoded(message);
}

// One of each.
constexpr std::vector<uint8_t> (*kValid[])(Filler&) = {&Valid<Hello>, &Valid<Welcome>, &Valid<Attr>,
#define MAYFLY_EACH(name, number, request, reply, once, who) &Valid<request>, &Valid<reply>,
                                                       MAYFLY_METHODS(MAYFLY_EACH)
#undef MAYFLY_EACH
#define MAYFLY_EACH(type) &Valid<type>,
                                                           MAYFLY_PAYLOADS(MAYFLY_EACH)
#undef MAYFLY_EACH
};

}  // namespace

void Fuzz(const uint8_t* data, size_t size) {
  TryAsAll({data, size});
  Choices choices(data, size);
  const uint8_t which = choices.Byte();
  Filler filler(choices.U64(), choices.Byte() % 4 == 0 ? Filler::How::kLargest : Filler::How::kByChance);
  std::vector<uint8_t> message = kValid[which % std::size(kValid)](filler);
  for (int changes = 0; changes < 20 && !choices.empty(); ++changes) {
    TryAsAll(message);
    choices.Mutate(&message);
  }
}

std::vector<FuzzInput> Examples() {
  Filler filler(1, Filler::How::kByChance);
  std::vector<FuzzInput> all;
  for (const auto valid : kValid) all.push_back(valid(filler));
  return all;
}

FUZZ_TEST_MAIN(DecodingAcceptsOnlyWhatEncodingGives, 1500)

}  // namespace mayfly
