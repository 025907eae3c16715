"""Tells measure.sh about the machine, without importing torch.

    machine.py libraries   the folders of torch's libraries, for LD_LIBRARY_PATH
    machine.py PART        one JSON object: the GPU and its driver, Python and its packages
"""

import ctypes
import importlib.metadata
import importlib.util
import json
import pathlib
import platform
import sys
import time

PACKAGES = ("torch", "triton", "numpy", "transformers", "einops", "fla-core", "accelerated-scan")


def libraries():
    """The folders of torch's libraries and of NVIDIA's."""
    torch = importlib.util.find_spec("torch")
    if torch is None:
        return []
    found = [pathlib.Path(place) / "lib" for place in torch.submodule_search_locations]
    nvidia = importlib.util.find_spec("nvidia")
    for place in nvidia.submodule_search_locations if nvidia else []:
        found += sorted(pathlib.Path(place).glob("*/lib"))
    return [str(folder) for folder in found if folder.is_dir()]


def version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def gpu():
    """The name of the first GPU and the CUDA version, from the driver."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
        number, name = ctypes.c_int(), ctypes.create_string_buffer(256)

        def ask(function, *arguments):
            status = getattr(cuda, function)(*arguments)
            if status:
                raise OSError(f"{function} fails with {status}")

        ask("cuInit", 0)
        ask("cuDeviceGetCount", ctypes.byref(number))
        if not number.value:
            raise OSError("the driver finds no GPU")
        ask("cuDeviceGetName", name, len(name), 0)
        ask("cuDriverGetVersion", ctypes.byref(number))
        return {"gpu": name.value.decode(errors="replace"), "cuda": number.value}
    except (OSError, AttributeError) as error:
        return {"gpu": None, "why": str(error)}


def main(asked):
    if asked == "libraries":
        print(":".join(libraries()))
        return 0 if (version("torch") or "").startswith("2.11.0") else 1
    machine = gpu() | {"python": platform.python_version(), "date": time.strftime("%F %T %z")}
    machine["packages"] = {package: version(package) for package in PACKAGES}
    print(json.dumps({"part": asked, "machine": machine}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
