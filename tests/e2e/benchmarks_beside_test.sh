#!/bin/bash
# ctest: TIMEOUT 300 LABELS plain
# benchmarks/peers/run and benchmarks/budget: their medians, ratios and shares are right, as computed by hand of what
# programs that stand in for the measured ones print; whoever reports an error is named and has no figure; what is
# missing is said in a sentence. And budget with real servers: each of its operations is seen.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
e2e_have mpirun mayflyd mayfly python3 ucx_perftest
[[ -x $MAYFLY_BUILD_DIR/benchmarks/mayfly_operations ]] || e2e_skip "the benchmarks were not built"
benchmarks=$MAYFLY_SOURCE_DIR/benchmarks
export TMPDIR=$work WORK=$work
unset UCX_TLS
refused() { # SENTENCE COMMAND...
  timeout 100 "${@:2}" >"$work/out" 2>"$work/err" && e2e_fail "${*:2} went well: $(cat "$work/out")"
  [[ $(grep -v '^round ' "$work/err") == "$1" && ! -s $work/out ]] || e2e_fail "${*:2}: not '$1': $(cat "$work/out" "$work/err")"
}
table() { # LINES, as they are to be
  [[ $(sed 1,2d "$work/out" | tr -s ' ' | sed 's/ *$//') == "$1" ]] || e2e_fail "the table is not '$1': $(cat "$work/out")"
}

