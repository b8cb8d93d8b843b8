#!/bin/bash
# ctest: TIMEOUT 600 PROCESSORS 2 LABELS plain
# Several clients at once, with directories that move, against a model (model.cc): with one server, and whether the check
# finds wrong notes; with four; with two of two shards each. MODEL_SECONDS is the time for each (default 5), MODEL_SEED the
# seed of what the clients do (default: from the clock, printed; what meets what is up to the machine). A longer search:
#   PATH=build/release/tests:build/release:build/release/mpi_launch:$PATH MODEL_SECONDS=600 tests/e2e/model_test.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
e2e_have e2e_model mpirun mayflyd mayfly
options=(--seconds "${MODEL_SECONDS:-5}" --scratch "$work")
[[ -z ${MODEL_SEED:-} ]] || options+=(--seed "$MODEL_SEED")
self_test=(--self-test)
for servers in 1 4 "2 --shards 2"; do
  echo "--- $servers server(s)"
  # shellcheck disable=SC2086
  e2e_start $servers --memory 256M
  e2e_model "${options[@]}" "${self_test[@]}" || e2e_fail "$servers server(s)"
  e2e_stop
  self_test=()
done
