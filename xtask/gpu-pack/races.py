"""Launches the kernels of cross_entropy.cu from a small program, for compute-sanitizer's racecheck.

    races.py FOLDER   FOLDER holds the sources of the kernels

racecheck ends with an internal error in the tests of qrnn-ops, which load libtorch, even where it checks
none of their kernels. This program loads the driver and NVRTC alone. It also compares the losses with those of
the host.
"""

import ctypes
import math
import pathlib
import random
import sys

ROWS = 3
# As in crates/qrnn-ops/src/cuda/compiler.rs.
OPTIONS = ("--std=c++17", "--device-as-default-execution-space", "--ftz=true", "--prec-div=false")
# Threads of a block and classes: with and without a rest of a pack, fewer and more than a block keeps in registers.
SIZES = ((128, 1_000), (256, 2_803), (512, 9_001), (1024, 70_001))


def load(file):
    """The functions of a library as Python functions that raise on a status other than 0."""
    library = ctypes.CDLL(file)

    def function(name):
        def call(*arguments):
            status = getattr(library, name)(*arguments)
            if status:
                raise OSError(f"{name} fails with {status}")

        return call

    return function


def compiled(folder, architecture):
    """The image of cross_entropy.cu."""
    nvrtc = load("libnvrtc.so.13")
    source = (folder / "cross_entropy.cu").read_bytes()
    options = [*OPTIONS, f"--gpu-architecture={architecture}", f"--include-path={folder}", "-lineinfo"]
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    nvrtc("nvrtcCreateProgram")(ctypes.byref(program), source, b"cross_entropy.cu", 0, None, None)
    texts = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
    nvrtc("nvrtcCompileProgram")(program, len(options), texts)
    nvrtc("nvrtcGetCUBINSize")(program, ctypes.byref(size))
    image = ctypes.create_string_buffer(size.value)
    nvrtc("nvrtcGetCUBIN")(program, image)
    return image


def bf16(x):
    """The bits of a number that bf16 holds exactly."""
    return int.from_bytes(bytes(ctypes.c_float(x))[2:], "little")


class Gpu:
    def __init__(self, folder):
        self.cuda = load("libcuda.so.1")
        device, context, self.module = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        self.cuda("cuInit")(0)
        self.cuda("cuDeviceGet")(ctypes.byref(device), 0)
        version = [ctypes.c_int(), ctypes.c_int()]
        for number, attribute in zip(version, (75, 76)):  # the compute capability, major and minor
            self.cuda("cuDeviceGetAttribute")(ctypes.byref(number), attribute, device)
        self.cuda("cuDevicePrimaryCtxRetain")(ctypes.byref(context), device)
        self.cuda("cuCtxSetCurrent")(context)
        image = compiled(folder, "sm_" + "".join(str(number.value) for number in version))
        self.cuda("cuModuleLoadData")(ctypes.byref(self.module), image)

    def upload(self, array):
        address = ctypes.c_uint64()
        self.cuda("cuMemAlloc_v2")(ctypes.byref(address), ctypes.c_size_t(ctypes.sizeof(array)))
        self.cuda("cuMemcpyHtoD_v2")(address, array, ctypes.c_size_t(ctypes.sizeof(array)))
        return address

    def losses(self, kind, threads, classes, values, targets):
        """The losses of rows of logits; the gradient is computed too."""
        stride = -(-classes // 8) * 8
        element, encoded = {"f32": (ctypes.c_float, float), "bf16": (ctypes.c_uint16, bf16)}[kind]
        logits = (element * (ROWS * stride))()
        for row in range(ROWS):
            logits[row * stride : row * stride + classes] = [encoded(value) for value in values[row]]
        losses = (ctypes.c_float * ROWS)()
        addresses = [self.upload(array) for array in (logits, (ctypes.c_int * ROWS)(*targets), losses)]
        numbers = [ctypes.c_float(1 / ROWS), ctypes.c_int(1), ctypes.c_int(classes), ctypes.c_longlong(stride)]
        arguments = [ctypes.cast(ctypes.byref(value), ctypes.c_void_p) for value in (*addresses, *numbers)]
        function = ctypes.c_void_p()
        name = f"cross_entropy_{kind}_{threads}".encode()
        self.cuda("cuModuleGetFunction")(ctypes.byref(function), self.module, name)
        packed = (ctypes.c_void_p * len(arguments))(*arguments)
        self.cuda("cuLaunchKernel")(function, ROWS, 1, 1, threads, 1, 1, 0, None, packed, None)
        self.cuda("cuCtxSynchronize")()
        self.cuda("cuMemcpyDtoH_v2")(losses, addresses[2], ctypes.c_size_t(ctypes.sizeof(losses)))
        for address in addresses:
            self.cuda("cuMemFree_v2")(address)
        return list(losses)


def main(folder):
    gpu, draw, wrong = Gpu(folder), random.Random(1), 0
    for threads, classes in SIZES:
        # Multiples of 1/16 below 8: bf16 holds them exactly.
        values = [[draw.randrange(-127, 128) / 16 for _ in range(classes)] for _ in range(ROWS)]
        targets = [0, classes - 1, draw.randrange(classes)]
        right = [
            math.log(math.fsum(map(math.exp, row))) - row[target] for row, target in zip(values, targets)
        ]
        for kind in ("f32", "bf16"):
            losses = gpu.losses(kind, threads, classes, values, targets)
            off = max(abs(a - b) for a, b in zip(losses, right))
            wrong += not off < 1e-4
            print(f"cross_entropy_{kind}_{threads}, {classes} classes: losses off by {off:.1e} at most")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