# ---- peers/run: real servers, programs of known figures. Each line of WHO.figures is a round's: write, read.
mkdir -p "$work/build/ior_plugin" "$work/disk"
for there in mayfly mpi_launch benchmarks; do ln -s "$MAYFLY_BUILD_DIR/$there" "$work/build"; done
cat >"$work/build/ior_plugin/next" <<'END'
# next WHO WORDS: the round's figures in `figures`. The first rank's word counts.
echo "$*" >>"$WORK/calls"
((${OMPI_COMM_WORLD_RANK:-0} == 0)) || exit 0
round=$(($(cat "$WORK/$1.round" 2>/dev/null || echo 0) + 1))
echo "$round" >"$WORK/$1.round"
read -r -a figures < <(sed -n "${round}p" "$WORK/$1.figures")
END
cat >"$work/build/ior_plugin/ior-mayfly" <<'END'
#!/bin/bash
who=$2
[[ $* != */disk/* ]] || who=disk
. "$(dirname "${BASH_SOURCE[0]}")/next" "$who" "$*"
echo "write     ${figures[0]}     1024.00    1024.00    0.01    0.02    0.03    0.04   0"
echo "read      ${figures[1]}     1024.00    1024.00    0.01    0.02    0.03    0.04   0"
END
# In 4's layout for POSIX, in 3.3's for the other.
cat >"$work/build/ior_plugin/mdtest-mayfly" <<'END'
#!/bin/bash
. "$(dirname "${BASH_SOURCE[0]}")/next" "$2" "$*"
colon=
[[ $2 == POSIX ]] || colon=:
echo "SUMMARY rate: (of 1 iterations)"
echo "   Directory creation   $colon   9.000   1.000   ${figures[0]}   0.000"
echo "   File creation        $colon   9.000   1.000   ${figures[1]}   0.000"
echo "   File removal         $colon   0.000   0.000   0.000   0.000"
END
chmod +x "$work/build/ior_plugin/"*
begin() {
  rm -f "$work/"*.round "$work/"*.figures "$work/calls"
  printf '300 30\n100 10.5\n200 20\n' >"$work/MAYFLY.figures"
  printf '400 40\n500 10\n100 20\n' >"$work/POSIX.figures"
  printf '50 0\n50 5\n50 5\n' >"$work/disk.figures"
}
begin
timeout 100 "$benchmarks/peers/run" --build "$work/build" --repeat 3 --ranks 2 --servers 1 --memory 64M --disk "$work/disk" --json "$work/figures.json" \
  ior 'other=echo "write {ranks}.5"; echo "read 80"; echo "sh - {args}" >>$WORK/calls' -- -w -r -t 1m >"$work/out" 2>"$work/err" ||
  e2e_fail "peers/run: $(cat "$work/err")"
# By hand: the medians of 300 100 200 and of 400 500 100 are 200 and 400. One round of the disk has no read.
table "write mayfly 200.0 MiB/s 0.50 of shm
write shm 400.0 MiB/s 1.00 of shm
write disk 50.0 MiB/s 0.12 of shm
write other 2.5 MiB/s 0.01 of shm
read mayfly 20.0 MiB/s 1.00 of shm
read shm 20.0 MiB/s 1.00 of shm
read other 80.0 MiB/s 4.00 of shm"
grep -q '^ranks: 2; servers: 1; .*; durability: process, in memory; checksums: none; median of 3 rounds in turn$' "$work/out" || e2e_fail "$(cat "$work/out")"
[[ $(cut -d' ' -f1 "$work/calls" | paste -sd' ') == "MAYFLY MAYFLY POSIX POSIX disk disk sh MAYFLY"* ]] || e2e_fail "not in turn, by two ranks: $(cat "$work/calls")"
grep -qF 'MAYFLY -a MAYFLY -w -r -t 1m -o /peers --mayfly.no_checksum' "$work/calls" || e2e_fail "$(cat "$work/calls")"
grep -qx 'sh - -w -r -t 1m' "$work/calls" || e2e_fail "$(cat "$work/calls")"
python3 - "$work/figures.json" <<'PY' || e2e_fail "peers/run: the JSON: $(cat "$work/figures.json")"
import json, sys
report = json.load(open(sys.argv[1]))
assert report["runs"]["mayfly"] == [{"write": 300, "read": 30}, {"write": 100, "read": 10.5}, {"write": 200, "read": 20}]
assert report["runs"]["disk"][0] == {"write": 50} and (report["ranks"], report["servers"], report["checksum"]) == (2, 1, False)
PY

begin
peers=("$benchmarks/peers/run" --build "$work/build" --memory 64M)
timeout 100 "${peers[@]}" --repeat 2 --checksum mdtest -- -n 10 >"$work/out" 2>"$work/err" || e2e_fail "peers/run mdtest: $(cat "$work/err")"
table "creation mayfly 20.2 1/s 0.81 of shm
creation shm 25.0 1/s 1.00 of shm
dir creation mayfly 200.0 1/s 0.44 of shm
dir creation shm 450.0 1/s 1.00 of shm"
grep -q no_checksum "$work/calls" && e2e_fail "--checksum, and yet none: $(cat "$work/calls")"

begin
refused "peers/run: bad reports: WARNING: incorrect data on read (1 errors found)." "${peers[@]}" --repeat 1 ior \
  'bad=echo "read 999999"; echo "WARNING: incorrect data on read (1 errors found)."' -- -w
refused $'peers/run: the output of idle has no figure:\nnothing' "${peers[@]}" --repeat 1 ior 'idle=echo nothing' -- -w
refused "peers/run: gone: sh -c /no/program -w ended with status 127: sh: 1: /no/program: not found" "${peers[@]}" --repeat 1 ior 'gone=/no/program {args}' -- -w
refused "peers/run: slow: sleep 50 did not end within 1 s" env PYTHONPATH="$benchmarks" \
  python3 -c 'import os, servers, sys; sys.argv[0] = sys.argv[1]; servers.run(["sleep", "50"], dict(os.environ), 1, "slow")' "$benchmarks/peers/run"
refused "peers/run: $work/none has no ior_plugin/ior-mayfly: configure with -DIOR_ROOT=TREE (share/doc/IOR.md)" "${peers[@]}" --build "$work/none" ior -- -w
timeout 10 "${peers[@]}" ior >"$work/out" 2>&1 && e2e_fail "peers/run without arguments for IOR"
grep -q "what is to be run? give the program's arguments behind --" "$work/out" || e2e_fail "$(cat "$work/out")"
timeout 10 "${peers[@]}" ior other -- -w >"$work/out" 2>&1 && e2e_fail "peers/run with a contestant that is none"
grep -q "other: a further contestant is NAME=COMMAND" "$work/out" || e2e_fail "$(cat "$work/out")"

# ---- budget, of programs that measure nothing: three rounds of six traces.
mkdir "$work/fake"
echo 'sleep 0.02' >"$work/fake/mayfly_operations"
echo ':' >"$work/fake/mpirun"
cat >"$work/fake/ucx_perftest" <<'END'
[[ $1 == 127.0.0.1 ]] || exec sleep 5
figures=(0.25 0.50 0.30)
round=$(($(cat "$WORK/trip.round" 2>/dev/null || echo 0)))
echo $((round + 1)) >"$WORK/trip.round"
echo "Final: 1000 ${figures[round]} 9 9 9 9 9 9"
END
cat >"$work/fake/mayfly" <<'END'
[[ $1 == trace ]] || exit 0
round=$(($(cat "$WORK/trace.round" 2>/dev/null || echo 0)))
echo $((round + 1)) >"$WORK/trace.round"
python3 - $((round / 6)) <<'PY'
import json, sys
r = int(sys.argv[1])
def stages(**medians):
    return {name: {"count": 9, "p50_us": us, "p99_us": 10 * us} for name, us in medians.items()}
open_ = stages(call=(4, 2, 8)[r], client_queue=.1, wire=1, server_queue=.2, work=.4, pull=.3, hold=.6, wake=.05)
methods = dict(Open=open_, Lookup=stages(call=(3, 5, 1)[r], wire=.5), Unlink=stages(call=1, wire=.25), Commit=stages(call=10, copy=9, wire=2) if r > 0 else stages(wire=1))
print(json.dumps(dict(methods=[dict(method=name, stages=s) for name, s in methods.items()])))
PY
END
for program in "$work/fake/"*; do sed -i '1i #!/bin/bash' "$program" && chmod +x "$program"; done
timeout 100 "$benchmarks/budget" --build "$work/fake" --repeat 3 --warm-up 0 --json "$work/budget.json" >"$work/out" 2>"$work/err" || e2e_fail "budget: $(cat "$work/err")"
rows() { awk -v name="$1 (" 'index($0, name) == 1 { on = 1; next } on && /^[^|]/ { exit } on && NF' "$work/out"; }
head -n 1 "$work/out" | grep -qx 'AM round trip (ucx_perftest), median of 3 runs: 0.60 us, 0.50 at least' || e2e_fail "the round trip: $(cat "$work/out")"
for line in 'create (Open; mayfly_operations latency --count 2000): 2.00 us, 3.3 round trips; median of 3 runs 4.00' \
  'stat (Lookup; mayfly_operations latency --count 2000 --send): 1.00 us, 1.7 round trips; median of 3 runs 3.00' \
  'write 47008 B, mapped (Commit; mayfly_operations bandwidth --bytes 47008 --total 67108864): 10.00 us, 16.7 round trips; median of 2 runs 10.00' \
  'write 47008 B, sent: no run saw any; trace for longer'; do
  grep -qxF "$line" "$work/out" || e2e_fail "no line '$line': $(cat "$work/out")"
done
# What is held is of nobody's time; what is pulled is of the work's.
[[ $(rows create) == "| stage | p50, us | of the call | p99, us |
|---|---|---|---|
| client queue | 0.10 | 5% | 1.00 |
| wire | 1.00 | 50% | 10.00 |
| server queue | 0.20 | 10% | 2.00 |
| work | 0.40 | 20% | 4.00 |
| of it pull | 0.30 | 15% | 3.00 |
| hold | 0.60 | 30% | 6.00 |
| wake | 0.05 | 2% | 0.50 |
| rest of the call | 0.25 | 12% | |" ]] || e2e_fail "the stages of create: $(rows create)"
[[ $(rows 'write 47008 B, mapped' | tail -n 1) == '| rest of the call | -1.00 | -10% | |' ]] || e2e_fail "the rest: $(cat "$work/out")"

cp "$work/fake/mayfly_operations" "$work/load"
rm -f "$work/"*.round
printf '#!/bin/bash\nexit 1\n' >"$work/fake/mayfly_operations"
refused "budget: the load failed: mayfly_operations latency --count 2000" "$benchmarks/budget" --build "$work/fake" --repeat 1 --warm-up 0.3
cp "$work/load" "$work/fake/mayfly_operations"
rm "$work/fake/mayfly"
mkdir "$work/bin" # what the scripts need of the system, and no Mayfly
python=$(python3 -c 'import sys; print(sys.executable)')
for program in bash sleep sed cat; do ln -s "$(command -v $program)" "$work/bin"; done
rm -f "$work/"*.round
refused "budget: cannot start mayfly: No such file or directory; it is looked for in PATH and in the build that --build names" \
  env PATH="$work/bin" "$python" "$benchmarks/budget" --build "$work/fake" --repeat 1 --warm-up 0
rm "$work/fake/ucx_perftest"
refused "budget: cannot start ucx_perftest: No such file or directory; it is looked for in PATH and in the build that --build names" \
  env PATH="$work/bin" "$python" "$benchmarks/budget" --build "$work/fake" --repeat 1 --warm-up 0

# ---- budget at work: whatever the client does instead of asking, the calls of each operation are seen. On a busy machine
# a short trace may see the load between two passes: a longer one then.
for seconds in 1 2 4; do
  (cd "$MAYFLY_BUILD_DIR/.." && timeout 200 "$benchmarks/budget" --build "${MAYFLY_BUILD_DIR##*/}" --repeat 1 --warm-up 0.3 --seconds $seconds \
    --json "$work/budget.json") >"$work/out" 2>"$work/err" || e2e_fail "budget: $(cat "$work/err")"
  grep -q 'no run saw any; trace for longer' "$work/out" || break
done
python3 - "$work/budget.json" <<'PY' || e2e_fail "budget's figures: $(cat "$work/out")"
import json, sys
report = json.load(open(sys.argv[1]))
assert len(report["operations"]) == 7 and all(len(runs) == 1 and runs[0]["call"]["p50_us"] > 0 for runs in report["operations"].values()), report
assert report["round_trip_us"][0] > 0
assert all(name in report["operations"]["write 1 MiB, sent"][0] for name in ("pull", "work"))
assert "copy" in report["operations"]["write 1 MiB, mapped"][0]
PY
[[ $(grep -c 'rest of the call' "$work/out") == 7 ]] || e2e_fail "budget's tables: $(cat "$work/out")"
[[ -z $(compgen -G "$work/mayfly-*") && -z $(ls -A "$work/disk") ]] || e2e_fail "left behind: $(ls "$work" "$work/disk")"
echo "all as expected"
