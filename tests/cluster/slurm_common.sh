# Sourced by slurm-ns and slurm-mini, after common.sh. Slurm's files of an instance lie under $slurm_dir.
slurm_dir=$VC_DIR/slurm
export SLURM_CONF=$slurm_dir/slurm.conf

# slurm_write_conf CONTROLLER CONTROLLER_PORT NODE_LINES: `NODE_LINES` is a function that prints one NodeName= line a node.
slurm_write_conf() {
  mkdir -p "$slurm_dir"/{state,log,run,munge,spool,tmp}
  chmod 0755 "$slurm_dir" "$slurm_dir/munge"
  (umask 077 && head -c 1024 /dev/urandom >"$slurm_dir/munge/munge.key")
  cat >"$SLURM_CONF" <<END
ClusterName=mayfly
SlurmctldHost=$1
SlurmctldPort=$2
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$slurm_dir/munge/munge.sock
CryptoType=crypto/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$slurm_dir/state
SlurmctldPidFile=$slurm_dir/run/slurmctld.pid
SlurmctldLogFile=$slurm_dir/log/slurmctld.log
SlurmdPidFile=$slurm_dir/run/slurmd.%n.pid
SlurmdLogFile=$slurm_dir/log/slurmd.%n.log
SlurmdSpoolDir=$slurm_dir/spool/%n
TmpFS=$slurm_dir/tmp/%n
PlugStackConfig=/dev/null
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=1,batch_sched_delay=0
MpiDefault=pmix
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=${SLURMD_TIMEOUT:-10}
KillWait=${KILLWAIT:-10}
MinJobAge=300
InactiveLimit=0
UnkillableStepTimeout=60
SwitchType=switch/none
PropagateResourceLimits=NONE
$($3)
PartitionName=debug Nodes=ALL Default=YES MaxTime=60 OverTimeLimit=0 State=UP
END
}

slurm_start_munged() {
  munged --force --num-threads=2 --key-file="$slurm_dir/munge/munge.key" --socket="$slurm_dir/munge/munge.sock" \
    --pid-file="$slurm_dir/run/munged.pid" --log-file="$slurm_dir/munge/munged.log" --seed-file="$slurm_dir/munge/seed" \
    </dev/null >>"$slurm_dir/log/start.log" 2>&1
}

# slurm_idle COUNT PREFIX...: COUNT nodes are idle; PREFIX is put before sinfo.
slurm_idle() {
  local count=$1
  shift
  [[ $("$@" sinfo -h -N -t idle -o %N 2>/dev/null | wc -l) == "$count" ]]
}

# slurm_explain: what went wrong at a start, to stderr.
slurm_explain() {
  echo "Slurm did not come up; the ends of its logs:" >&2
  tail -n 5 "$slurm_dir"/log/* >&2 || true
}

# slurm_pids NAME...: pids of processes of these program names that were started for this instance.
slurm_pids() {
  local name pid
  for name in "$@"; do
    for pid in $(pgrep -x "$name"); do
      grep -zqxF "VC_DIR=$VC_DIR" "/proc/$pid/environ" 2>/dev/null && echo "$pid"
    done
  done
  return 0
}

slurm_none_left() { [[ -z $(slurm_pids "$@") ]]; }

# slurm_end NAME...: TERM to all of these of this instance, KILL to those that stay.
slurm_end() {
  local pids
  pids=$(slurm_pids "$@")
  [[ -n $pids ]] || return 0
  # shellcheck disable=SC2086  # several pids
  kill $pids 2>/dev/null || true
  vc_poll 5 slurm_none_left "$@" && return 0
  # shellcheck disable=SC2046
  kill -KILL $(slurm_pids "$@") 2>/dev/null || true
  vc_poll 5 slurm_none_left "$@" || vc_fail "these do not end: $(slurm_pids "$@")"
}

# slurm_stop PREFIX...: cancels all jobs, ends the daemons, removes the files.
slurm_stop() {
  [[ -e $SLURM_CONF ]] || return 0
  if [[ -n $(slurm_pids slurmctld) ]]; then
    timeout 5 "$@" scancel --user=root >/dev/null 2>&1 || true
    vc_poll 5 slurm_none_left slurmstepd || true
  fi
  slurm_end srun sbatch
  slurm_end slurmstepd
  slurm_end slurmd slurmctld
  slurm_end munged
  rm -rf --one-file-system "$slurm_dir"
}
