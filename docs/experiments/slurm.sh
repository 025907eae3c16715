#!/usr/bin/env bash
# Trains the table as an array of Slurm tasks: a task per row and length, all in one folder on the shared disk.
#
#     sbatch docs/experiments/slurm.sh OUT [flags of reproduce, for example --data DIR --full --seeds 3]
#     target/release/reproduce report OUT      # when all tasks have ended, or before
#
# A task that is cut off goes on where it was when it is submitted again. A task leaves a run to another task that
# works on it, whether or not file locks reach from node to node.
#SBATCH --job-name=qrnn
#SBATCH --array=0-14
#SBATCH --time=24:00:00
#SBATCH --cpus-per-task=4
#SBATCH --gpus-per-task=1
#SBATCH --requeue
#SBATCH --signal=INT@120
set -euo pipefail

out=$1
shift
tasks=(
    "--rows 400-2500-140" "--rows 300-2000-140" "--rows 300-1500-140" "--rows 300-1750-140"
    "--rows 300-2000-200" "--rows 300-1850-200" "--rows 300-1800-300"
    "--lengths 50" "--lengths 70" "--lengths 100" "--lengths 120"
    "--lengths 140" "--lengths 150" "--lengths 170" "--lengths 200"
)

# Two minutes before the end, Slurm sends the program an interrupt: it then writes its checkpoints and stops.
# shellcheck disable=SC2086 # a task is two words
exec srun "${REPRODUCE:-target/release/reproduce}" ${tasks[SLURM_ARRAY_TASK_ID]} --out "$out" "$@"
