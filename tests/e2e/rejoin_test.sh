#!/bin/bash
# ctest: TIMEOUT 900
# One server of a living session is killed while clients work, and started again by --rejoin: the clients wait and go on,
# nothing acknowledged is lost, and a stop flushes everything.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/lib.sh"
. "$here/survive_common.sh"
e2e_mpirun=(--enable-recovery)

# kill_member N: pids are as `mayfly status` had them at the start, then as rejoin notes them.
kill_member() { # N
  kill_children "${pids[$1]}"
}
rejoin() { # N OPTION...
  rejoin_begin "$@"
  rejoin_end "$1"
  forget
}
refused() { # PATTERN OPTION...
  local pattern=$1 status=0
  shift
  local log=$work/refused.$BASHPID
  timeout 60 mayflyd --rejoin --session "$MAYFLY_SESSION" "$@" 6>&- </dev/null >"$log" 2>&1 || status=$?
  ((status == 3)) || e2e_fail "status $status instead of 3 from --rejoin $*: $(cat "$log")"
  [[ $(grep -c '^mayflyd: ' "$log") == 1 ]] && grep -qE "^mayflyd: .*($pattern)" "$log" ||
    e2e_fail "no sentence like '$pattern': $(cat "$log")"
  echo "    $(cut -c 1-170 "$log")"
}

life() { # DIRECTORY OPTION...
  local dir=$1 root i
  shift
  start --memory 192M --shards 2 --durability process --flush-to "$work/out" "$@"
  local options=()
  [[ $# == 0 ]] || options=("$@")
  e2e_servers 6 # two shards each, by member
  for i in 0 1 2 3 4 5; do [[ " ${others[*]} " == *" $i "* ]] || root=$((i / 2)); done
  pids=("${pids[0]}" "${pids[2]}" "${pids[4]}")
  others=($(((root + 1) % 3)) $(((root + 2) % 3)))
  names=()
  work a
  work b
  all_go_on 100
  step "nobody is dead"
  refused 'no member of the session is dead' "${options[@]}" & # each waits three seconds for one that dies
  i=$!
  refused "no member of the session is dead.*asked for member ${others[0]}" --member "${others[0]}" "${options[@]}"
  wait "$i" || e2e_fail "a --rejoin where nobody is dead"
  step "one that is not the root, three times"
  for i in 1 2 3; do
    kill_member "${others[0]}"
    rejoin "${others[0]}" "${options[@]}"
    all_go_on 100
  done
  step "the root"
  kill_member "$root"
  rejoin "$root" --member "$root" "${options[@]}"
  all_go_on 100
  step "one that cannot tell the root, which is dead too, loses nothing by trying"
  kill_member "${others[0]}"
  kill_member "$root"
  refused 'telling the other servers' --member "${others[0]}" --start-timeout 5 "${options[@]}"
  rejoin "$root" "${options[@]}" --member "$root"
  rejoin "${others[0]}" "${options[@]}"
  all_go_on 100
  step "two at once, in this order and in that"
  kill_member "${others[0]}"
  kill_member "${others[1]}"
  rejoin_begin "${others[0]}" --member "${others[0]}" "${options[@]}"
  rejoin_begin "${others[1]}" --member "${others[1]}" "${options[@]}"
  rejoin_end "${others[0]}"
  rejoin_end "${others[1]}"
  forget
  all_go_on 100
  kill_member "${others[1]}"
  kill_member "$root"
  rejoin_begin "$root" --member "$root" "${options[@]}"
  rejoin_begin "${others[1]}" --member "${others[1]}" "${options[@]}"
  rejoin_end "$root"
  rejoin_end "${others[1]}"
  forget
  all_go_on 100
  end_workers
  # As one leaves it that is killed while it writes the map.
  : >"$MAYFLY_SESSION.map.new.$(sed -n 's/.*"session": *"\([0-9a-f-]*\)".*/\1/p' "$MAYFLY_SESSION").abcdef"
  ls "$MAYFLY_SESSION".map.new.????????-*.abcdef >/dev/null || e2e_fail "the session's file does not name it"
  stop "$dir"
  [[ -n $(ls "$work/out/a") ]] || e2e_fail "nothing was flushed"
  rm -rf "$work/out"
}

# The sanitizers look at the life with --dir, which does more.
[[ -n $MAYFLY_SANITIZE ]] || life "$work/none"
step "with --dir"
life "$work/disk" --dir "$work/disk/%h"
echo "all as expected"
