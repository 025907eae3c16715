"""Reads the files of both parts of measure.sh, and tells why a figure is missing."""

import json
import pathlib
import re

PARTS = ("first", "second")

# Device names of the stand-ins of CUDA, whose results are not figures.
STAND_INS = ("null", "no gpu", "stand-in")


class Missing(Exception):
    """A figure is missing, with the reason."""


def is_gpu(name):
    return bool(name) and not name.startswith("the CPU") and not any(
        word in name.lower() for word in STAND_INS
    )


class Part:
    """One part: its machine, the result and the log of each step, the records of the benches."""

    def __init__(self, folder, name):
        self.name, self.machine, self.steps, self.records, self.logs = name, {}, {}, [], {}
        for line in read(folder / f"{name}.jsonl").splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue  # cut off where the machine was taken away
            if "machine" in record:
                self.machine = record["machine"]
            elif "step" in record and "part" in record:
                self.steps[record["step"]] = record
            elif "bench" in record:
                self.records.append(record)
        log = re.split(r"^=== ([\w-]+): .*$", read(folder / f"{name}.log"), flags=re.MULTILINE)
        self.logs = dict(zip(log[1::2], log[2::2]))

    @property
    def has_gpu(self):
        return is_gpu(self.machine.get("gpu"))

    def check(self, *steps):
        """Raises Missing if something kept these steps from giving a figure."""
        if not self.machine:
            raise Missing(f"measure.sh {self.name} was not run")
        if not self.has_gpu:
            raise Missing("no GPU")
        for step in steps:
            done = self.steps.get(step)
            if done is None:
                raise Missing(f"{step} of measure.sh {self.name} did not end")
            if "not_run" in done:
                raise Missing(f"{step} was not run: {done['not_run']}")
            if done["status"] in (124, 137):
                raise Missing(f"{step} ran past its limit of {done['limit']} s")

    def status(self, step):
        self.check(step)
        return self.steps[step]["status"]


class Results:
    def __init__(self, folder):
        self.parts = [Part(pathlib.Path(folder), name) for name in PARTS]
        self.first, self.second = self.parts
        ran = [part for part in self.parts if part.machine]
        self.no_gpu = bool(ran) and not any(part.has_gpu for part in ran)

    def find(self, bench, what, parts=None, **wanted):
        """The records of this kind measured on a GPU, from the first part that has any."""
        missing = []
        for part in parts or self.parts:
            fits = [
                record
                for record in part.records
                if record["bench"] == bench
                and record.get("what") == what
                and all(record.get(key) == value for key, value in wanted.items())
            ]
            whole = [record for record in fits if "failed" not in record]
            if part.has_gpu and any(is_gpu(record.get("device")) for record in whole):
                return [record for record in whole if is_gpu(record["device"])]
            try:
                part.check()
                if fits and not whole:
                    raise Missing(f"failed: {fits[0]['failed']}")
                part.check(bench)
                status = part.steps[bench]["status"]
                raise Missing(f"qrnn-bench {bench} has no record of it" + f" and ended with {status}" * bool(status))
            except Missing as why:
                missing.append(str(why))
        # The reason of a part that was run says more.
        missing.sort(key=lambda why: why.endswith("was not run"))
        raise Missing(missing[0])


def read(path):
    return path.read_text(errors="replace") if path.exists() else ""
