#!/usr/bin/env bash
# Cross-validations on a real SLURM (tests/slurm/setup.sh) against the same ones without it: predictions must be equal, byte
# for byte. By hand; takes minutes, of which a requeued job waits two.
#   PATIENTFOLD=/path/to/patientfold EPOCHS=4 tests/slurm/run.sh FOLDER [array] [limited] [preempted] [sweep]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
scripts=$here/../../docs/slurm
folder=$(realpath -m "${1:-/tmp/patientfold-slurm}")
parts=" ${*:2} "
export SLURM_CONF=${SLURM_CONF:-/tmp/slurm/slurm.conf}
export PATH=$(dirname "${PATIENTFOLD:-$(command -v patientfold)}"):$PATH
settings=(experiment=demo training.epochs="${EPOCHS:-4}" engine.device=cpu)
mkdir -p "$folder" && cd "$folder"
[ -d demo ] || patientfold demo > /dev/null

wanted() { [ "$parts" = "  " ] || [[ "$parts" == *" $1 "* ]]; }
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
count() { cat $1/fold_*/journal.jsonl 2> /dev/null | grep -c "\"event\": \"$2\"" || true; }
until_an_epoch_of() { until [ "$(count "$1" epoch)" -ge 1 ]; do sleep 0.5; done; }
was_stopped() { [ "$(count "$1" stopped)" -ge 1 ] || { echo "no fold of $1 was stopped" >&2; exit 1; }; }
fold_is_done() { # by the requeued job, not by somebody else
    [ -f "$1/fold_$2/result.json" ] || { echo "$1: fold $2 did not go on" >&2; exit 1; }
}

[ -f alone/metrics.json ] || patientfold cv "${settings[@]}" run_dir=alone > alone.log

if wanted array; then
    echo "an array job, a fold a task, and a job that gathers"
    job=$(sbatch --parsable "$scripts/folds.sbatch" "${settings[@]}" run_dir=array)
    gather=$(sbatch --parsable --dependency=afterok:"$job" "$scripts/gather.sbatch" array)
    finished "$job,$gather"
    cat "slurm-$gather.out"
    same array "array job $job"
fi

if wanted limited; then
    echo "SIGUSR1, as before the time limit: the job is requeued, and goes on"
    job=$(sbatch --parsable --array=0-1 "$scripts/folds.sbatch" "${settings[@]}" run_dir=limited)
    until_an_epoch_of limited
    scancel --signal=USR1 "$job" # as SLURM does 180 s before --time
    finished "$job"
    was_stopped limited
    fold_is_done limited 00 && fold_is_done limited 01
    patientfold cv "${settings[@]}" run_dir=limited > limited.log
    same limited "stopped $(count limited stopped) time(s)"
fi

if wanted preempted; then
    echo "preempted, SIGTERM: the job is requeued, and goes on"
    job=$(sbatch --parsable --array=0-1 "$scripts/folds.sbatch" "${settings[@]}" run_dir=preempted)
    until_an_epoch_of preempted
    urgent=$(sbatch --parsable --partition=urgent --exclusive --output=urgent.out --wrap "sleep 5")
    finished "$job,$urgent"
    was_stopped preempted
    fold_is_done preempted 00 && fold_is_done preempted 01
    patientfold cv "${settings[@]}" run_dir=preempted > preempted.log
    same preempted "stopped $(count preempted stopped) time(s)"
fi

if wanted sweep; then
    echo "a sweep by submitit, two jobs at once; SIGUSR2, as before the time limit, has them requeued"
    patientfold cv -m "${settings[@]}" optimizer.lr=1e-3,3e-4 hydra/launcher=submitit_slurm \
        hydra.launcher.cpus_per_task=1 hydra.launcher.mem_gb=1 engine.folds_at_once=1 > sweep.log &
    sweep=$!
    until_an_epoch_of "runs/demo/*"
    scancel --signal=USR2 --name=patientfold
    wait $sweep
    cat sweep.log
    was_stopped "runs/demo/*"
    found=$(grep -l '"optimizer.lr=0.001"' runs/sweeps/*/jobs/*.json | tail -1)
    same "$(sed -n 's/.*"run_dir": "\(.*\)",*/\1/p' "$found")" "job of a sweep"
fi
echo "all is well"
