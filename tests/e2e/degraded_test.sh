#!/bin/bash
# ctest: TIMEOUT 600 LABELS plain
# A member's storage is gone. --recover names it; --recover degraded serves what the others hold, to read: what is there
# is right, what may be missing is an input/output error and never "no such file", nothing can be changed, a stop flushes
# what is whole and lists the rest; and not a byte of the storage is touched, so that all comes back with the member.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/lib.sh"
. "$here/survive_common.sh"
mkdir -p "$work/in" "$work/disk"
for d in {a..f}; do
  mkdir -p "$work/in/$d/deep"
  for i in 1 2; do
    echo "file $d $i" >"$work/in/$d/name-$i"
    head -c $((20000 + i * 90000)) /dev/urandom >"$work/in/$d/deep/name-$i" # up to four chunks
  done
  ln "$work/in/$d/name-1" "$work/in/$d/linked" # the name of an inode that is on another member, perhaps
  ln -s name-1 "$work/in/$d/soft"
done
stage() { # a tree a stage-in: what lies at the top is on several members
  local d
  for d in {a..f}; do
    timeout 120 mayfly stage-in --here "$work/in/$d" "/$d" >"$work/stage.log" 2>&1 || e2e_fail "stage-in: $(cat "$work/stage.log")"
  done
}

hashes() { find "$work/disk" "$shm" -type f ! -name 'rank-*' ! -name map ! -name session.json ! -name kept -print0 | sort -z | xargs -0 cksum; }
# mayfly_says STATUS PATTERN WHAT...
mayfly_says() {
  local status=0 expected=$1 pattern=$2
  shift 2
  timeout 60 mayfly "$@" >"$work/said" 2>&1 || status=$?
  ((status == expected)) && grep -q -- "$pattern" "$work/said" || e2e_fail "mayfly $*: status $status: $(cat "$work/said")"
}
files() { (cd "$work/in" && find . -type f -printf '%P\n' | sort); }

# Each file is there and right, or an error that does not deny it; a file that breaks off did so where it should.
# Sets `right` and `broken`, and `readable`, one that is right.
look_at_all() {
  local name
  right=0 broken=0 readable=''
  while read -r name; do
    if timeout 60 mayfly cat "/$name" >"$work/found" 2>"$work/err"; then
      cmp "$work/found" "$work/in/$name" || e2e_fail "$name is not what was stored"
      ((right += 1))
      readable=$name
    else
      grep -q 'Input/output error' "$work/err" || e2e_fail "$name: $(cat "$work/err")"
      cmp -n "$(stat -c %s "$work/found")" "$work/found" "$work/in/$name" || e2e_fail "what can be read of $name is wrong"
      ((broken += 1))
    fi
  done < <(files)
}

