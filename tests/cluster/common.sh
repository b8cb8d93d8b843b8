# Sourced by the scripts of this folder: where an instance keeps its state, how a script skips, how it waits.
# An instance is named by VC_NAME (default "default"); everything of it lives under VC_DIR and in its own namespaces,
# so instances of different names do not meet and may run at the same time.

vc_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export VC_NAME=${VC_NAME:-default}
[[ $VC_NAME =~ ^[a-z0-9][a-z0-9_-]{0,31}$ ]] || {
  echo "VC_NAME='$VC_NAME': use up to 32 of a-z 0-9 _ -, beginning with a letter or a digit" >&2
  exit 2
}
export VC_DIR=${VC_DIR:-${TMPDIR:-/tmp}/mayfly-vc-$VC_NAME}
vc_net=10.77.0 # node I has .100+I; every instance has a switch of its own, so they may all use the same addresses

vc_skip() { # REASON: what ctest reports as skipped
  echo "skipped: $*"
  exit 77
}
vc_fail() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}
vc_usage() { # FILE: the comment block at its head, without '#'
  awk 'NR == 1 { next } /^#/ { sub(/^# ?/, ""); print; next } { exit }' "$1"
}

# vc_require: root and namespaces, or a skip.
vc_require() {
  [[ $(id -u) == 0 ]] || vc_skip "virtual nodes need root"
  local tool
  for tool in ip unshare nsenter pgrep; do
    command -v "$tool" >/dev/null || vc_skip "$tool is not installed (share/install-packages --tests)"
  done
  unshare -n -u -i -m -p --fork true 2>/dev/null || vc_skip "this kernel or container does not let root make namespaces"
}
vc_require_slurm() {
  [[ $(id -u) == 0 ]] || vc_skip "a Slurm of one's own needs root"
  local tool
  for tool in slurmctld slurmd srun sbatch munged; do
    command -v "$tool" >/dev/null || vc_skip "$tool is not installed (share/install-packages --tests)"
  done
}

# vc_poll SECONDS COMMAND...: until COMMAND succeeds, at most that long.
vc_poll() {
  local end=$((${EPOCHREALTIME/./} + $1 * 1000000))
  shift
  until "$@"; do
    ((${EPOCHREALTIME/./} < end)) || return 1
    read -r -t 0.05 <> <(:) || true # a pause without a process
  done
}

# vc_number NODE: "node3" or "node3.domain" gives 3; fails for anything else and for nodes that are not up.
vc_number() {
  local number=${1#node}
  number=${number%%.*}
  [[ $number =~ ^[0-9]+$ && -s $VC_DIR/pid.$number ]] || vc_fail "no node '$1' in instance '$VC_NAME' (vcluster up N)"
  echo "$number"
}
vc_pid() { cat "$VC_DIR/pid.$1"; } # pid, as the host sees it, of the first process of node number $1, or of "switch"

# vc_in NUMBER|switch COMMAND...: in the network of a node only; enough for `ip`.
vc_in() {
  local pid
  pid=$(vc_pid "$1")
  shift
  nsenter -t "$pid" -n "$@"
}

# vc_wire_up NUMBER: both ends of a node's cable, which exists, come up. The hardware address is the node's own whatever
# the cable is made of, so that what its neighbours remember stays right.
vc_wire_up() {
  vc_in switch ip link set "p$1" master br0 up
  vc_in "$1" ip link set lo up
  vc_in "$1" ip link set eth0 address "$(printf '02:00:0a:4d:00:%02x' "$((100 + $1))")"
  vc_in "$1" ip addr add "$vc_net.$((100 + $1))/24" dev eth0
  vc_in "$1" ip link set eth0 up
}

# vc_members PID...: pids of all processes that share a network namespace with one of these, they themselves among them.
vc_members() {
  local pid namespaces=()
  for pid in "$@"; do namespaces+=("$(readlink "/proc/$pid/ns/net" || true)"); done 2>/dev/null
  find /proc/[0-9]*/ns/net -maxdepth 0 -printf '%h %l\n' 2>/dev/null |
    awk -v wanted="${namespaces[*]}" 'BEGIN { n = split(wanted, w, " "); for (i = 1; i <= n; i++) is[w[i]] = 1 }
      $2 in is { split($1, part, "/"); print part[3] }'
}
