#!/bin/bash
# `mayfly status` shows what servers refused: messages that are malformed, cut short, too large, of strangers or not
# allowed, each under its own name, as JSON and as text; and the servers go on. `mayfly wait` names a member that does not
# answer, and is content when it does again. Status tells what journals and recoveries do, and what local storage is, of
# which servers warn where it keeps less or costs more than one may think.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
end() { # who is stopped is not ended by the launcher
  ((${#pids[@]} == 0)) || kill -CONT "${pids[@]}" 2>/dev/null
  e2e_end
}
pids=()
trap end EXIT
sender=$MAYFLY_BUILD_DIR/tests/e2e_messages
[[ -x $sender ]] || e2e_skip "e2e_messages was not built"
kinds="truncated unauthenticated unknown_connection malformed refused oversized denied"

for tls in "" tcp,self; do
  [[ -z $tls ]] || export UCX_TLS=$tls
  e2e_start 3 --memory 64M
  text() { timeout 60 mayfly status || e2e_fail "mayfly status"; }
  ! text | grep refused || e2e_fail "refused messages before there are any"
  timeout 100 "$sender" 1 >"$work/sent" || e2e_fail "the sender"

  # Of each shard and kind, one line "SHARD KIND COUNT" that is not 0.
  counted() {
    timeout 60 mayfly status --json | sed 's/[{,]/\n/g' | awk -F: -v kinds=" $kinds " '
      { gsub(/["} \]]/, "") }
      $1 == "shard" { shard = $2 }
      index(kinds, " " $1 " ") && $2 != 0 { print shard, $1, $2 }' | sort -u
  }
  sed 's/^/1 /' "$work/sent" | sort >"$work/expected"
  as_sent() { counted >"$work/counted" && cmp -s "$work/expected" "$work/counted"; }
  e2e_within 20 as_sent || e2e_fail "sent (shard, kind, number): $(cat "$work/expected"); counted: $(cat "$work/counted")"
  expected="messages refused: 3 malformed, 2 truncated, 1 too large, 2 not authenticated, 1 of no connection, 1 not allowed, 1 false answers"
  grep -qxF "$expected" <<<"$(text)" || e2e_fail "$(text)"
  timeout 60 mayfly mkdir /d && grep -qx d <<<"$(timeout 60 mayfly ls /)" || e2e_fail "the servers do not go on"
  echo "${tls:-default transports}: $(text | tail -n 1)"

  e2e_servers 3
  [[ -z $tls ]] && silent=${others[0]} || silent=$((3 - others[0] - others[1])) # the root's
  kill -STOP "${pids[silent]}"
  status=0
  timeout 30 mayfly wait --timeout 1 >"$work/said" 2>&1 || status=$?
  ((status == 1)) && grep '^mayfly: .* not answer' "$work/said" | grep -qF "$(uname -n) (member $silent, shard $silent)" ||
    e2e_fail "mayfly wait, of member $silent that is stopped: status $status: $(cat "$work/said")"
  tail -n 1 "$work/said"
  timeout 60 mayfly wait --timeout 50 >"$work/said" 2>&1 &
  waiter=$!
  read -r -t 4 <> <(:) || true # so late it is known that the member cannot be reached
  kill -0 "$waiter" 2>/dev/null || e2e_fail "mayfly wait does not wait for member $silent: $(cat "$work/said")"
  kill -CONT "${pids[silent]}"
  wait "$waiter" || e2e_fail "mayfly wait, of a member that goes on: $(cat "$work/said")"
  grep -q '^ready: 3 shards answer$' "$work/said" || e2e_fail "mayfly wait: $(cat "$work/said")"
  e2e_stop
done

# What a journal has done, as text and as JSON: after files that were closed, which at level node is when they are durable.
# Where that is, is said with what the node alone knows.
export SCRATCH=$work/disk
dir='$SCRATCH/${SCRATCH_PART}/%h/rank-%r' host=$(uname -n)
export SCRATCH_PART=part
e2e_start 1 --memory 64M --durability node --dir "$dir"
[[ -d $(echo "$work/disk/part/$host/rank-0"/mayfly-*/member-0) ]] || e2e_fail "--dir $dir: $(find "$work/disk" -type d)"
! grep -q 'warning' "$work/servers.log" || e2e_fail "a disk is nothing to warn of"
head -c 100000 /dev/urandom >"$work/file"
for i in 1 2 3 4 5; do timeout 60 mayfly cp "$work/file" ":/$i" || e2e_fail "mayfly cp"; done
timeout 60 mayfly status >"$work/status" || e2e_fail "mayfly status"
flushes=$(e2e_figure flushes) hits=$(e2e_figure hits)
((flushes >= 5 && $(e2e_figure groups) >= 5 && $(e2e_figure group_waiters) >= 5)) || e2e_fail "$flushes flushes, $(e2e_figure groups) groups"
grep -qE "^durability node: 1 journals \((io_uring|posix), (O_DIRECT|page cache)(, .* registered)?\), .* in use; [0-9]+ records, [0-9]+ flushes for groups of [0-9.]+, [0-9]+ checkpoints.*, 0 stalls$" \
  "$work/status" || e2e_fail "of the journal: $(cat "$work/status")"
grep -q "^data on the disk: .* left memory, .* were read back, $hits reads found theirs in memory$" "$work/status" ||
  e2e_fail "of the data: $(cat "$work/status")"
grep '^durability' "$work/status"
kill -KILL "$(e2e_figures pid)"
e2e_within 20 e2e_ended || e2e_fail "the launcher does not end"
wait "$e2e_launcher" 2>/dev/null
e2e_launcher=''
e2e_start 1 --recover --dir "$dir"
timeout 60 mayfly status >"$work/status" || e2e_fail "mayfly status"
grep -qE "^recovery: 1 journals, 0 of them closed in order; [1-9][0-9]* records, .* read, [0-9]+ ms at most$" "$work/status" ||
  e2e_fail "of the recovery: $(cat "$work/status")"
grep '^recovery' "$work/status"
e2e_stop

warnings() { grep -c "warning: .*$1" "$work/servers.log"; } # PATTERN
# In memory, which no loss of power leaves: that is not what level node promises.
e2e_start 1 --memory 64M --durability node --dir "$shm/disk"
(($(warnings "$shm/disk/.* lies in memory: .*give a --dir on a disk") == 1)) || e2e_fail "a --dir in memory: no word"
timeout 60 mayfly status >"$work/status" || e2e_fail "mayfly status"
grep -q '^durability node: 1 journals (posix, in memory)' "$work/status" || e2e_fail "a --dir in memory: $(cat "$work/status")"
e2e_stop
# Without io_uring each process says so, once for all its shards, and does without.
without_uring=$MAYFLY_BUILD_DIR/tests/libe2e_failing_disk.so
[[ -r $without_uring ]] || e2e_skip "e2e_failing_disk was not built"
e2e_mpirun=(-x "LD_PRELOAD=$without_uring")
e2e_start 2 --memory 128M --shards 2 --durability process --dir "$work/disk"
(($(warnings 'io_uring is forbidden here.*plain reads and writes') == 2)) || e2e_fail "$(warnings io_uring) warnings of 2 processes"
timeout 60 mayfly status >"$work/status" || e2e_fail "mayfly status"
grep -q '^durability process: 4 journals (posix, ' "$work/status" || e2e_fail "without io_uring: $(cat "$work/status")"
e2e_stop
echo "all as expected"
