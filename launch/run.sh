#!/usr/bin/env bash
# Runs palimpsest on the ranks of one or several machines, each rank bound to cores of its own: with mpirun
# or, inside a Slurm job, with srun.
#
#   launch/run.sh [OPTION]... -- ARGUMENTS OF PALIMPSEST
#
#   launch/run.sh -- train run.yaml                                  a rank on each NUMA node, all cores of this machine
#   launch/run.sh --ranks-per-node 2 -- train run.yaml               two ranks with half of the cores each
#   launch/run.sh --hosts a,b,c --threads 16 -- train run.yaml       a rank of 16 threads on each of three machines
#
# Options:
#   --hosts A,B,...       the machines (default: those of the Slurm job, else this one)
#   --hostfile FILE       the same, the first word of each line (Open MPI's format: NAME slots=N)
#   --ranks-per-node N    ranks on each machine (default: Slurm's tasks per node, else 1 where --threads is given, else
#                         for commands that share their work one for each NUMA node, in most machines a socket, of this
#                         machine, unless train.batch_size cannot be shared by so many)
#   --threads N           threads of each rank, and cores that it is bound to (default: Slurm's CPUs per task,
#                         else the cores of this machine shared out evenly)
#   --bind core|none      none leaves ranks to the system, and allows more threads than cores (default: core)
#   --interface NAME      the network between machines, as eth1 or 10.0.0.0/24 (default: Open MPI's choice)
#   --launcher NAME       mpirun, srun, or none for one process without MPI (default: srun inside a Slurm
#                         job whose Slurm knows PMIx, else mpirun)
#   --program FILE        palimpsest (default: this repository's build/release/palimpsest, else the one on the path)
#   --dry-run             print the command instead of running it
#   --print-ranks         print the number of ranks on each machine instead
#
# SIGINT, SIGTERM, SIGHUP and SIGUSR1 ask the ranks to save a checkpoint after the step in hand and leave; a
# second SIGINT ends them at once. The exit code is that of the first rank that failed (palimpsest --help), 138 for a
# run that was asked to stop, 2 for wrong options, and 1 when mpirun or srun could not start the ranks or lost them.
set -euo pipefail

fail() {
  printf 'run.sh: error: %s\n' "$*" >&2
  exit 2
}

need() { command -v "$1" >/dev/null || fail "$1 is not there: $2"; }

whole_number() { [[ $2 =~ ^[1-9][0-9]*$ ]] || fail "$1 must be a whole number of at least 1, not '$2'"; }

# count_usable KIND: the cores (CORE) or NUMA nodes (NODE) that this process may run on; a core counts once, whatever its
# hardware threads.
count_usable() {
  local cpu place
  while IFS=, read -r cpu place; do
    if taskset -c "$cpu" true 2>/dev/null; then echo "$place"; fi
  done < <(lscpu --parse="CPU,$1" | grep -v '^#') | sort -u | wc -l
}

# default_ranks COMMAND ARGUMENT...: ranks on each machine where nobody has said how many.
default_ranks() {
  local ranks=1 machines=${SLURM_JOB_NUM_NODES:-1}
  if [ "$launcher" = none ] || [ -n "$threads" ]; then
    echo 1
    return
  fi
  case $1 in train | eval | index | pack | passkey | summarize) ranks=$(count_usable NODE) ;; esac
  if [ "$1" = train ] && [ "$ranks" -gt 1 ]; then
    [ -z "$hosts" ] || machines=$(tr ',' '\n' <<<"$hosts" | wc -l)
    "$program" "$@" --plan 2>/dev/null | grep -q "\"ranks\":\[\([0-9,]*,\)\?$((ranks * machines))[],]" || ranks=1
  fi
  echo "$ranks"
}

knows_pmix() { srun --mpi=list 2>&1 | grep -qw pmix; }

