"""Timing of work on a device."""

import time

import torch


class Clock:
    """Records marks in the work of a device; `between` returns the seconds between successive marks."""

    def __init__(self, device):
        self.on_gpu, self.marks = device.type == "cuda", []

    def mark(self):
        if self.on_gpu:
            self.marks.append(torch.cuda.Event(enable_timing=True))
            self.marks[-1].record()
        else:
            self.marks.append(time.perf_counter())

    def wait(self):
        if self.on_gpu:
            torch.cuda.synchronize()

    def between(self):
        seconds = lambda a, b: a.elapsed_time(b) / 1e3 if self.on_gpu else b - a
        return [seconds(a, b) for a, b in zip(self.marks, self.marks[1:])]
