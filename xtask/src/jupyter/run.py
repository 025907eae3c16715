"""Executes a notebook through an installed Jupyter kernel; `cargo xtask notebooks` calls this.

Exit status: 0 all cells ran, 1 a cell failed, 2 the notebook or the kernel cannot be used.
"""

import argparse
import os
import re
import sys
import tempfile
import time

import nbformat
from jupyter_client.kernelspec import NoSuchKernel
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError


def say(text, stream):
    """Prints a line; where nobody reads any more, or the disk is full, the notebook runs on."""
    try:
        print(text, file=stream, flush=True)
    except OSError:
        # Python would try once more at its end, and fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def failed(path, number, cell, reason):
    say(f"\n{path}, code cell {number} failed:\n", sys.stderr)
    for line in cell.source.splitlines():
        say(f"    {line}", sys.stderr)
    say(f"\n{reason}", sys.stderr)


def said(cell):
    """What rustc or the program said, as the kernel sent it."""
    errors = [output for output in cell.outputs if output.output_type == "error"]
    return "\n".join("\n".join(error.traceback) or error.evalue for error in errors)


# The scale of the experiments in the notebooks as stored.
SCALE = "Scale::reduced(10.0)"

# The folders of their runs.
FOLDER = re.compile(r'"\.\./runs/(\w+)"')


def execute(path, notebook, kernel, timeout, scale, runs):
    """Whether all cells ran, with `scale` instead of SCALE and the folders of their runs in `runs`, so that nothing
    that is there already is taken for a result."""
    client = NotebookClient(
        notebook,
        kernel_name=kernel,
        timeout=timeout,
        startup_timeout=120,
        resources={"metadata": {"path": os.path.dirname(os.path.abspath(path))}},
        record_timing=False,
        coalesce_streams=True,
    )
    number = 0
    with client.setup_kernel():
        info = client.wait_for_reply(client.kc.kernel_info())
        if info is not None:
            notebook.metadata["language_info"] = info["content"]["language_info"]
        for index, cell in enumerate(notebook.cells):
            if cell.cell_type != "code":
                continue
            number += 1
            stored = cell.source
            cell.source = cell.source.replace(SCALE, scale)
            cell.source = FOLDER.sub(rf'"{runs}/\1"', cell.source)
            started = time.monotonic()
            try:
                client.execute_cell(cell, index)
            except CellExecutionError as error:
                failed(path, number, cell, said(cell) or str(error))
                return False
            except CellTimeoutError:
                failed(path, number, cell, f"it took more than {timeout} s")
                return False
            except DeadKernelError:
                failed(path, number, cell, "the kernel died")
                return False
            cell.source = stored
            name = os.path.splitext(os.path.basename(path))[0]
            say(f"  {name}  cell {number:>2}  {time.monotonic() - started:6.1f} s", sys.stdout)
    return True


def save(path, notebook):
    """Whole or not at all."""
    folder = os.path.dirname(os.path.abspath(path))
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=folder, suffix=".tmp", delete=False
    ) as file:
        nbformat.write(notebook, file)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebook")
    parser.add_argument("--kernel", default="qrnn")
    parser.add_argument("--timeout", type=int, default=900, help="seconds for a cell")
    parser.add_argument("--save", action="store_true", help="store the outputs in the notebook")
    parser.add_argument("--scale", default=SCALE, help="Rust expression instead of " + SCALE)
    args = parser.parse_args()
    try:
        notebook = nbformat.read(args.notebook, as_version=4)
        nbformat.validate(notebook)
    except (OSError, ValueError, nbformat.ValidationError) as error:
        say(f"{args.notebook}: no valid notebook: {error}", sys.stderr)
        return 2
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="qrnn-runs-") as runs:
            ran = execute(args.notebook, notebook, args.kernel, args.timeout, args.scale, runs)
    except NoSuchKernel:
        say(f"there is no Jupyter kernel named '{args.kernel}' here", sys.stderr)
        return 2
    except RuntimeError as error:
        say(f"the kernel '{args.kernel}' does not start: {error}", sys.stderr)
        return 2
    if not ran:
        return 1
    say(f"  all in {time.monotonic() - started:.1f} s", sys.stdout)
    if args.save:
        save(args.notebook, notebook)
    return 0


if __name__ == "__main__":
    sys.exit(main())
