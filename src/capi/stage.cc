// The calls of Mayfly's own stage-in (mayfly/stage_calls.h).
#include <mayfly/stage_calls.h>

#include "capi/entry.h"
#include "wire/payload.h"

using namespace mayfly;

int mayfly_stage_start(mayfly_fs* fs, const StageSpec& spec, StageStartReply* reply) {
  const Call call{"stage-in", spec.target.c_str()};
  return static_cast<int>(Block(call, InstanceOf(fs), [&](Lane& lane) { return lane.StageStart(spec, reply); }));
}

int mayfly_stage_work(mayfly_fs* fs, const StageWorkRequest& request, const std::string& payload, StageWorkReply* reply,
                      StageItem* item) {
  const Call call{"stage-in", ""};
  return static_cast<int>(
      Block(call, InstanceOf(fs), [&](Lane& lane) { return lane.StageWork(request, AsBytes(payload), reply, item); }));
}

int mayfly_stage_status(mayfly_fs* fs, const StageStatusRequest& request, StageStatusReply* reply,
                        StageSummary* summary) {
  const Call call{"stage-in", ""};
  return static_cast<int>(
      Block(call, InstanceOf(fs), [&](Lane& lane) { return lane.StageStatus(request, reply, summary); }));
}

bool mayfly_stage_servers_come_back(mayfly_fs* fs) { return InstanceOf(fs).platform().servers_come_back(); }

int mayfly_stage_attributes(mayfly_fs* fs, int fd, const char* path, unsigned mask, const struct stat& st) {
  const Call call{"setting attributes", path != nullptr ? path : ""};
  SetAttrRequest change;
  const timespec times[2] = {st.st_atim, st.st_mtim};
  auto any = TimesOf(times, &change);
  if (!any.ok()) return static_cast<int>(Fail(call, any.code()));
  if ((mask & MAYFLY_STAGE_MODE) != 0) change.mask |= kSetMode;
  if ((mask & MAYFLY_STAGE_UID) != 0) change.mask |= kSetUid;
  if ((mask & MAYFLY_STAGE_GID) != 0) change.mask |= kSetGid;
  change.permissions = static_cast<uint16_t>(st.st_mode & 07777);
  change.uid = st.st_uid;
  change.gid = st.st_gid;
  Lane::Target target;
  FileRef file;
  if (fd >= 0) {
    file = FileOf(call, fd);
    if (file == nullptr) return -1;
    target.file = file;
  } else {
    MAYFLY_NEED(call, path != nullptr);
    target.path = path;
    target.follow = false;
  }
  return static_cast<int>(Block(call, InstanceOf(fs), [&](Lane& lane) { return lane.SetAttr(target, change); }));
}
