"""Prints the table of measure.sh: each figure with its goal and what an H100 gave before.

    table.py FOLDER FACTS   reads the parts' files in FOLDER and the pack's facts.json; writes table.txt
                            and figures.json into FOLDER

A figure that was not measured has its reason; results of stand-ins count as not measured.
"""

import json
import math
import pathlib
import re
import sys

from results import Missing, Results

ENTRY = [300, 40, 1800]  # steps, batch and features of the entry's wide layers


# The sources of the figures: functions from the results to a number, or to a number and its text.


def step(format, field):
    def figure(results):
        record = results.find("step", "training step", format=format)[0]
        if record.get(field) is None:
            raise Missing(f"the record of qrnn-bench step has no {field}")
        return record[field]

    return figure


def step_ratio(peer, format="bf16"):
    """The time of a baseline's step divided by ours."""

    def figure(results):
        ours = {"of": "training step", "peer": peer}
        ratios = results.find("step", "peer", [results.second], **ours)[0].get("ratios", {})
        if format not in ratios:
            raise Missing(f"our step in {format} was not measured beside it")
        return ratios[format]

    return figure


def pooling(kind, what):
    def figure(results):
        return results.find("pool", what, kind=kind, size=ENTRY)[0]["share_of_bandwidth"]

    return figure


def pooling_off(kind):
    """The largest difference of outputs and gradients from float64; NaN counts too."""

    def figure(results):
        record = results.find("pool", "forward and backward", kind=kind, size=ENTRY)[0]
        off = record["off_from_float64"]
        return math.nan if off is None else off

    return figure


def pooling_ratio(peer, kind):
    """The smaller ratio of forward, and forward and backward, over all variants of the baseline."""

    def figure(results):
        found = []
        for what in ("forward", "forward and backward"):
            wanted = {"of": what, "peer": peer, "kind": kind, "size": ENTRY}
            try:
                found += results.find("pool", "peer", [results.second], **wanted)
            except Missing:
                # A baseline that failed entirely has one record.
                results.find("pool", "peer", [results.second], **(wanted | {"of": "pooling"}))
                raise
        return min(record["ratio"] for record in found)

    return figure


def test_text(format):
    def figure(results):
        return results.find("evaluate", "evaluation of the entry", format=format)[0]["seconds"]

    return figure


def losses_of_200_steps(products):
    """The figure that the test prints, whether it passes or not."""

    def figure(results):
        results.first.check("tests")
        line = rf"\b{products} on Cuda\(\d+\): \S+ over 20 steps, (\S+) over 200"
        found = re.search(line, results.first.logs.get("tests", ""), flags=re.MULTILINE)
        if not found:
            raise Missing("no test has printed it")
        return float(found[1])

    return figure


def tests(results):
    status = results.first.status("tests")
    log = results.first.logs.get("tests", "")
    found = re.findall(r"^test result: .*?(\d+) passed; (\d+) failed", log, flags=re.MULTILINE)
    if not found:
        raise Missing(f"the tests ended with {status} and printed no result")
    passed, failed = (sum(map(int, counts)) for counts in zip(*found))
    if not passed + failed:
        raise Missing("there are no such tests in the program")
    return failed, f"{failed} of {passed + failed}"


def sanitizer(step):
    def figure(results):
        status = results.first.status(step)
        summary = r"SUMMARY: (\d+) (?:error|hazard)"
        found = re.findall(summary, results.first.logs.get(step, ""))
        if not found:
            raise Missing(f"{step} ended with {status} and printed no summary")
        return int(found[-1])

    return figure


def losses_without_dropout(format):
    def figure(results):
        found = results.find("step", "losses without dropout", [results.second], format=format)
        return found[0]["largest_loss_difference"]

    return figure


def format_beside_seed(results):
    found = results.find("curves", "furthest losses", [results.second], format="bf16")[0]
    return found["difference"] / found["difference_of_a_seed"]


def resumed(results):
    part = results.second
    statuses = [part.status(step) for step in ("train", "resume", "resumed")]
    wrong = sum(status != right for status, right in zip(statuses, (130, 0, 0)))
    return wrong, ", ".join(map(str, statuses))


