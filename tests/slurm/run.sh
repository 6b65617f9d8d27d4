#!/usr/bin/env bash
# Cross-validations on a real SLURM (tests/slurm/setup.sh) against the same ones without it: predictions must be equal, byte
# for byte. By hand; takes minutes. PATIENTFOLD=/path/to/patientfold EPOCHS=4 tests/slurm/run.sh FOLDER
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
scripts=$here/../../docs/slurm
folder=$(realpath -m "${1:-/tmp/patientfold-slurm}")
export SLURM_CONF=${SLURM_CONF:-/tmp/slurm/slurm.conf}
export PATH=$(dirname "${PATIENTFOLD:-$(command -v patientfold)}"):$PATH
settings=(experiment=demo training.epochs="${EPOCHS:-4}" engine.device=cpu)
mkdir -p "$folder" && cd "$folder"
[ -d demo ] || patientfold demo > /dev/null

finished() { # waits until these jobs have left the queue
    while squeue --noheader --jobs="$1" 2> /dev/null | grep -q .; do sleep 2; done
}
same() { # the predictions of a run folder against those of the undisturbed run
    cmp "alone/predictions.csv" "$1/predictions.csv"
    for fold in 00 01 02 03 04; do
        cmp "alone/fold_$fold/predictions_test.csv" "$1/fold_$fold/predictions_test.csv"
    done
    echo "ok: $1 has the predictions of the undisturbed run ($2)"
}
epochs() { cat "$1"/fold_*/journal.jsonl 2> /dev/null | grep -c '"event": "epoch"' || true; }
stops() { cat "$1"/fold_*/journal.jsonl 2> /dev/null | grep -c '"event": "stopped"' || true; }

[ -f alone/metrics.json ] || patientfold cv "${settings[@]}" run_dir=alone > alone.log

echo "an array job, a fold a task, and a job that gathers"
job=$(sbatch --parsable "$scripts/folds.sbatch" "${settings[@]}" run_dir=array)
gather=$(sbatch --parsable --dependency=afterok:"$job" "$scripts/gather.sbatch" array)
finished "$job,$gather"
cat "slurm-$gather.out"
same array "array job $job"

echo "SIGUSR1 before the time limit: the job is requeued, and goes on"
job=$(sbatch --parsable --array=0-1 "$scripts/folds.sbatch" "${settings[@]}" run_dir=limited)
until [ "$(epochs limited)" -ge 1 ]; do sleep 0.5; done
scancel --signal=USR1 "$job" # as SLURM does 180 s before --time
finished "$job"
[ "$(stops limited)" -ge 1 ] || { echo "no fold was stopped" >&2; exit 1; }
patientfold cv "${settings[@]}" run_dir=limited > limited.log
same limited "stopped $(stops limited) time(s)"

echo "preempted: SLURM sends SIGTERM and requeues the job, which goes on"
job=$(sbatch --parsable --array=0-1 "$scripts/folds.sbatch" "${settings[@]}" run_dir=preempted)
until [ "$(epochs preempted)" -ge 1 ]; do sleep 0.5; done
urgent=$(sbatch --parsable --partition=urgent --exclusive --output=urgent.out --wrap "sleep 5")
finished "$job,$urgent"
[ "$(stops preempted)" -ge 1 ] || { echo "no fold was stopped" >&2; exit 1; }
patientfold cv "${settings[@]}" run_dir=preempted > preempted.log
same preempted "stopped $(stops preempted) time(s)"

echo "a sweep by submitit, two jobs at once; SIGUSR2, as before their time limit, has them requeued"
patientfold cv -m "${settings[@]}" optimizer.lr=1e-3,3e-4 hydra/launcher=submitit_slurm \
    hydra.launcher.cpus_per_task=1 hydra.launcher.mem_gb=1 engine.folds_at_once=1 > sweep.log &
sweep=$!
until [ "$(cat runs/demo/*/fold_*/journal.jsonl 2> /dev/null | grep -c '"event": "epoch"')" -ge 1 ]; do sleep 0.5; done
scancel --signal=USR2 --name=patientfold
wait $sweep
cat sweep.log
[ "$(cat runs/demo/*/fold_*/journal.jsonl | grep -c '"event": "stopped"')" -ge 1 ] || { echo "no fold was stopped" >&2; exit 1; }
found=$(grep -l '"optimizer.lr=0.001"' runs/sweeps/*/jobs/*.json | head -1)
same "$(sed -n 's/.*"run_dir": "\(.*\)",*/\1/p' "$found")" "job of a sweep"
echo "all is well"
