#!/bin/bash
# mayfly trace: it counts what clients do while it runs, each stage of it, on two servers, with the arena mapped and
# without; afterwards, and after a tool that was killed, nothing is traced; wrong options are refused in one sentence.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
load=$MAYFLY_BUILD_DIR/benchmarks/mayfly_operations
[[ -x $load ]] || e2e_skip "mayfly_operations was not built"
e2e_have mpirun mayflyd mayfly python3

traced() { mayfly status --json | grep -c '"traced": true'; }
untraced() { [[ $(traced) == 0 ]]; }
both() { [[ $(traced) == 2 ]]; }

e2e_start 2 --memory 256M
untraced || e2e_fail "it is traced from the start"
touch "$work/go"
while [[ -e $work/go ]]; do
  "$load" latency --count 50 --send && "$load" bandwidth --bytes 47008 --total 188032 && "$load" bandwidth --bytes 47008 --total 188032 --send
done >"$work/load.log" 2>&1 &
loop=$!
loads() { [[ $(grep -c read "$work/load.log") -ge 4 ]]; } # all kinds of operations, once
e2e_within 100 loads || e2e_fail "the load: $(cat "$work/load.log")"
timeout 60 mayfly trace --seconds 4 --json >"$work/trace.json" || e2e_fail "mayfly trace"
untraced || e2e_fail "it is traced after that"
python3 - "$work/trace.json" <<'PY' || e2e_fail "the trace does not add up: $(cat "$work/trace.json")"
import json, sys
run = json.load(open(sys.argv[1]))
assert run["shards"] == 2 and 4 <= run["seconds"] < 20, run
by = {m["method"]: m for m in run["methods"]}
for name in ("Open", "Lookup", "Unlink", "Write", "Commit", "Read"):
    m = by[name]
    stages = m["stages"]
    assert m["count"] > 0 and m["count"] == stages["work"]["count"] == stages["server_queue"]["count"], (name, m)
    for stage in ("call", "client_queue", "wire", "wake"):  # some are lost with the processes that end
        assert 0 < stages[stage]["count"] <= m["count"], (name, stage, m)
    assert ("copy" in stages) == (name in ("Commit", "Read")), (name, m)
    assert ("pull" in stages) == (name == "Write"), (name, m)
    for s in stages.values():
        assert 0 <= s["p50_us"] <= s["p90_us"] <= s["p99_us"] <= s["max_us"] and s["mean_us"] <= s["max_us"], (name, s)
    assert stages["call"]["max_us"] >= stages["wire"]["p50_us"]
assert "Trace" not in by, by.keys()
PY
timeout 60 mayfly trace --seconds 1 --method Lookup >"$work/text" || e2e_fail "mayfly trace --method"
grep -q "^Lookup: [1-9][0-9]* requests" "$work/text" && grep -q "^  server queue  *[1-9]" "$work/text" || e2e_fail "$(cat "$work/text")"
! grep -q "^Open:" "$work/text" || e2e_fail "not only Lookup: $(cat "$work/text")"
rm "$work/go"
wait "$loop"
! grep -v '^{' "$work/load.log" || e2e_fail "the load"

# Two at a time, and one that is killed.
mayfly trace --seconds 30 >/dev/null 2>&1 &
tool=$!
e2e_within 20 both || e2e_fail "it is not traced"
! timeout 60 mayfly trace --seconds 1 >"$work/text" 2>&1 || e2e_fail "two trace at a time"
grep -qx "mayfly: mayfly_trace: .*traced already.*" "$work/text" || e2e_fail "$(cat "$work/text")"
kill -KILL "$tool"
wait "$tool" 2>/dev/null
e2e_within 10 untraced || e2e_fail "it is traced though the tool was killed"
can() { timeout 60 mayfly trace --seconds 1 >"$work/text" 2>&1; }
e2e_within 20 can || e2e_fail "after that: $(cat "$work/text")"

refused() { # WORDS OPTION...
  local words=$1 status=0
  shift
  timeout 60 mayfly trace "$@" >"$work/text" 2>&1 || status=$?
  ((status == 2)) && grep -q -- "$words" "$work/text" || e2e_fail "$*: status $status, $(cat "$work/text")"
  (($(grep -c . "$work/text") <= 2)) || e2e_fail "$*: $(cat "$work/text")" # the sentence, and where help is
}
refused "there is no method Nothing" --method Nothing
refused "seconds" --seconds 0
refused "seconds" --seconds 5x
refused "every" --every
e2e_stop
echo "all as expected"
