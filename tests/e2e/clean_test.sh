#!/bin/bash
# ctest: TIMEOUT 300
# `mayfly clean` after a kill -9 of servers and launcher: removes all that this user's dead sessions left on the node, and
# nothing of a living session or of another user.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# The default runtime directory, in a /dev/shm of our own, where that can be had.
if [[ -z ${CLEAN_TEST_INSIDE:-} && $(id -u) == 0 ]] && unshare -m true 2>/dev/null; then
  CLEAN_TEST_INSIDE=yes exec unshare -m bash -c 'mount -t tmpfs -o mode=1777 private /dev/shm && exec bash "$0"' "$0"
fi
. "$here/lib.sh"
e2e_have mpirun mayflyd mayfly
[[ -z ${CLEAN_TEST_INSIDE:-} ]] || unset MAYFLY_RUNTIME_DIR
step() { echo "--- $*"; }
mkdir -m 1777 "$shm/sessions"
launchers=() options=()
end_launchers() {
  ((${#launchers[@]} == 0)) || kill -TERM "${launchers[@]}" 2>/dev/null
  e2e_end
}
trap end_launchers EXIT

# start NAME COMMAND...: two servers; $launcher, $session. COMMAND is put before mpirun. Its temporary folder is its own.
start() {
  local name=$1
  shift
  session=$shm/sessions/$name.json
  mkdir -m 1777 "$shm/sessions/$name"
  cd "$shm/sessions/$name" || e2e_fail "cd" # the other user may not be let into ours
  TMPDIR=$shm/sessions/$name OMPI_MCA_orte_tmpdir_base=$shm/sessions/$name HOME=$shm/sessions/$name \
    "$@" mpirun -n 2 mayflyd --member-per rank --memory 64M --session "$session" \
    "${options[@]}" </dev/null >"$work/servers.log" 2>&1 &
  launcher=$!
  launchers+=("$launcher")
  "$@" timeout 60 mayfly --session "$session" wait || e2e_fail "no start of $name"
}
gone() { # PID...
  local pid
  for pid; do [[ ! -e /proc/$pid || $(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null) == [ZX]* ]] || return 1; done
}
kill_all() { # of the session just started
  local pids
  mapfile -t pids < <(pgrep -P "$launcher" -x mayflyd)
  ((${#pids[@]} == 2)) || e2e_fail "not two servers but ${#pids[@]}"
  kill -KILL "$launcher" "${pids[@]}"
  wait "$launcher" 2>/dev/null
  e2e_within 20 gone "${pids[@]}" || e2e_fail "killed servers live"
}
everything() { find /dev/shm -mindepth 1 ! -path "$work*" | sort; }

mkdir "$shm/sessions/disk"
step "a living session, and nothing to clean"
start living
living=$session living_launcher=$launcher
mayfly --session "$living" mkdir /here || e2e_fail "mkdir"
[[ $(mayfly clean) == "nothing is left" ]] || e2e_fail "clean found something of a living session"
other=()
# A sanitizer's files may be where the other user does not get to.
if [[ -n ${CLEAN_TEST_INSIDE:-} && -z ${MAYFLY_SANITIZE:-} ]] && command -v setpriv >/dev/null; then
  copy=$shm/programs
  mkdir -m 0755 "$copy"
  chmod 0711 "$shm"
  cmake --install "$MAYFLY_BUILD_DIR" --prefix "$copy" >"$work/install.log" || e2e_fail "$(cat "$work/install.log")"
  step "the leftovers of another user"
  other=(setpriv --reuid 12345 --regid 12345 --clear-groups env "PATH=$copy/bin:$PATH")
  start other "${other[@]}"
  kill_all
fi
before=$(everything)

step "the leftovers of this user"
options=(--durability process --journal-bytes 4M --dir "$shm/sessions/disk")
start dead
# What a session leaves besides: its server's arena, marks, maps, MPI's segments and the launcher's folder.
kill_all
truncate -s 100 "$shm"/sessions/disk/mayfly-*/member-1/charter
left=$(comm -13 <(echo "$before") <(everything))
for what in 'disk/mayfly-.*/member-1/shard-1/journal' 'sessions/dead\.json$' 'sessions/dead\.json\.map$' 'rank-1\.pid$' 'arena-0' 'vader_segment' 'sessions/dead/ompi\..*/pid\.'; do
  grep -q "$what" <<<"$left" || e2e_fail "a kill leaves no $what: this tests nothing: $left"
done

step "a look"
mayfly clean --dry-run >"$work/look" || e2e_fail "clean --dry-run"
[[ $(comm -13 <(echo "$before") <(everything)) == "$left" ]] || e2e_fail "--dry-run changed something"
for what in 'dead\.json$' vader_segment '/pid\.' 'member-0$' 'member-1$'; do grep -q "$what" "$work/look" || e2e_fail "--dry-run does not name $what"; done
! grep -q -e living -e other "$work/look" || e2e_fail "--dry-run names what is not to be removed: $(cat "$work/look")"

step "clean"
mayfly clean >"$work/cleaned" || e2e_fail "clean"
sed 's/^/    /' "$work/cleaned"
[[ $(sed 's/^removed //' "$work/cleaned") == "$(cat "$work/look")" ]] || e2e_fail "clean removed other things than the look said"
left=$(comm -13 <(echo "$before") <(everything) | grep -vxF "$shm/sessions/dead")
[[ -z $left ]] || e2e_fail "still there: $left"
[[ -z $(comm -23 <(echo "$before") <(everything)) ]] || e2e_fail "gone: $(comm -23 <(echo "$before") <(everything))"
[[ $(mayfly clean) == "nothing is left" ]] || e2e_fail "a second clean finds something"

step "members whose charters are damaged and whose nodes nobody names"
start again
kill_all
uuid=$(basename "$shm"/sessions/disk/mayfly-*)
truncate -s 100 "$shm/sessions/disk/$uuid"/member-?/charter "${MAYFLY_RUNTIME_DIR:-/dev/shm/mayfly-$(id -u)}/${uuid#mayfly-}/map"
mayfly clean >"$work/cleaned" 2>"$work/said" || e2e_fail "clean"
for i in 0 1; do
  grep -qE "^mayfly: .*/member-$i stays: its charter is damaged, .*mayfly journal clear --force" "$work/said" || e2e_fail "it does not name member $i: $(cat "$work/said")"
done
mayfly journal clear --yes --force "$shm/sessions/disk" >"$work/cleaned" 2>&1 || e2e_fail "journal clear: $(cat "$work/cleaned")"
[[ -z $(ls "$shm/sessions/disk") ]] || e2e_fail "left: $(ls "$shm/sessions/disk")"

step "the living session lives"
[[ $(mayfly --session "$living" ls /) == here ]] || e2e_fail "the living session does not answer"
mayfly --session "$living" stop --no-flush || e2e_fail "stop"
wait "$living_launcher" || e2e_fail "the servers of the living session ended with $?"

if ((${#other[@]} > 0)); then
  step "the other user cleans"
  [[ $(everything | grep -c '^/dev/shm/mayfly-12345/') -gt 3 ]] || e2e_fail "the other user's leftovers are gone"
  "${other[@]}" mayfly clean >"$work/cleaned" || e2e_fail "clean by the other user"
  left=$(find /dev/shm -user 12345 ! -path "$shm/sessions/other")
  [[ -z $left ]] || e2e_fail "still there: $left"
fi
left=$(everything | grep -v -e "^$shm")
[[ -z $left ]] || [[ -z ${CLEAN_TEST_INSIDE:-} ]] || e2e_fail "left: $left"
launchers=()
echo "all as expected"