# Figure, unit, goal, the figure of an NVIDIA H100 80GB HBM3 on 2026-11-27 (kernels/README.md), source.
ROWS = [
    ("step in bf16", "ms", "<= 6.5e-3", "6.30 ms", step("bf16", "seconds")),
    ("step in TF32", "ms", "<= 11e-3", "12.71 ms", step("tf32", "seconds")),
    ("step in fp32", "ms", None, "49.91 ms", step("fp32", "seconds")),
    ("memory in bf16", "GB", "<= 3.5e9", "2.66 GB", step("bf16", "peak_bytes")),
    ("pooling forward, bf16, of the copy", "%", ">= 0.85", "78 %: 0.073 ms", pooling("bf16", "forward")),
    ("pooling both ways, bf16", "%", ">= 0.85", "74 %: 0.224 ms", pooling("bf16", "forward and backward")),
    ("pooling forward, fp32", "%", ">= 0.85", "88 %: 0.130 ms", pooling("f32", "forward")),
    ("pooling both ways, fp32", "%", ">= 0.85", "81 %: 0.398 ms", pooling("f32", "forward and backward")),
    ("pooling off float64, bf16", "1", "<= 1e-2", None, pooling_off("bf16")),
    ("pooling off float64, fp32", "1", "<= 1e-5", None, pooling_off("f32")),
    ("published step / ours in bf16", "x", ">= 8", "9.92", step_ratio("published")),
    ("published with TF32 / ours in bf16", "x", ">= 3", "4.31", step_ratio("tf32")),
    ("tuned step / ours in bf16", "x", ">= 1.3", "2.59", step_ratio("tuned")),
    ("HGRN / ours, pooling, bf16", "x", ">= 1.5", "3.70", pooling_ratio("hgrn", "bf16")),
    ("HGRN / ours, pooling, fp32", "x", ">= 1.5", "3.04", pooling_ratio("hgrn", "f32")),
    ("accelerated-scan / ours, bf16", "x", ">= 1.5", "4.43", pooling_ratio("scan", "bf16")),
    ("accelerated-scan / ours, fp32", "x", ">= 1.5", "3.60", pooling_ratio("scan", "f32")),
    ("test text, fp32", "s", "<= 2", "0.41 s", test_text("fp32")),
    ("test text, TF32", "s", "<= 2", "0.18 s", test_text("tf32")),
    ("test text, bf16", "s", "<= 2", "0.13 s", test_text("bf16")),
    ("losses of 200 steps, fp32, off the CPU's", "1", "<= 1e-4", "9.5e-07", losses_of_200_steps("Single")),
    ("losses of 200 steps, TF32", "1", "<= 1e-3", "2.9e-04", losses_of_200_steps("Tf32")),
    ("losses of 200 steps, bf16", "1", "<= 1e-3", "2.2e-03; the CPU in bf16 3.3e-03", losses_of_200_steps("Bf16")),
    ("losses off the published step's, bf16", "1", "<= 5e-2", "6.1e-05", losses_without_dropout("bf16")),
    ("losses off the published step's, TF32", "1", "<= 5e-2", "2.9e-06", losses_without_dropout("tf32")),
    ("bf16 off TF32 / a seed off another", "x", "<= 1", "0.28", format_beside_seed),
    ("tests on the GPU that fail", "", "<= 0", None, tests),
    ("memcheck of fo_pool, errors", "", "<= 0", None, sanitizer("memcheck-pool")),
    ("memcheck of cross_entropy, errors", "", "<= 0", None, sanitizer("memcheck-entropy")),
    ("racecheck of cross_entropy, hazards", "", "<= 0", None, sanitizer("racecheck-entropy")),
    ("memcheck of the optimizer, errors", "", "<= 0", None, sanitizer("memcheck-adam")),
    ("interrupted, resumed, log: statuses", "", "<= 0", None, resumed),
]

SHOWN = {
    "ms": lambda value: f"{1e3 * value:.2f} ms",
    "s": lambda value: f"{value:.2f} s",
    "GB": lambda value: f"{1e-9 * value:.2f} GB",
    "%": lambda value: f"{100 * value:.0f} %",
    "x": lambda value: f"{value:.2f}",
    "1": lambda value: f"{value:.1e}",
    "": lambda value: f"{value:.0f}",
}


def row(results, figure, unit, goal, before, source):
    said = {"figure": figure, "unit": unit, "goal": goal, "before": before}
    if results.no_gpu:
        return said | {"measured": None, "verdict": "no GPU"}
    try:
        found = source(results)
    except Missing as why:
        verdict = "no GPU" if str(why) == "no GPU" else "not measured"
        return said | {"measured": None, "verdict": verdict, "why": str(why)}
    except (KeyError, TypeError, ZeroDivisionError) as error:
        return said | {"measured": None, "verdict": "not measured", "why": f"the record lacks {error}"}
    value, shown = found if isinstance(found, tuple) else (found, SHOWN[unit](found))
    verdict = "shown"
    if goal:
        sign, bound = goal.split()
        # NaN meets no goal.
        met = value <= float(bound) if sign == "<=" else value >= float(bound)
        verdict = "met" if met else "missed"
    # JSON has no NaN.
    return said | {"measured": value if math.isfinite(value) else None, "shown": shown, "verdict": verdict}


def goal_text(figure, goal, unit):
    if not goal:
        return ""
    if figure.endswith("statuses"):
        return "130, 0, 0"
    sign, bound = goal.split()
    return f"{sign} {SHOWN[unit](float(bound))}"


def table(rows):
    lines = [("figure", "measured", "goal", "", "H100 before")]
    for entry in rows:
        measured = entry.get("shown") or entry["verdict"]
        verdict = {"met": "met", "missed": "MISSED"}.get(entry["verdict"], "")
        goal = goal_text(entry["figure"], entry["goal"], entry["unit"])
        lines.append((entry["figure"], measured, goal, verdict, entry["before"] or ""))
    widths = [max(len(line[i]) for line in lines) for i in range(4)]
    text = ["  ".join([*(cell.ljust(width) for cell, width in zip(line, widths)), line[4]]).rstrip() for line in lines]
    reasons = {}
    for entry in rows:
        if entry["verdict"] == "not measured":
            reasons.setdefault(entry["why"], []).append(entry["figure"])
    if reasons:
        text += ["", "not measured, since"]
        text += [f"  {why}: {'; '.join(figures)}" for why, figures in reasons.items()]
    return text