hosts='' ranks_per_node=${SLURM_NTASKS_PER_NODE:-} threads=${SLURM_CPUS_PER_TASK:-} bind=core interface='' launcher=''
program='' dry_run=no print_ranks=no
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) sed -n '2,/^set /s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --dry-run) dry_run=yes; shift; continue ;;
    --print-ranks) print_ranks=yes; shift; continue ;;
    --) break ;;
    --hosts | --hostfile | --ranks-per-node | --threads | --bind | --interface | --launcher | --program) ;;
    *) fail "unknown option $1; options come before --, palimpsest's arguments after it (see --help)" ;;
  esac
  [ $# -gt 1 ] || fail "$1 needs a value"
  case $1 in
    --hosts) hosts=$2 ;;
    --hostfile)
      [ -r "$2" ] || fail "--hostfile: cannot read $2"
      hosts=$(awk '!/^[[:space:]]*(#|$)/ { print $1 }' "$2" | paste -sd,)
      [ -n "$hosts" ] || fail "--hostfile: $2 names no host"
      ;;
    --ranks-per-node) ranks_per_node=$2 ;;
    --threads) threads=$2 ;;
    --bind) bind=$2 ;;
    --interface) interface=$2 ;;
    --launcher) launcher=$2 ;;
    --program) program=$2 ;;
  esac
  shift 2
done
[ "${1:-}" = -- ] || fail "-- and the arguments of palimpsest are missing (see --help)"
shift
[ $# -gt 0 ] || fail "after -- come the arguments of palimpsest, as in: -- train run.yaml"

[[ $bind == core || $bind == none ]] || fail "--bind must be core or none, not '$bind'"
[[ -z $hosts || $hosts =~ ^[^,[:space:]]+(,[^,[:space:]]+)*$ ]] || fail "--hosts must be names with commas between, not '$hosts'"

if [ -z "$program" ]; then
  program=$(dirname "$(realpath "${BASH_SOURCE[0]}")")/../build/release/palimpsest
  [ -x "$program" ] || program=$(command -v palimpsest) ||
    fail "no palimpsest in build/release and none on the path: build it (launch/quickstart.sh), or give --program"
fi
program=$(realpath "$program")
[[ -f $program && -x $program ]] || fail "$program is not a program"

if [ -z "$launcher" ]; then
  launcher=mpirun
  if [ -n "${SLURM_JOB_ID:-}" ] && command -v srun >/dev/null && knows_pmix; then launcher=srun; fi
fi

need taskset "install Debian's util-linux"
need lscpu "install Debian's util-linux"
cores=$(count_usable CORE)
[ "$cores" -gt 0 ] || fail "lscpu --parse=CPU,CORE lists no core that this process may use"
[ -n "$ranks_per_node" ] || ranks_per_node=$(default_ranks "$@")
whole_number --ranks-per-node "$ranks_per_node"
if [ $print_ranks = yes ]; then
  echo "$ranks_per_node"
  exit 0
fi
if [ -z "$threads" ]; then
  threads=$((cores / ranks_per_node > 0 ? cores / ranks_per_node : 1))
fi
whole_number --threads "$threads"
wanted=$((ranks_per_node * threads))
case $launcher in
  mpirun) need mpirun "install Debian's openmpi-bin" ;;
  srun) need srun "install Debian's slurm-client" ;;
esac
elsewhere=${hosts:-${SLURM_JOB_ID:-}}
if [ "$bind" = core ] && [ -z "$elsewhere" ] && [ "$launcher" = mpirun ] && [ "$wanted" -gt "$cores" ]; then
  fail "$ranks_per_node ranks of $threads threads need $wanted cores, this machine has $cores: lower one of them, or share with --bind none"
fi

