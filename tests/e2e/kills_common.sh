# Sourced after survive_common.sh by kills_test.sh and slurm_kills_job.sh: servers are killed at moments that a seed
# chooses, under clients that work, and come back; the clients go on, and everything acknowledged is there, after each
# round and at the end.
#   MAYFLY_KILLS   rounds at each level (default 4)
#   MAYFLY_LEVEL   only the levels below whose name holds this
#   MAYFLY_SEED    of the first round's choices (default 1), and one more for each round after it: a round that fails says
#                  by which seed it can be had alone. When the kernel lets the victims run is its own choice
# Hundreds of rounds use up the process numbers, and bash may stand still when they come round: raise kernel.pid_max.
# Who sources it has kill_members MEMBER..., which kills them and counts `kills`, and `dir_option`.
rounds=${MAYFLY_KILLS:-4}
first_seed=${MAYFLY_SEED:-1} draws=0
[[ $rounds =~ ^[1-9][0-9]*$ && $first_seed =~ ^(0|[1-9][0-9]*)$ ]] ||
  e2e_fail "MAYFLY_KILLS=$rounds MAYFLY_SEED=$first_seed: not numbers"
playing='' # what plays the round that is under way once more
say_round() {
  [[ -z $playing ]] || echo "FAILED in the round that plays alone by: $playing" >&2
}
trap 'say_round; end_all' EXIT

below() { # N: sets `chance`, from the seed
  local drawn
  drawn=$(printf '%s:%s' "$seed" "$draws" | sha256sum)
  draws=$((draws + 1))
  chance=$((0x${drawn:0:8} % $1))
}
pause() { # at most MILLISECONDS
  below "$1"
  sleep "$(printf '0.%03d' "$chance")"
}

kill_some() { # COUNT
  local order=(0 1 2) i other victims
  for i in 2 1; do
    below $((i + 1))
    other=${order[i]} order[i]=${order[chance]} order[chance]=$other
  done
  victims=("${order[@]:0:$1}")
  echo "    seed $seed: ${victims[*]}"
  kill_members "${victims[@]}"
  pause 300
  for i in "${victims[@]}"; do rejoin_begin "$i" --member "$i" "${dir_option[@]}"; done
  below 4
  if ((chance == 0)); then
    pause 250
    kill_members "${victims[@]}"
    again=$((again + 1))
    for i in "${victims[@]}"; do rejoin_begin "$i" --member "$i" "${dir_option[@]}"; done
  fi
  for i in "${victims[@]}"; do rejoin_end "$i"; done
  forget
}
kill_everybody() {
  echo "    seed $seed: all"
  kill_all
  kills=$((kills + ranks))
  below 4
  if ((chance == 0)); then
    launch --recover "${dir_option[@]}"
    e2e_within 60 recovering || e2e_fail "no recovery to kill"
    pause 100
    kill_all
    kills=$((kills + ranks))
    again=$((again + 1))
  fi
  start --recover "${dir_option[@]}"
  e2e_servers "$ranks"
}

# life LEVEL OPTION...
life() {
  local level=$1 seed
  shift
  [[ $level == *"${MAYFLY_LEVEL:-}"* ]] || return 0
  step "$level, seeds $first_seed to $((first_seed + rounds - 1))"
  kills=0 again=0 names=()
  start --memory 128M --flush-to "$work/out" --journal-bytes 8M "$@" "${dir_option[@]}"
  e2e_servers "$ranks"
  work a
  survivor_place=elsewhere work b
  all_go_on 20
  for ((seed = first_seed; seed < first_seed + rounds; ++seed)); do
    draws=0 playing="MAYFLY_SEED=$seed MAYFLY_KILLS=1 MAYFLY_LEVEL='$level'"
    pause 400
    below 10
    # A session that was brought back as a whole is another one to those who come back alone: seed 1 kills all.
    if ((chance < 3)); then kill_everybody; else kill_some $((chance < 5 ? 2 : 1)); fi
    all_go_on 10
    all_check
  done
  playing=''
  echo "    $kills servers killed, $again times while they came back"
  end_workers
  stop "$work/disk"
  [[ -n $(ls "$work/out/a") && -n $(ls "$work/out/b") ]] || e2e_fail "nothing was flushed"
  rm -rf "$work/out"
}
