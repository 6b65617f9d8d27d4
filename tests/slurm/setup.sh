#!/usr/bin/env bash
# A SLURM cluster of one machine, without systemd and control groups: for tests/slurm/run.sh. As root, on Debian or Ubuntu.
#   apt-get install slurm-wlm munge && tests/slurm/setup.sh [FOLDER]
# Its files lie in FOLDER (default /tmp/slurm); `tests/slurm/setup.sh stop [FOLDER]` ends it.
set -euo pipefail

stop=""
if [ "${1:-}" = stop ]; then stop=yes; shift; fi
folder=${1:-/tmp/slurm}
export SLURM_CONF=$folder/slurm.conf

if [ -n "$stop" ]; then
    for name in slurmd slurmctld munged; do
        if [ -f "$folder/$name.pid" ]; then kill "$(cat "$folder/$name.pid")" || true; fi
    done
    exit 0
fi

cpus=${CPUS:-2}
memory=$(awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo)
mkdir -p "$folder"/{state,spool}
host=$(hostname -s)

# The daemons know each other by a key that only they can read.
install -d -o munge -g munge -m 700 /etc/munge "$folder/munge"
install -d -o munge -g munge -m 755 /run/munge
if [ ! -s /etc/munge/munge.key ]; then
    dd if=/dev/urandom of=/etc/munge/munge.key bs=1024 count=1 status=none
fi
chown munge:munge /etc/munge/munge.key
chmod 400 /etc/munge/munge.key
chmod 711 "$folder"
runuser -u munge -- munged --force --pid-file="$folder/munge/munged.pid" \
    --log-file="$folder/munge/munged.log" --seed-file="$folder/munge/munged.seed"
cp "$folder/munge/munged.pid" "$folder/munged.pid"

cat > "$SLURM_CONF" <<CONF
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
# No control groups and no accounting, which a container may not have.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=30
MessageTimeout=60
# A job of the partition \`urgent\` puts those of \`usual\` back into the queue.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory State=UNKNOWN
PartitionName=usual Nodes=$host Default=YES MaxTime=INFINITE PriorityTier=1 GraceTime=60 State=UP
PartitionName=urgent Nodes=$host MaxTime=INFINITE PriorityTier=2 PreemptMode=OFF State=UP
CONF

slurmctld -c
slurmd
for _ in $(seq 30); do
    if sinfo --noheader --states=idle | grep -q idle; then sinfo; exit 0; fi
    sleep 1
done
sinfo
echo "the node is not idle after 30 s; see $folder/slurmctld.log and $folder/slurmd.log" >&2
exit 1