settings=("OMP_NUM_THREADS=$threads")
[ -z "$interface" ] || settings+=("OMPI_MCA_btl_tcp_if_include=$interface" "OMPI_MCA_oob_tcp_if_include=$interface")
case $launcher in
  mpirun)
    [ "$(id -u)" != 0 ] || settings+=(OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1)
    start=(mpirun -x OMP_NUM_THREADS)
    if [ "$bind" = core ]; then
      start+=(--map-by "ppr:$ranks_per_node:node:pe=$threads" --bind-to core)
    else
      start+=(--map-by "ppr:$ranks_per_node:node" --bind-to none --oversubscribe)
      # Ranks that wait for a message leave their core to those that compute.
      [ "$wanted" -le "$cores" ] || settings+=(OMPI_MCA_mpi_yield_when_idle=1)
    fi
    # A machine that vanishes without a word is missed after a minute; Open MPI would take eight.
    settings+=("OMPI_MCA_oob_tcp_keepalive_time=${OMPI_MCA_oob_tcp_keepalive_time:-30}"
      "OMPI_MCA_oob_tcp_keepalive_intvl=${OMPI_MCA_oob_tcp_keepalive_intvl:-10}"
      "OMPI_MCA_oob_tcp_keepalive_probes=${OMPI_MCA_oob_tcp_keepalive_probes:-3}")
    [ -z "$hosts" ] || start+=(--host "${hosts//,/:$wanted,}:$wanted")
    ;;
  srun)
    [ -n "${SLURM_JOB_ID:-}" ] || fail "--launcher srun works inside a Slurm job: sbatch launch/slurm.sbatch"
    knows_pmix || fail "this Slurm has no PMIx plugin (srun --mpi=list), which Open MPI needs: use --launcher mpirun"
    nodes=${SLURM_JOB_NUM_NODES:-1}
    [ -z "$hosts" ] || nodes=$(tr ',' '\n' <<<"$hosts" | wc -l)
    start=(srun --mpi=pmix --nodes="$nodes" --ntasks=$((nodes * ranks_per_node)) --ntasks-per-node="$ranks_per_node"
      --cpus-per-task="$threads" --kill-on-bad-exit=1)
    if [ "$bind" = core ]; then start+=(--cpu-bind=cores); else start+=(--cpu-bind=none --overcommit); fi
    [ -z "$hosts" ] || start+=(--nodelist="$hosts")
    ;;
  none) start=() ;;
  *) fail "--launcher must be mpirun, srun or none, not '$launcher'" ;;
esac

command=(env "${settings[@]}" "${start[@]}" "$program" "$@")
if [ $dry_run = yes ]; then
  printf '%q ' "${command[@]}"
  echo
  exit 0
fi

# mpirun gives ranks one second after SIGINT or SIGTERM, srun kills them: neither is enough for the step in hand and a
# checkpoint. Both pass SIGUSR1 on, so that is what the job is sent, whatever came.
interrupts=0 job=''
# shellcheck disable=SC2317  # called by traps
ask_to_stop() {
  [ -n "$job" ] || exit 138
  if [ "$1" = INT ] && [ $((interrupts += 1)) -gt 1 ]; then
    kill -TERM "$job" 2>/dev/null || true
  else
    printf 'run.sh: SIG%s: asking the ranks to save a checkpoint and stop\n' "$1" >&2
    kill -USR1 "$job" 2>/dev/null || true
  fi
}
for signal in INT TERM HUP USR1; do
  # shellcheck disable=SC2064  # expanded now: each signal its own
  trap "ask_to_stop $signal" "$signal"
done

# What mpirun says about a rank that was killed, or a machine that it lost, is worth reading. That a rank has called
# MPI_Abort or has left with an exit code is not, since the rank has told why; nor that a signal is passed on.
# Nor, at last, that its messages about all this crossed on their way to it (show_help.c).
told='MPI_ABORT was invoked\|Primary job  terminated normally\|mpirun detected that one or more processes exited'
exec 3> >(
  trap '' INT TERM HUP USR1
  exec sed -u "/^-\{74\}\$/{:more;N;/\n-\{74\}\$/!bmore;/^-*\n\($told\)/d};/^mpirun: Forwarding signal/d;/ORTE_ERROR_LOG: .*show_help\.c/d" >&2
)
messages=$!

# In a session of its own: Ctrl-C on the terminal reaches this script only. Reading the terminal would stop it.
[ ! -t 0 ] || exec </dev/null
setsid "${command[@]}" <&0 2>&3 3>&- &
job=$!
exec 3>&-
while :; do
  code=0
  wait "$job" || code=$?
  kill -0 "$job" 2>/dev/null || break  # else a signal has interrupted the wait
done
# The last messages; not for ever, since a connection to a lost machine may hold their pipe open.
for _ in {1..20}; do
  kill -0 "$messages" 2>/dev/null || break
  sleep 0.1
done
exit "$code"
