#include "server/change_log.h"

#include "base/log.h"

namespace mayfly {

bool ChangeLog::SealChanges() {
  if (failed_) {
    changes_.Clear();
    return false;
  }
  Result<Lsn> lsn = journal_->Append(changes_.bytes());
  changes_.Clear();
  if (!lsn.ok()) {
    failed_ = true;
    MAYFLY_ERROR("the journal took a record no more ({}): this server changes and answers nothing from now on",
                 TextOf(lsn.code()));
    return false;
  }
  sealed_ = *lsn;
  return true;
}

Task<Status> ChangeLog::WaitForRoom(Nanos deadline) {
  if (failed_) co_return Code::kReadOnly;
  co_return co_await journal_->WaitForRoom(kRequestBytesMax, deadline);
}

Task<Status> ChangeLog::Durable(Nanos deadline) {
  if (journal_ == nullptr) co_return Code::kOk;
  if (!Seal()) co_return Code::kIo;
  co_return co_await journal_->Durable(sealed_, deadline);
}

}  // namespace mayfly
