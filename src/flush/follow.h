// The asking side of work at another shard: sends the request again and again until the work has ended.
#pragma once

#include "flush/flusher.h"
#include "flush/job.h"

namespace mayfly::flush_internal {

// kOk: it ended, *outcome is what it did. kTimedOut: the job was stopped and the shard did not end in time. Else why
// the shard cannot be asked. Before that *outcome is what the work did so far.
template <Method M>
Task<Status> Follow(FlushContext* context, std::shared_ptr<FlushJob> job, ShardId shard,
                    typename MethodTypes<M>::Request request, FlushPath path, FlushOutcome* outcome);

}  // namespace mayfly::flush_internal
