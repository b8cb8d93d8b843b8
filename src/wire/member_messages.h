// What servers ask each other after one of them was started again: how transactions ended, and where shards are now.
#pragma once

#include "wire/types.h"

namespace mayfly {

// To the shard in the transaction's number, by one that holds something for it and has not heard how it ended.
struct OutcomeRequest {
  TxnId txn;  // as in its Prepare
  template <class Io>
  void Fields(Io& io) {
    io(txn);
  }
};
enum class TxnState : uint8_t {
  kAborted = 0,  // or never heard of: presumed abort
  kOpen = 1,     // not decided yet, or what is known of it was damaged: ask again
  kCommitted = 2,
  kStuck = 3,  // the same as open until a server whose journal has failed has been started again
};
constexpr bool IsKnown(TxnState s) { return s <= TxnState::kStuck; }
struct OutcomeReply {
  TxnState state = TxnState::kAborted;
  Nanos time = 0, mtime = 0;  // of a commit: as in Decide
  template <class Io>
  void Fields(Io& io) {
    io(state, time, mtime);
  }
};

// To the root's shard, by a member that was started again: where its shards are now. Payload: a Moved each. Answered
// when it has its number; the others are told meanwhile.
struct Moved {
  ShardId shard;
  Bytes address;
  template <class Io>
  void Fields(Io& io) {
    io(shard, address);
  }
};
// From the root's shard to each: payload as in Rejoin, of all that moved since it was last told.
struct ViewRequest {
  View view;
  template <class Io>
  void Fields(Io& io) {
    io(view);
  }
};
struct ViewReply {
  View view;  // that holds from now on
  template <class Io>
  void Fields(Io& io) {
    io(view);
  }
};

}  // namespace mayfly
