#!/usr/bin/env bash
# Tests and measures the programs beside this script on a machine with a GPU. It needs bash, an NVIDIA
# driver 580 or later, and a python3 with torch 2.11.0+cu130, whose libraries the programs load.
#
#   measure.sh first    at most 7 minutes: correctness, and our speed alone
#   measure.sh second   at most 7 minutes: against PyTorch, long runs, an interrupted run
#   measure.sh all      both
#   measure.sh table    prints the table again from the files in $OUT
#
#   measure.sh second pool evaluate   only these steps of a part; the part's files begin anew
#
# The environment may set:
#   OUT       the folder for the results (./out): at most 6 files, each under 16 MB
#   PYTHON    the Python with torch (python3)
#   QRNN_MEASURE_SMALL=1   tiny models and few steps, to try this script without a GPU
#   QRNN_MEASURE_FIRST, QRNN_MEASURE_SECOND   seconds of each part, to try this script
#
# A step that fails or exceeds its limit is recorded, the next one begins, and the exit status is 1.
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${OUT:-out}
small=${QRNN_MEASURE_SMALL:-}
python=$(type -P "${PYTHON:-python3}" || echo "${PYTHON:-python3}")
# Only runs on stand-ins may skip the self-test.
[ -n "$small" ] || unset QRNN_SKIP_SELF_TEST
work=
child=
failed=0
# When a part begins, in seconds of this script. The first part includes the preparations.
begin=0

# The steps of a part in order: the most seconds that each may take, and the least that earlier steps
# leave for it. The sum of the least is well below the part's time.
first_steps=(
    "tests 160 80" "pool 45 30" "step 90 60" "evaluate 60 40" "probe 40 15"
    "memcheck-pool 60 25" "memcheck-entropy 60 25" "racecheck-entropy 60 25" "memcheck-adam 40 15"
)
second_steps=(
    "step 150 70" "pool 160 60" "evaluate 90 35" "curves 70 50"
    "train 20 20" "resume 40 15" "resumed 10 5"
)
# Seconds reserved at the end of a part, for killing a program and for the table.
end_seconds=15
# A step does not begin with less time.
least_seconds=5

# Of a longer log of a step, only the beginning and the end are kept.
log_bytes=1000000

# The arguments of each bench in each part.
arguments() { # part, bench
    case "$small $1 $2" in
        " first "* | " second pool") ;;
        " second step") echo "--formats bf16,tf32 --steps 96" ;;
        " second evaluate") echo "--runs 1" ;;
        " second curves") echo "--steps 1200" ;;
        *step) echo "--formats bf16,tf32 --models 24-40-split --types 2000 --splits 200,800" \
            "--batch-size 4 --bptt 12 --steps 16" ;;
        *pool) echo "--seq 24 --batch 3 --hidden 64 --runs 3" ;;
        *evaluate) echo "--model 24-40 --types 2000 --splits 200,800 --tokens 400 --runs 1" ;;
        *curves) echo "--model 24-40-split --types 2000 --splits 200,800 --batch-size 4 --bptt 12" \
            "--steps 12 --parts 2" ;;
    esac
}

