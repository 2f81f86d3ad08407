#!/usr/bin/env bash
# A cluster on one machine: network namespaces as nodes, each with a name, an address and one core of its own, joined by
# a bridge over links that are held to a rate; real mpirun starts real ranks on them over TCP. Needs root.
#
#   tests/cluster/namespaces.sh run [OPTION]... -- PROGRAM ARGUMENT...    up, the program on every node, down
#   tests/cluster/namespaces.sh up [OPTION]...                            make the nodes
#   tests/cluster/namespaces.sh enter NODE COMMAND...                     as ssh: run a command on node1, node2 ...
#   tests/cluster/namespaces.sh fail NODE                                 a node fails: its link and its processes go, without a word
#   tests/cluster/namespaces.sh status                                    nodes, addresses, cores, links
#   tests/cluster/namespaces.sh down                                      remove everything
#
#   tests/cluster/namespaces.sh run --nodes 2 --rate 1gbit -- palimpsest train run.yaml
#
# Options:
#   --nodes N             (default: 2); node I computes on core (I - 1) modulo the machine's cores
#   --rate RATE           of every link, in each direction, in tc's units: 10gbit, 1gbit (default: as fast as it goes)
#   --delay TIME          added in each direction, as 0.1ms; needs the kernel module sch_netem
#   --ranks-per-node N    run: (default: 1)
#   --threads N           run: of each rank (default: 1)
#
# PROGRAM is palimpsest (the one that launch/run.sh finds) or a path; it is started through launch/run.sh, so its
# arguments are relative to the current directory. Settings of Open MPI go in as OMPI_MCA_... variables.
set -euo pipefail

prefix=palimpsest  # of namespaces; links and the bridge begin with "pal-"
bridge=pal-bridge
network=10.77.0
self=$(realpath "${BASH_SOURCE[0]}")
run_sh=$(dirname "$self")/../../launch/run.sh

fail() {
  printf 'namespaces.sh: error: %s\n' "$*" >&2
  exit 2
}

nodes_up() { ip netns list | awk -v prefix="$prefix-" 'index($1, prefix) == 1 { print substr($1, length(prefix) + 1) }' | sort -V; }

# nproc would count the threads that OMP_NUM_THREADS asks for, which mpirun passes on.
core_of() { echo $((($1 - 1) % $(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc))); }

# shape DEVICE [IN COMMAND...]: holds what a device sends to the rate and delays it.
shape() {
  local device=$1
  shift
  if [ -n "$rate" ]; then
    # A burst as small as lets the fastest rates through: what fits in it is not held back at all.
    "$@" tc qdisc add dev "$device" root handle 1: tbf rate "$rate" burst 256kb latency 100ms 2>/dev/null ||
      fail "tc cannot hold a link to '$rate': a rate is written as 10gbit or 500mbit, and the kernel needs sch_tbf"
  fi
  if [ -n "$delay" ]; then
    local parent=(root)
    [ -z "$rate" ] || parent=(parent '1:1')
    "$@" tc qdisc add dev "$device" "${parent[@]}" netem delay "$delay" limit 100000 2>/dev/null ||
      fail "tc cannot delay a link by '$delay': a time is written as 0.1ms, and the kernel needs sch_netem"
  fi
}

up() {
  [ -z "$(nodes_up)" ] || fail "there are nodes already: $(nodes_up | xargs); remove them with: namespaces.sh down"
  trap 'down; exit 2' ERR
  ip link add "$bridge" type bridge
  ip address add "$network.254/24" dev "$bridge"
  ip link set "$bridge" up
  local index
  for index in $(seq "$nodes"); do
    local node=node$index inside
    inside=(ip netns exec "$prefix-$node")
    ip netns add "$prefix-$node"
    ip link add "pal-$node" type veth peer name eth0 netns "$prefix-$node"
    ip link set "pal-$node" master "$bridge" up
    "${inside[@]}" ip link set lo up
    "${inside[@]}" ip address add "$network.$index/24" dev eth0
    "${inside[@]}" ip link set eth0 up
    if ! (shape "pal-$node" && shape eth0 "${inside[@]}"); then
      down
      exit 2
    fi
  done
  trap - ERR
}