def look_first(results):
    """The stages of the step in bf16, as the bench measures them on a GPU."""
    lines = ["", "look first at the step in bf16"]
    try:
        record = results.find("step", "training step", format="bf16")[0]
    except Missing as why:
        return [*lines, f"  {why}"]
    wall, events = record["wall_seconds"], record["seconds"]
    lines.append(f"  wall clock {1e3 * wall:.2f} ms, by events {1e3 * events:.2f} ms: {wall / events:.2f} times as long")
    for stage in record.get("stages", []):
        text = f"  {stage['stage']:<20} {1e3 * stage['seconds']:8.3f} ms"
        if "share_of_rate" in stage:
            text += f"   {1e-9 * stage['operations']:8.1f} GFLOP, {100 * stage['share_of_rate']:.0f} % of the rate"
        if "share_of_bandwidth" in stage:
            text += f"   {1e-6 * stage['bytes']:8.1f} MB, {100 * stage['share_of_bandwidth']:.0f} % of the copy"
        lines.append(text)
    lines += probed(results)
    if not any(stage["stage"] == "bias gradients" for stage in record.get("stages", [])):
        lines.append("  bias gradients have no stage of their own: other operations give them")
    for kind in ("bf16", "f32"):
        try:
            forward = results.find("pool", "forward", kind=kind, size=ENTRY)[0]["seconds"]
            both = results.find("pool", "forward and backward", kind=kind, size=ENTRY)[0]["seconds"]
        except Missing as why:
            lines.append(f"  a wide layer's pooling in {kind}: {why}")
            continue
        lines.append(f"  a wide layer's pooling in {kind}: forward {1e3 * forward:.3f} ms, both ways {1e3 * both:.3f} ms")
    return lines


def probed(results):
    """Single operations of libtorch with their kernels."""
    lines = []
    for record in results.first.records:
        if record["bench"] == "probe" and results.first.has_gpu:
            lines.append(f"  {record['what']:<58} {1e3 * record['seconds']:8.3f} ms")
            lines += [f"      {1e3 * seconds:8.3f} ms {name[:90]}" for name, seconds in record["kernels"]]
    return lines or ["  probe.py printed nothing; see the log of measure.sh first"]


def pooling_beside_peers(results):
    """All cases of the pooling bench: our time, and the ratio of each baseline."""
    if not results.second.has_gpu:
        return []
    lines, cases = [], {}
    for record in results.second.records:
        if record["bench"] == "pool" and record.get("what") in ("forward", "forward and backward"):
            if "call_seconds" in record:
                cases[str(record["size"]), record["kind"], record["what"]] = (record["call_seconds"], [])
    for record in results.second.records:
        case = (str(record.get("size")), record.get("kind"), record.get("of"))
        if record["bench"] == "pool" and record.get("what") == "peer" and case in cases and "ratio" in record:
            name = " ".join(filter(None, (record["peer"], record.get("variant"))))
            cases[case][1].append(f"{name} {record['ratio']:.2f}")
    for (size, kind, what), (seconds, peers) in cases.items():
        lines.append(f"  {size:<17} {kind:<5} {what:<21} {1e3 * seconds:8.3f} ms   {', '.join(peers)}")
    return ["", "pooling, ours, and how many times as long its peers take", *lines] if lines else []


def machines(results, facts):
    changed = " with changes" * bool(facts.get("changed"))
    lines = [f"commit {facts.get('commit')}{changed}, built {facts.get('built')} with {facts.get('rustc')}"]
    for part in results.parts:
        if part.machine:
            packages = part.machine.get("packages", {})
            lines.append(
                f"{part.name}: {part.machine.get('gpu') or 'no GPU: ' + str(part.machine.get('why'))}, "
                f"torch {packages.get('torch')}, triton {packages.get('triton')}, {part.machine.get('date')}"
            )
            ended = [
                f"{name} {'not run' if 'not_run' in step else step['status']}"
                for name, step in part.steps.items()
                if step.get("status") != (130 if name == "train" else 0)
            ]
            if ended:
                lines.append(f"  ended otherwise than they should: {', '.join(ended)}")
    return lines


def main(folder, facts):
    folder, facts = pathlib.Path(folder), pathlib.Path(facts)
    facts = json.loads(facts.read_text()) if facts.exists() else {}
    results = Results(folder)
    rows = [row(results, *entry) for entry in ROWS]
    text = [*machines(results, facts), "", *table(rows), *look_first(results), *pooling_beside_peers(results)]
    text = "\n".join(text)
    steps = {part.name: part.steps for part in results.parts}
    machine = {part.name: part.machine for part in results.parts}
    figures = {"facts": facts, "machine": machine, "steps": steps, "figures": rows}
    (folder / "table.txt").write_text(text + "\n")
    (folder / "figures.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    print("\n" + text)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
