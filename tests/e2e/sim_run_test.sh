#!/bin/bash
# ctest: TIMEOUT 300 PROCESSORS 2 LABELS plain
# tests/sim/run, by which many seeds of the simulator are run by hand: each kind, its counts, and what it says of options.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
run=$MAYFLY_SOURCE_DIR/tests/sim/run
[[ -x $MAYFLY_BUILD_DIR/tests/sim_recovery_test && -x $MAYFLY_BUILD_DIR/tests/sim_power_test ]] || e2e_skip "the simulator's tests were not built"

timeout 250 "$run" --build "$MAYFLY_BUILD_DIR" --first 100 --seeds 20 --jobs 2 >"$work/said" || e2e_fail "$(cat "$work/said")"
for kind in kills node power network disks none sync; do
  grep -qx "$kind: 20 seeds, 0 failed" "$work/said" || e2e_fail "of $kind: $(cat "$work/said")"
done
[[ $(tail -n 1 "$work/said") == "140 seeds, 0 failed" ]] || e2e_fail "the sum: $(cat "$work/said")"
said=$("$run" --kinds kills,nonsense 2>&1) && e2e_fail "a kind that is none went well"
[[ $said == *"no kind 'nonsense'"* ]] || e2e_fail "of a kind that is none: $said"
said=$("$run" --build "$work" 2>&1) && e2e_fail "a folder without a build went well"
[[ $said == *"there is no $work/tests/sim_recovery_test: build sim_recovery_test first" ]] || e2e_fail "of a folder without a build: $said"
echo "all as expected"