# stop_processes NODE: those that run on it, and nothing else.
stop_processes() { ip netns pids "$prefix-$1" 2>/dev/null | xargs -r kill -KILL 2>/dev/null || true; }

fail_node() {
  nodes_up | grep -qx -- "$1" || fail "there is no node $1"
  ip link delete "pal-$1"
  stop_processes "$1"
  ip netns delete "$prefix-$1"
}

down() {
  local node
  for node in $(nodes_up); do fail_node "$node"; done
  ip link delete "$bridge" 2>/dev/null || true
}

status() {
  local node
  for node in $(nodes_up); do
    printf '%s  %s.%s  core %s  %s\n' "$node" "$network" "${node#node}" "$(core_of "${node#node}")" \
      "$(tc qdisc show dev "pal-$node" | grep -o 'tbf.*\|netem.*' | xargs)"
  done
}

# enter NODE COMMAND...: joined by spaces and given to a shell, as ssh does.
enter() {
  local node=$1
  shift
  nodes_up | grep -qx -- "$node" || { printf 'namespaces.sh: there is no node %s\n' "$node" >&2; exit 255; }
  # shellcheck disable=SC2016  # expanded by that shell
  exec ip netns exec "$prefix-$node" unshare --uts sh -c 'hostname "$1"; shift; exec "$@"' sh \
    "$node" taskset -c "$(core_of "${node#node}")" sh -c "$*"
}

run() {
  local program=$1
  shift
  local options=()
  [ "$program" = palimpsest ] || options=(--program "$program")
  up
  trap down EXIT
  # In a process group of its own: a signal reaches it once, through here, and the nodes stay until its ranks are gone;
  # mpirun would wait for them for a minute if their machines vanished.
  set -m
  # The nodes' one core each is what --bind none inherits; Open MPI's own binding would not see it.
  OMPI_MCA_plm_rsh_agent="$self enter" "$run_sh" --hosts "$(nodes_up | paste -sd,)" --bind none \
    --ranks-per-node "$ranks_per_node" --threads "$threads" --interface "$network.0/24" "${options[@]}" -- "$@" &
  local job=$! signal code
  set +m
  for signal in INT TERM HUP USR1; do
    # shellcheck disable=SC2064  # expanded now: each signal its own
    trap "kill -$signal $job 2>/dev/null || true" "$signal"
  done
  while :; do
    code=0
    wait "$job" || code=$?
    kill -0 "$job" 2>/dev/null || break  # else a signal has interrupted the wait
  done
  return "$code"
}

command=${1:-}
[ $# = 0 ] || shift
case $command in
  --help | -h | '') sed -n '2,/^set /s/^# \{0,1\}//p' "$self"; exit 0 ;;
  enter | fail) [ $# -gt 0 ] || fail "$command needs a node" ;;
  run | up | down | status) ;;
  *) fail "unknown command $command (see --help)" ;;
esac
[ "$(id -u)" = 0 ] || fail "network namespaces need root"
for tool in ip:iproute2 tc:iproute2 unshare:util-linux taskset:util-linux hostname:hostname; do
  command -v "${tool%:*}" >/dev/null || fail "${tool%:*} is not there: install Debian's ${tool#*:}"
done

case $command in
  enter) enter "$@" ;;
  fail) fail_node "$1"; exit 0 ;;
  down) down; exit 0 ;;
  status) status; exit 0 ;;
esac

nodes=2 rate='' delay='' ranks_per_node=1 threads=1
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  [ $# -gt 1 ] || fail "$1 needs a value"
  case $1 in
    --nodes) nodes=$2 ;;
    --rate) rate=$2 ;;
    --delay) delay=$2 ;;
    --ranks-per-node) ranks_per_node=$2 ;;
    --threads) threads=$2 ;;
    *) fail "unknown option $1 (see --help)" ;;
  esac
  shift 2
done
[[ $nodes =~ ^[1-9][0-9]?$ ]] || fail "--nodes must be a whole number from 1 to 99, not '$nodes'"
if [ "$command" = up ]; then
  [ $# = 0 ] || fail "up takes no command"
  up
  status
else
  [ $# -gt 1 ] || fail "-- and the program are missing: run --nodes 2 -- palimpsest train run.yaml"
  shift
  run "$@"
fi