# Sets `call` to the command of a step and `ended` to the options with which timeout ends it; fails with
# the reason in `why` if the step cannot run.
command_of() { # part, step
    local train="train --device cuda --precision bf16 --epochs 1000000 --batch-size 4 --bptt 30 --out $work/run"
    local check=("$sanitizer" --error-exitcode 1 --report-api-errors no)
    local card_tests=(--ignored --test-threads 1)
    [ "$small" ] && train="$train --emsize 24 --nhid 40 --nlayers 2 --batch-size 4 --bptt 12"
    why=
    ended=()
    case $2 in
        tests)
            # Both libraries' tests, the second too where the first fails.
            # shellcheck disable=SC2016 # expanded by the inner shell
            call=(bash -c 'for tests in "$0"/tests-*; do "$tests" "$@" || failed=1; done; exit ${failed:-0}'
                "$here" "${card_tests[@]}" --nocapture)
            if [ "$small" ]; then call+=(on_a_gpu_timestamps on_a_gpu_the_self_test); else call+=(on_a_gpu); fi
            ;;
        step | pool | evaluate | curves)
            local peers=(--python /none)
            # For one answer, so that a baseline that hangs leaves time for the others.
            local longest=40
            [ "$2" = step ] && longest=80 # torch.compile
            [ "$1" = second ] && peers=(--python "$python" --peer-limit "$longest")
            [ "$2" = curves ] && peers=()
            # shellcheck disable=SC2046,SC2207 # the arguments are words without blanks
            call=("$here/qrnn-bench" "$2" --device cuda --record "$out/$1.jsonl"
                $(arguments "$1" "$2") "${peers[@]}")
            ;;
        probe) call=("$python" "$here/probe.py" "$out/$1.jsonl" ${small:+small}) ;;
        racecheck-entropy)
            [ "$sanitizer" ] || { why="compute-sanitizer is not installed"; return 1; }
            call=("${check[@]}" --tool racecheck "$python" "$here/races.py" "$here/kernels")
            ;;
        memcheck-*)
            local kernel=fo_pool tests=on_a_gpu_every_element
            case $2 in
                *entropy) kernel=cross_entropy tests=on_a_gpu_the_cross_entropy ;;
                *adam) kernel='adam|gradient_square' tests=$("$here/tests-qrnn-ops" --ignored --list 2>/dev/null |
                    sed -n 's/.*\(on_a_gpu_[a-z_]*\(adam\|optimi[sz]er\)[a-z_]*\): test$/\1/p' | head -n 1) ;;
            esac
            [ "$sanitizer" ] || { why="compute-sanitizer is not installed"; return 1; }
            [ "$tests" ] || { why="no test of this kernel is in the program"; return 1; }
            # Each tensor is a separate allocation, not a part of libtorch's cached blocks.
            call=(env PYTORCH_NO_CUDA_MEMORY_CACHING=1 "${check[@]}" --tool memcheck
                --kernel-regex "kns=$kernel" "$here/tests-qrnn-ops" "${card_tests[@]}" "$tests")
            ;;
        train)
            # shellcheck disable=SC2206
            call=("$here/reproduce" $train --steps 1000000)
            # In the foreground: otherwise SIGINT would reach it twice, once through its group.
            ended=(--foreground --preserve-status --signal INT)
            ;;
        resume)
            local steps
            cp "$work/run/metrics.jsonl" "$work/before.jsonl" 2>/dev/null
            steps=$("$python" "$here/resumed.py" stopped "$work") || { why=$steps; return 1; }
            # shellcheck disable=SC2206
            call=("$here/reproduce" $train --resume --steps $((steps + 200)))
            ;;
        resumed) call=("$python" "$here/resumed.py" check "$work") ;;
    esac
}

# Appends one JSON object as a line, like those of the benches.
note() { # part, step, fields
    printf '{"part": "%s", "step": "%s", %s}\n' "$1" "$2" "$3" >>"$out/$1.jsonl"
}

# Cuts the middle out of a step's part of the log if it exceeds `log_bytes`.
cap() { # log, where the step's part begins
    local size kept=$((log_bytes / 2))
    size=$(stat -c %s "$1")
    if ((size - $2 > log_bytes)); then
        tail -c "$kept" "$1" >"$work/end"
        truncate -s $(($2 + kept)) "$1"
        printf '\n... %s bytes are left out here ...\n' $((size - $2 - 2 * kept)) >>"$1"
        cat "$work/end" >>"$1"
    fi
}

# Runs `call` with this limit and its output in the part's log; sets `status`.
watch() { # log, limit
    local written rounds=0
    written=$(stat -c %s "$1")
    # In a separate process group, which is killed as a whole.
    timeout --kill-after 15 "${ended[@]}" "$2" "${call[@]}" </dev/null >>"$1" 2>&1 &
    child=$!
    while kill -0 "$child" 2>/dev/null; do
        sleep 0.2
        ((++rounds % 10)) || cap "$1" "$written"
    done
    wait "$child" 2>/dev/null
    status=$?
    # Processes that a program leaves behind must not run during the next step.
    kill -KILL -- "-$child" 2>/dev/null
    child=
    cap "$1" "$written"
}

