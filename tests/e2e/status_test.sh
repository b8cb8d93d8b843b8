#!/bin/bash
# `mayfly status` shows what servers refused: messages that are malformed, cut short, too large, of strangers or not
# allowed, each under its own name, as JSON and as text; and the servers go on. `mayfly wait` names a member that does not
# answer, and is content when it does again. `mayfly df` and `mayfly ls -l` agree with what is known to be there. Status
# tells what journals and recoveries do, and what local storage is, of which servers warn where it keeps less or costs
# more than one may think.
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

mkdir "$work/in" "$work/in/closed" "$work/in/everybody's" "$work/in/closed/deep"
: >"$work/in/empty"
echo text >"$work/in/a name"
head -c 100000 /dev/urandom >"$work/in/closed/program"
head -c 12345678 /dev/urandom >"$work/in/large"
ln "$work/in/closed/program" "$work/in/again"
ln -s 'some where/else' "$work/in/soft"
chmod 0600 "$work/in/empty" && chmod 04751 "$work/in/closed/program" && chmod 0640 "$work/in/large"
chmod 0700 "$work/in/closed" && chmod 01777 "$work/in/everybody's" && chmod 0444 "$work/in/a name"
find "$work/in" -exec touch -h -d "2001-02-03 04:05:06" {} +
touch -d "2029-12-31 23:59:58" "$work/in/large"

# What `mayfly ls -l` says of /in, and what find says of its source. Sizes of directories are nobody's business.
as_listed() { # DIRECTORY
  timeout 60 mayfly ls -l "/in/$1" | sed -E 's/ +/ /g; s/^(d[^ ]*) [0-9]+ ([0-9]+ [0-9]+) [0-9]+/\1 \2/' | LC_ALL=C sort
}
as_found() { # DIRECTORY
  (cd "$work/in/$1" && find . -mindepth 1 -maxdepth 1 \( -type d -printf '%M %U %G %TF %TT %f\n' -o \
    -type l -printf '%M %n %U %G %s %TF %TT %f -> %l\n' -o -printf '%M %n %U %G %s %TF %TT %f\n' \)) |
    sed 's/\.0000000000 / /' | LC_ALL=C sort
}
# Columns of `mayfly df` in bytes: size, used, free, use%, inodes, inodes free.
space() {
  timeout 60 mayfly df | awk 'BEGIN { unit["B"] = 1; unit["KiB"] = 1024; unit["MiB"] = 1048576; unit["GiB"] = 1073741824 }
    NR == 2 { print $1 * unit[$2], $3 * unit[$4], $5 * unit[$6], $7 + 0, $8, $9 }'
}
# Within a tenth of a unit, as which it is printed: SIZE of all, DATA bytes more than before, NAMES more than before.
df_says() {
  local is
  is=$(space) || return 1
  awk -v was="$before" -v is="$is" -v size="$1" -v data="$2" -v names="$3" 'BEGIN {
    split(was, w, " "); split(is, i, " "); unit = 1048576; more = i[2] - w[2]
    exit !(i[1] == size && more > data - 0.2 * unit && more < data + 0.6 * unit && w[3] - i[3] > data - 0.2 * unit &&
      w[3] - i[3] < data + 0.6 * unit && i[5] == w[5] + names && i[6] <= w[6] && i[4] == int(i[2] * 100 / i[1])) }'
}

for tls in "" tcp,self; do
  [[ -z $tls ]] || export UCX_TLS=$tls
  e2e_start 3 --memory 64M
  text() { timeout 60 mayfly status || e2e_fail "mayfly status"; }
  before=$(space)
  timeout 60 mayfly stage-in "$work/in" /in >"$work/said" 2>&1 || e2e_fail "mayfly stage-in: $(cat "$work/said")"
  e2e_within 20 df_says $((3 << 26)) $((12345678 + 100000 + 5)) 9 || e2e_fail "mayfly df: $before before, then: $(timeout 60 mayfly df)"
  timeout 60 mayfly df
  for directory in . closed; do
    as_listed "$directory" >"$work/listed"
    as_found "$directory" | diff - "$work/listed" || e2e_fail "mayfly ls -l of /in/$directory"
    [[ $(timeout 60 mayfly ls "/in/$directory") == "$(cd "$work/in/$directory" && find . -mindepth 1 -maxdepth 1 -printf '%f\n' | LC_ALL=C sort)" ]] ||
      e2e_fail "mayfly ls of /in/$directory"
  done
  [[ $(timeout 60 mayfly ls -R /in | grep -v ':$' | grep . | sort) == "$(find "$work/in" -mindepth 1 -printf '%f\n' | sort)" ]] || e2e_fail "mayfly ls -R"
  timeout 60 mayfly rm -r /in || e2e_fail "mayfly rm -r"
  e2e_within 20 df_says $((3 << 26)) 0 0 || e2e_fail "mayfly df: $before before, then nothing more: $(timeout 60 mayfly df)"

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
declare -A was
figures=(flushes groups group_waiters records live_bytes hits checkpoints stalls stalled_ms recovery_ms)
note() { for name in "${figures[@]}"; do was[$name]=$(e2e_figure "$name"); done; }
moved() { # NAME BY: since `note`, at least
  (($(e2e_figure "$1") >= was[$1] + $2)) || e2e_fail "$1 was ${was[$1]} and is $(e2e_figure "$1")"
}
note
for i in 1 2 3 4 5; do timeout 60 mayfly cp "$work/file" ":/$i" || e2e_fail "mayfly cp"; done
flushes=$(e2e_figure flushes)
moved flushes 5
moved groups 5
moved group_waiters 5
moved records 5
moved live_bytes 5 # and no checkpoint yet that would take it back
for name in hits checkpoints stalls stalled_ms recovery_ms; do (($(e2e_figure $name) == was[$name])) || e2e_fail "$name moves without cause"; done
timeout 60 mayfly cat /1 >"$work/back" && cmp "$work/file" "$work/back" || e2e_fail "mayfly cat"
moved hits 1
hits=$(e2e_figure hits)
awk -v groups="$(e2e_figure groups)" -v waiters="$(e2e_figure group_waiters)" -v mean="$(e2e_figure group_mean)" -v largest="$(e2e_figure group_largest)" \
  'BEGIN { off = mean - waiters / groups; exit !(off < 0.06 && off > -0.06 && largest >= mean && largest == int(largest)) }' ||
  e2e_fail "the mean and the largest group: $(timeout 60 mayfly status --json | grep group)"
