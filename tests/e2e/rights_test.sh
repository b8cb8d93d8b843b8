#!/bin/bash
# ctest: TIMEOUT 300 LABELS plain
# Several users and one server: of what user 1001 keeps to himself user 1002 gets nothing; a server that is not root's
# serves its own user alone, whatever a client brings along.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
e2e_have e2e_strangers mpirun mayflyd mayfly setpriv
[[ $(id -u) == 0 ]] || e2e_skip "not root: cannot be several users"
# Shared memory of UCX is its user's; and the folders are to be entered by the users here.
export UCX_TLS=tcp,self UCX_NET_DEVICES=lo
chmod 755 "$work" "$shm"

as() { # UID COMMAND...: with that user's copy of the session
  local uid=$1
  shift
  env MAYFLY_SESSION="$work/$uid/session.json" MAYFLY_RUNTIME_DIR="$work/$uid/runtime" HOME="$work/$uid" \
    timeout 60 setpriv --reuid "$uid" --regid "$uid" --clear-groups "$@"
}
hand_out() { # UID...: what root would do to let these users in: session file and node map as files of their own
  local uid map
  map=$(sed -n 's/^ *"map": "\(.*\)",\?$/\1/p' "$MAYFLY_SESSION")
  for uid; do
    mkdir -p "$work/$uid/tmp"
    cp "$map" "$work/$uid/map"
    # Another host beside this one: whether servers live here these users cannot see.
    sed -e "s|^\( *\"uid\": \)[0-9]*|\1$uid|" -e "s|^\( *\"map\": \)\".*\"|\1\"$work/$uid/map\"|" \
      -e 's|^\( *"hosts": \[\)|\1"elsewhere",|' "$MAYFLY_SESSION" >"$work/$uid/session.json"
    chmod 600 "$work/$uid/map" "$work/$uid/session.json"
    chown -R "$uid:$uid" "$work/$uid"
  done
}
refused() { # TEXT COMMAND...: fails, and says so with TEXT
  local text=$1
  shift
  ! "$@" >"$work/refused" 2>&1 || e2e_fail "was allowed: $*"
  grep -qi -- "$text" "$work/refused" || e2e_fail "said by $*: $(cat "$work/refused")"
}

echo "--- a server of root, two users"
e2e_start 2 --memory 128M
hand_out 1001 1002
run() { # UID MODE
  as "$1" e2e_strangers "$2" >"$work/said" 2>&1 || e2e_fail "user $1, $2: $(cat "$work/said")"
}
e2e_strangers room 1001 >"$work/said" 2>&1 || e2e_fail "root: $(cat "$work/said")"
run 1001 owner
run 1002 stranger
run 1001 verify
refused "permission" as 1002 mayfly cp :/a/private "$work/1002/taken"
refused "permission\|not permitted" as 1002 mayfly stage-out /a "$work/1002/out"
refused "permission denied" env MAYFLY_SESSION="$MAYFLY_SESSION" setpriv --reuid 1002 --regid 1002 --clear-groups mayfly ls /
e2e_stop

echo "--- a server of user 1001"
e2e_as 1001
export MAYFLY_RUNTIME_DIR=$shm/runtime-1001
chown -R 1001 "$work/1001"
e2e_start 2 --memory 128M
hand_out 1002
as 1002 test -r "$work/1002/session.json" || e2e_fail "user 1002 has no session file"
refused "not authenticated" as 1002 mayfly --connect-timeout 50 ls /
e2e_run mayfly ls / >"$work/said" 2>&1 || e2e_fail "its own user: $(cat "$work/said")"
e2e_stop
echo passed
