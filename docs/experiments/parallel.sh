#!/usr/bin/env bash
# Trains the rows and lengths of a table with GNU parallel, several runs at a time, and gathers them.
#
#     docs/experiments/parallel.sh OUT [flags of reproduce, for example --scale 10 --seeds 3]
#
# JOBS is the number of runs at a time, OMP_NUM_THREADS the threads of each, REPRODUCE the program. With GPUS=N, N runs
# train at a time, each on a GPU of its own.
set -euo pipefail

out=$1
shift
jobs=${JOBS:-2}
device=()
if [ "${GPUS:-0}" -gt 0 ]; then
    jobs=$GPUS
    device=(--device "cuda:{gpu}")
fi
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
rows=(400-2500-140 300-2000-140 300-1500-140 300-1750-140 300-2000-200 300-1850-200 300-1800-300)
lengths=(50 70 100 120 140 150 170 200)

# A run that a row and a length share is trained once: one task leaves it to the other, or finds it finished. When a
# task fails, no new one starts; the same command goes on later.
{
    printf -- '--rows %s\n' "${rows[@]}"
    printf -- '--lengths %s\n' "${lengths[@]}"
} | parallel --quote --colsep ' ' --jobs "$jobs" --halt soon,fail=1 \
    --rpl "{gpu} \$_ = \$job->slot() - 1" \
    "${REPRODUCE:-target/release/reproduce}" "{1}" "{2}" --out "$out" "${device[@]}" "$@"

"${REPRODUCE:-target/release/reproduce}" report "$out"