timeout 60 mayfly status >"$work/status" || e2e_fail "mayfly status"
grep -qE "^durability node: 1 journals \((io_uring|posix), (O_DIRECT|page cache)(, .* registered)?\), .* in use; [0-9]+ records, [0-9]+ flushes for groups of [0-9.]+ \([0-9]+ at most\), [0-9]+ checkpoints.*, 0 stalls$" \
  "$work/status" || e2e_fail "of the journal: $(cat "$work/status")"
grep -q "^data on the disk: .* left memory (0 waits for it), .* were read back, $hits reads found theirs in memory$" "$work/status" ||
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
(($(e2e_figure recovery_ms) > 0)) || e2e_fail "the recovery took no time"
(($(e2e_figure live_bytes) >= was[live_bytes])) || e2e_fail "the journal is empty after a recovery: $(e2e_figure live_bytes)"
grep '^recovery' "$work/status"
e2e_stop

warnings() { grep -c "warning: .*$1" "$work/servers.log"; } # PATTERN
# In memory, which no loss of power leaves: that is not what level node promises.
e2e_start 1 --memory 64M --durability node --dir "$shm/disk"
(($(warnings "$shm/disk/.* lies in memory: .*give a --dir on a disk") == 1)) || e2e_fail "a --dir in memory: no word"
timeout 60 mayfly status >"$work/status" || e2e_fail "mayfly status"
grep -q '^durability node: 1 journals (posix, in memory)' "$work/status" || e2e_fail "a --dir in memory: $(cat "$work/status")"
e2e_stop
[[ -z ${MAYFLY_SANITIZE:-} ]] || { echo "all as expected; beside a sanitizer nothing can be preloaded, so io_uring is not taken away"; exit 0; }
# Without io_uring each process says so, once for all its shards, and does without.
without_uring=$MAYFLY_BUILD_DIR/tests/libe2e_failing_disk.so
[[ -r $without_uring ]] || e2e_skip "e2e_failing_disk was not built"
e2e_mpirun=(-x "LD_PRELOAD=$without_uring" -x "MAYFLY_TEST_DISK_FAILS=$work/fails")
e2e_start 1 --memory 128M --shards 2 --journal-bytes 2M --durability process --dir "$work/disk"
(($(warnings 'io_uring is forbidden here.*plain reads and writes') == 1)) || e2e_fail "$(warnings io_uring) warnings of a process"
timeout 60 mayfly status >"$work/status" || e2e_fail "mayfly status"
grep -q '^durability process: 2 journals (posix, ' "$work/status" || e2e_fail "without io_uring: $(cat "$work/status")"
# Without a checkpoint a journal fills up, and changes wait; with one they go on, and what it holds is out of the ring.
mkdir "$work/many"
(cd "$work/many" && for i in {1..12000}; do : >"$i"; done)
note
echo "$(echo "$work"/disk/mayfly-*/member-0/shard-0)/checkpoint." >"$work/fails"
timeout 120 mayfly stage-in "$work/many" /many >"$work/stage.log" 2>&1 &
stage=$!
stalled() { (($(e2e_figure stalls) > was[stalls] && $(e2e_figure checkpoints_failed) > 0)); }
e2e_within 60 stalled || e2e_fail "no stall without checkpoints: $(cat "$work/stage.log")"
full=$(e2e_figures live_bytes | sort -n | tail -n 1)
((full > 1 << 20)) || e2e_fail "changes wait for a journal of 2 MiB with $full bytes in it"
kill -0 $stage || e2e_fail "nobody waits for the journal"
rm "$work/fails"
wait $stage || e2e_fail "the changes that waited: $(cat "$work/stage.log")"
moved checkpoints 1
moved stalled_ms 1
emptied() { (($(e2e_figures live_bytes | sort -n | tail -n 1) <= 1 << 20)); }
e2e_within 20 emptied || e2e_fail "checkpoints do not empty the journals: $(e2e_figures live_bytes)"
(($(e2e_figure checkpoint_ms) > 0)) || e2e_fail "a checkpoint of 12000 files took no time"
timeout 60 mayfly status >"$work/status" || e2e_fail "mayfly status"
grep -qE "^durability .* [1-9][0-9]* checkpoints \(the last took [0-9]+ ms\), [1-9][0-9]* stalls of [1-9][0-9]* ms in all$" "$work/status" ||
  e2e_fail "of checkpoints and stalls: $(cat "$work/status")"
grep '^durability' "$work/status"
e2e_stop
echo "all as expected"
