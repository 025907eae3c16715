#!/usr/bin/env bash
# Measures what zeros, few bits, narrow embeddings and a cache cost and save, on the embedded language or on a text, and
# stores the results as JSON in docs/results/compression.
#
#     docs/compression/measure.sh OUT            the embedded language
#     docs/compression/measure.sh OUT small      the embedded language, with a model that pruning to 90 % costs more
#     docs/compression/measure.sh OUT DIR        the text in DIR, of the size of wikitext-mini (218,000 tokens)
#
# REPRODUCE is the program.
set -euo pipefail

out=$1
program=${REPRODUCE:-target/release/reproduce}
data=()
if [ "${2:-}" = small ]; then
    text=embedded-small
    model=(--emsize 96 --nhid 384 --nlayers 2)
    splits=none
    first=(--epochs 12 --when 8 10 --lr 3e-3)
    further=(--epochs 6 --when 5 --lr 1e-3)
    pruning=(--prune-every 50)
elif [ $# -gt 1 ]; then
    text=$(basename "$2")
    data=(--data "$2")
    model=(--emsize 160 --nhid 480 --nlayers 2 --dropout 0.4 --dropouth 0.3 --dropouti 0.4)
    splits=2000,8000
    narrow=(--splits "2000,8000" --widths "160,40,10")
    first=(--epochs 4 --when 3 --lr 2e-3)
    further=(--epochs 6 --when 4 --lr 5e-4)
    of_preset=("${further[@]}")
    pruning=(--prune-every 30)
else
    text=embedded
    model=(--emsize 192 --nhid 512 --nlayers 2)
    splits=none
    narrow=(--splits "500,2000" --widths "192,48,12")
    first=(--epochs 10 --when 7 --lr 3e-3)
    further=(--epochs 8 --when 6 --lr 2e-3)
    # With 2e-3, which 90 % zeros need to recover, the model with fewer zeros ended worse.
    of_preset=(--epochs 8 --when 6 --lr 5e-4)
    pruning=(--prune-every 50 --prune-until 0.5)
fi
common=("${data[@]}" --bptt 35 --batch-size 20 --precision fp32 --overwrite)
stored=$(dirname "$0")/../results/compression/$text
mkdir -p "$stored"

# One start for all, so that only what is compared differs.
"$program" train "${model[@]}" --splits $splits "${common[@]}" "${first[@]}" --out "$out/start"
"$program" train "${model[@]}" --splits $splits "${common[@]}" "${further[@]}" --init "$out/start" --out "$out/dense"
cp "$out/dense/results.json" "$stored/dense.json"
"$program" compress --checkpoint "$out/start" --one-shot --activation-bits 8 "${data[@]}" --overwrite \
    --out "$out/eight-bits"
cp "$out/eight-bits/compression.json" "$stored/eight-bits.json"
for zeros in 80 90; do
    "$program" compress --checkpoint "$out/start" --zeros "rnns=0.$zeros,encoder=0.$zeros" --activation-bits 8 \
        "${common[@]}" "${further[@]}" "${pruning[@]}" --out "$out/zeros-$zeros"
    cp "$out/zeros-$zeros/compression.json" "$stored/zeros-$zeros.json"
done

# All stages, by the preset's zeros.
[ "$text" != embedded-small ] || exit 0
"$program" train "${model[@]}" --ids frequency "${narrow[@]}" "${common[@]}" "${first[@]}" --out "$out/narrow"
"$program" compress --checkpoint "$out/narrow" --preset micronet "${common[@]}" "${of_preset[@]}" "${pruning[@]}" \
    --out "$out/stages"
cp "$out/stages/compression.json" "$stored/stages.json"
