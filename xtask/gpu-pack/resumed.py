"""Checks that an interrupted run resumes where it stopped.

    resumed.py stopped FOLDER   the steps that FOLDER/run has done
    resumed.py check FOLDER     holds FOLDER/run against FOLDER/before.jsonl, its log when it stopped

Both print why where they fail.
"""

import json
import pathlib
import sys


def steps_done(folder):
    results = folder / "run/results.json"
    if not results.exists():
        raise ValueError("the interrupted run has written no results.json")
    return len(json.loads(results.read_text())["losses"])


def logged(lines):
    """The steps in the training log."""
    records = [json.loads(line) for line in lines]
    return [record["step"] for record in records if record["kind"] == "steps"]


def goes_on(folder):
    before = (folder / "before.jsonl").read_text().splitlines()
    after = (folder / "run/metrics.jsonl").read_text().splitlines()
    if after[: len(before)] != before:
        raise ValueError("the log of the interrupted run was changed")
    steps = logged(after)
    if steps == logged(before):
        raise ValueError("the log ends where the run was interrupted")
    gaps = [later - earlier for earlier, later in zip([0, *steps], steps)]
    if min(gaps) <= 0 or max(gaps) > gaps[0]:
        raise ValueError(f"the steps of the log do not follow each other: {steps}")
    return f"the log goes on from step {max(logged(before), default=0)} to {steps[-1]}"


if __name__ == "__main__":
    task = {"stopped": steps_done, "check": goes_on}[sys.argv[1]]
    try:
        print(task(pathlib.Path(sys.argv[2])))
    except (OSError, ValueError, KeyError) as error:
        print(error)
        sys.exit(1)