run_step() { # part, step, most, seconds left to it
    local log=$out/$1.log limit=$(($3 < $4 ? $3 : $4)) begun status expected=0 say
    printf '  %-18s ' "$2"
    if ((limit < least_seconds)); then
        why="no time was left" failed=1
    elif command_of "$1" "$2"; then
        printf '\n=== %s: at most %s s: %s\n' "$2" "$limit" "${call[*]}" >>"$log"
        begun=$SECONDS
        watch "$log" "$limit"
        [ "$2" = train ] && expected=130
        say="status $status after $((SECONDS - begun)) s"
        if ((status == 124 || status == 137)); then say="past its limit of $limit s"; fi
        if ((status == expected)); then say="done in $((SECONDS - begun)) s"; else failed=1; fi
        echo "$say"
        note "$1" "$2" "\"status\": $status, \"seconds\": $((SECONDS - begun)), \"limit\": $limit"
        return
    fi
    why=${why//[\"\\]/\'}
    echo "not run: $why"
    note "$1" "$2" "\"not_run\": \"${why//$'\n'/ }\""
}

part() { # name, its seconds, those that it is given, steps
    local name=$1 deadline=$((begin + $3 - end_seconds * $3 / $2)) steps=("${@:4}")
    local i later most step least_seconds=$((1 + (least_seconds - 1) * $3 / $2))
    : >"$out/$name.log" && : >"$out/$name.jsonl" || exit 2
    echo "$name: at most $3 s"
    {
        timeout 10 nvidia-smi || echo "nvidia-smi does not run here"
        cat "$here/facts.json"
        timeout 30 "$here/reproduce" --version
    } >>"$out/$name.log" 2>&1
    timeout 30 "$python" "$here/machine.py" "$name" >>"$out/$name.jsonl" 2>>"$out/$name.log"
    if [ "$chosen" ]; then
        for i in "${!steps[@]}"; do
            [[ " $chosen " == *" ${steps[i]%% *} "* ]] || unset "steps[i]"
        done
        steps=("${steps[@]}")
    fi
    for ((i = 0; i < ${#steps[@]}; i++)); do
        later=0
        for step in "${steps[@]:i+1}"; do later=$((later + ${step##* })); done
        read -r step most _ <<<"${steps[i]}"
        # If a part is given less time, to try it, so are its steps.
        most=$((most * $3 / $2)) most=$((most > 3 ? most : 3))
        run_step "$name" "$step" "$most" $((deadline - SECONDS - later * $3 / $2))
    done
    begin=$SECONDS
}

table() {
    timeout 20 "$python" "$here/table.py" "$out" "$here/facts.json" ||
        echo "no table: $python does not run $here/table.py"
}

# After a signal, the table of what is known is still printed.
# shellcheck disable=SC2329 # called by a trap
stop() { # status
    trap '' INT TERM
    [ "$child" ] && { kill -KILL -- "-$child" || kill -KILL "$child"; } 2>/dev/null
    table
    exit "$1"
}

case ${1:-} in
    first | second | all | table) ;;
    *)
        sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"
        exit 2
        ;;
esac
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 2
# Nothing is written into this folder.
export PYTHONDONTWRITEBYTECODE=1
if [ "$1" = table ]; then
    table
    exit
fi
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'stop 130' INT
trap 'stop 143' TERM

# The libraries of that torch come before those of the environment, through which the driver may be found.
libraries=$("$python" "$here/machine.py" libraries) || echo "$python has no torch 2.11.0"
[ -z "$libraries" ] || export LD_LIBRARY_PATH=$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
# Idle threads of libgomp sleep early, as in .cargo/config.toml.
export GOMP_SPINCOUNT=10000
# torch checks for this folder before it compiles a kernel at run time, but needs nothing from it.
export CUDA_HOME=${CUDA_HOME:-/usr/local/cuda}
[ -d "$CUDA_HOME" ] || export CUDA_HOME=$work
sanitizer=$(type -P compute-sanitizer || type -P "$CUDA_HOME/bin/compute-sanitizer")
# The baselines that a Python with torch lacks, for the Pythons that the benches start.
for wheel in "$here"/wheels/*.whl; do
    [ ! -e "$wheel" ] || "$python" -m zipfile -e "$wheel" "$work/site"
done
export PYTHONPATH=$work/site${PYTHONPATH:+:$PYTHONPATH}

chosen=${*:2}
# torch compiles this baseline in a minute, with nvcc: meanwhile other steps run.
if [ "$1" != first ] && [ -z "$small" ]; then
    timeout 200 "$python" -c "import accelerated_scan.warp" </dev/null >/dev/null 2>&1 &
fi
if [ "$1" != second ]; then part first 420 "${QRNN_MEASURE_FIRST:-420}" "${first_steps[@]}"; fi
if [ "$1" != first ]; then part second 420 "${QRNN_MEASURE_SECOND:-420}" "${second_steps[@]}"; fi
table
exit "$failed"