# A directory above $1 has names that the missing member knew.
may_be_below() {
  local path=$1
  while [[ $path == */* ]]; do
    path=${path%/*}
    ! grep -qF "missing: $path/ (the part of" "$work/stop.log" || return 0
  done
  grep -qF 'missing: / (the part of' "$work/stop.log"
}
# What the stop left out of $work/out is in its list, and what is there is right and not in the list.
account_for_all() {
  local name named=0 unknown=0 there=0
  while read -r name; do
    if grep -qF "missing: $name (" "$work/stop.log"; then
      [[ ! -e $work/out/$name ]] || e2e_fail "$name is listed as missing and is there"
      ((named += 1))
    elif [[ -e $work/out/$name ]]; then
      cmp "$work/in/$name" "$work/out/$name" || e2e_fail "$name was flushed wrong"
      ((there += 1))
    else
      may_be_below "$name" || e2e_fail "$name is neither flushed nor listed: $(cat "$work/stop.log")"
      ((unknown += 1))
    fi
  done < <(files)
  cat "$work/stop.log" >>"$work/stops.log"
  [[ -z $(find "$work/out" -name '.mayfly*' -o -name '*.partial') ]] || e2e_fail "the flush left something half"
  echo "    flushed: $there; named as missing: $named; names that nobody knows: $unknown"
  ((there > 0 && named + unknown > 0)) || e2e_fail "not what was expected"
}

# without MEMBER OPTION...: the members but one.
without() {
  victim=$1
  shift
  local storage status=0
  storage=$(find "$work/disk" "$shm" -name "member-$victim")
  [[ -d $storage ]] || e2e_fail "no storage of member $victim"
  mv "$storage" "$work/aside"
  ranks=3
  before=$(hashes)
  launch --recover "$@"
  e2e_within 60 e2e_ended || e2e_fail "servers recover without a member"
  grep -qE "^mayflyd: .*member $victim of the session, on $(uname -n), is missing; .*--recover degraded" "$work/servers.log" || e2e_fail "the member is not named"
  e2e_launcher=''
  [[ $(hashes) == "$before" ]] || e2e_fail "a recovery that was refused changed something"

  start --recover degraded "$@"
  grep -qE "missing: member $victim on $(uname -n): .*member-$victim" "$work/servers.log" || e2e_fail "the servers do not name the member"
  mayfly status >"$work/status" || e2e_fail "mayfly status"
  grep -q "WARNING: missing: .*(member $victim" "$work/status" || e2e_fail "mayfly status: $(cat "$work/status")"
  grep -q 'WARNING: this session is degraded' "$work/status" || e2e_fail "mayfly status: $(cat "$work/status")"
  look_at_all
  echo "    right: $right; errors: $broken"
  ((right > 0 && broken > 0)) || e2e_fail "not what was expected"
  # The member is there again: it comes back with all others, not beside a session that has begun without it.
  mv "$work/aside" "$storage"
  before_member=$(hashes)
  timeout 60 mayflyd --rejoin --session "$MAYFLY_SESSION" --member "$victim" "$@" 6>&- </dev/null >"$work/rejoin.log" 2>&1 && e2e_fail "it joined"
  [[ $(grep -c '^mayflyd: ' "$work/rejoin.log") == 1 ]] && grep -q '^mayflyd: .*is degraded.*--recover' "$work/rejoin.log" || e2e_fail "--rejoin: $(cat "$work/rejoin.log")"
  [[ $(hashes) == "$before_member" ]] || e2e_fail "a member that was refused is not as it was: $(diff <(echo "$before_member") <(hashes))"
  mv "$storage" "$work/aside"
  mayfly_says 1 'Read-only file system' mkdir /new
  mayfly_says 1 'Read-only file system' rm "/$readable"
  mayfly_says 1 'Read-only file system' mv "/$readable" /new
  mayfly_says 1 'Read-only file system' cp "$work/in/a/name-1" ":/$readable"
  timeout 120 mayfly stop >"$work/stop.log" 2>&1 || status=$?
  ((status == 1)) || e2e_fail "status $status of a stop that cannot flush everything: $(cat "$work/stop.log")"
  e2e_within 60 e2e_ended || e2e_fail "the servers do not end"
  wait "$e2e_launcher" && e2e_fail "the servers say that everything was flushed"
  e2e_launcher=''
  account_for_all
  [[ $(hashes) == "$before" ]] || e2e_fail "the storage changed: $(diff <(echo "$before") <(hashes))"
  rm -rf "$work/out"
  mv "$work/aside" "$storage"
  ranks=4
}

small=(--journal-bytes 4M) # of the first start alone; all of it is hashed again and again
# life LEVEL OPTION...
life() {
  local level=$1
  shift
  step "level $level, $*"
  ranks=4
  start --memory 96M --durability "$level" --chunk 64K --flush-to "$work/out" "${small[@]}" "$@"
  stage
  e2e_servers 4
  local root=$((6 - others[0] - others[1] - others[2])) other=${others[0]}
  kill_all
  step "without member $other"
  without "$other" "$@"
  step "without member $root, which holds the root"
  without "$root" "$@"
  step "with all again"
  start --recover "$@"
  stop "$work/disk"
  diff -r --no-dereference "$work/in" "$work/out" || e2e_fail "the flush of all"
  rm -rf "$work/out"
}
life process
small+=(--capacity 64M)
life node --dir "$work/disk"

step "two of three members, one of whose two journals cannot be read"
ranks=3
start --memory 128M --shards 2 --journal-bytes 4M --durability process --chunk 64K --flush-to "$work/out" --dir "$work/disk"
stage
kill_all
victim=2
dd if=/dev/zero of="$(echo "$work"/disk/mayfly-*/member-2/shard-4/journal)" bs=4096 count=2 conv=notrunc status=none
rm -r "$work"/disk/mayfly-*/member-0
ranks=2
start --recover degraded --shards 2 --dir "$work/disk"
grep -q 'missing: shard 4 cannot be brought back.*zeros' "$work/servers.log" || e2e_fail "the servers do not name the shard"
look_at_all
echo "    right: $right; errors: $broken"
((right > 0 && broken > 0)) || e2e_fail "not what was expected"
timeout 120 mayfly stop >"$work/stop.log" 2>&1 && e2e_fail "a stop that flushed everything"
e2e_within 60 e2e_ended || e2e_fail "the servers do not end"
e2e_launcher=''
account_for_all
for kind in absent partial; do grep -q " ($kind: " "$work/stops.log" || e2e_fail "nothing was $kind"; done
echo "all as expected"
