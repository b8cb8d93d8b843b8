// What the library gives to Mayfly's own stage-in (src/stage) beside the C interface; not installed, and of no use to
// other programs. Each call behaves as those of mayfly.h: 0, or -1 with errno and a sentence. The requests go to the
// root's shard; their meaning is in wire/stage_messages.h.
#pragma once

#include <mayfly/mayfly.h>

#include <string>

#include "wire/stage_messages.h"

extern "C" {

// EBUSY: another stage-in that is not over works on that target or below it.
int mayfly_stage_start(mayfly_fs* fs, const mayfly::StageSpec& spec, mayfly::StageStartReply* reply);
// `payload` is an encoded StageReport, or empty. Waits a few seconds for something to do if `request` takes.
int mayfly_stage_work(mayfly_fs* fs, const mayfly::StageWorkRequest& request, const std::string& payload,
                      mayfly::StageWorkReply* reply, mayfly::StageItem* item);
int mayfly_stage_status(mayfly_fs* fs, const mayfly::StageStatusRequest& request, mayfly::StageStatusReply* reply,
                        mayfly::StageSummary* summary);

// Whether a server of the session that was killed may come back with all that it held.
bool mayfly_stage_servers_come_back(mayfly_fs* fs);

// Which attributes of `st` to set, all by one message, so all or none of them: times always.
enum mayfly_stage_mask { MAYFLY_STAGE_MODE = 1, MAYFLY_STAGE_UID = 2, MAYFLY_STAGE_GID = 4 };
// Of an open file, or with fd -1 of `path`, which is not followed.
int mayfly_stage_attributes(mayfly_fs* fs, int fd, const char* path, unsigned mask, const struct stat& st);

}  // extern "C"
