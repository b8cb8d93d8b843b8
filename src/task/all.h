// Several tasks that run side by side, awaited together.
#pragma once

#include <utility>
#include <vector>

#include "base/status.h"
#include "task/task.h"

namespace mayfly {

// Until all have ended, whatever becomes of them. The status of the last in the list that failed; kOk if none did.
inline Task<Status> All(std::vector<Task<Status>> tasks) {
  Status status;
  for (auto& task : tasks) {
    const Status one = co_await task;
    if (!one.ok()) status = one;
  }
  co_return status;
}

}  // namespace mayfly
