"""Compiling every kernel where there is no GPU: to PTX, and from there to a device's own code.

``python -m emoref_kernels.cuda.offline`` prints one row a kernel and capability: operations in float64, and
what the assembler says of registers and of values that it had to spill. Needed are NVVM, which the package
``nvidia-cuda-nvcc-cu12`` brings along (or CUDA's toolkit), and for the second half ``ptxas``, likewise.
"""

import argparse
import importlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

__all__ = ["CAPABILITIES", "KernelReport", "compile_kernel", "compiler_folder", "report"]

CAPABILITIES = ((8, 0), (9, 0))
"""Compute capabilities that are checked: A100 and H100."""


class KernelReport(NamedTuple):
    """What compiling a kernel told.

    Attributes
    ----------
    kernel, capability : str
        Its name, and for instance "9.0".
    hot, double : bool
        Whether no register may spill, and whether its arguments hold float64.
    double_operations : int
        Instructions and registers of float64 in its PTX.
    registers, spilled_bytes, stack_bytes, shared_bytes : int
        What the assembler says; -1 without one.
    """

    kernel: str
    capability: str
    hot: bool
    double: bool
    double_operations: int
    registers: int = -1
    spilled_bytes: int = -1
    stack_bytes: int = -1
    shared_bytes: int = -1


def compiler_folder() -> Path | None:
    """Return the folder of the installed package that holds ``nvvm`` and ``bin/ptxas``; None without it."""
    try:
        found = importlib.util.find_spec("nvidia.cuda_nvcc")
    except ModuleNotFoundError:
        return None
    places = list(found.submodule_search_locations or ()) if found else []
    folder = Path(places[0]) if places else None
    return folder if folder is not None and (folder / "nvvm").is_dir() else None


def use_package() -> None:
    """Let Numba compile with the installed package, whose PTX its assembler understands.

    ``CUDA_HOME`` alone does not do: Numba's own target looks for a library with a version behind its name,
    and the package's has none. It then takes whichever the system has, perhaps of another version.
    """
    folder = compiler_folder()
    if folder is None:
        return
    os.environ["CUDA_HOME"] = str(folder)
    paths: Any = importlib.import_module("numba.cuda.cuda_paths")
    found, library = paths.get_cuda_paths(), next(folder.glob("nvvm/lib*/libnvvm.so*"), None)
    if library is not None and "libdevice" in found:
        device_library = next(folder.glob("nvvm/libdevice/libdevice*.bc"))
        found["nvvm"] = found["nvvm"]._replace(by="package", info=str(library))
        found["libdevice"] = found["libdevice"]._replace(by="package", info=str(device_library))


def assembler() -> str | None:
    """Return the path of ``ptxas``; None if there is none."""
    folder = compiler_folder()
    if folder is not None and (folder / "bin" / "ptxas").is_file():
        return str(folder / "bin" / "ptxas")
    return shutil.which("ptxas")


@contextmanager
def _pretended_device(capability: tuple[int, int]) -> Iterator[None]:
    """Let functions that kernels call be compiled for a capability although there is no device."""
    dispatcher: Any = importlib.import_module("numba.cuda.dispatcher")
    real = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
    try:
        yield
    finally:
        dispatcher.get_current_device = real


def compile_kernel(kernel: Any, capability: tuple[int, int]) -> str:
    """Return the PTX of a kernel of :data:`emoref_kernels.cuda.jit.KERNELS` for a compute capability."""
    from numba import types

    from emoref_kernels.cuda.provider import cuda

    letters = {
        "f": types.float32[::1], "d": types.float64[::1], "i": types.int64[::1], "b": types.boolean[::1],
        "n": types.int64, "s": types.float32, "x": types.float64,
    }  # fmt: skip
    arguments = tuple(letters[letter] for letter in kernel.arguments)
    with _pretended_device(capability):
        ptx, _ = cuda.compile_ptx(kernel.function, arguments, cc=capability)
    return str(ptx)


def report(kernel: Any, capability: tuple[int, int], ptxas: str | None) -> KernelReport:
    """Compile one kernel and return what it told."""
    ptx = compile_kernel(kernel, capability)
    double = "d" in kernel.arguments or "x" in kernel.arguments
    version = ".".join(map(str, capability))
    found = KernelReport(kernel.name, version, kernel.hot, double, ptx.count(".f64"))
    if ptxas is None:
        return found
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx)
        command = [ptxas, "-v", f"-arch=sm_{version.replace('.', '')}", str(source), "-o", f"{folder}/out"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr

    def number(pattern: str) -> int:
        return sum(int(value) for value in re.findall(pattern, said))

    return found._replace(
        registers=number(r"Used (\d+) registers"),
        spilled_bytes=number(r"(\d+) bytes spill"),
        stack_bytes=number(r"(\d+) bytes stack frame"),
        shared_bytes=number(r"(\d+) bytes smem"),
    )


def main() -> None:
    """Compile the kernels that the command line names, or all, and print the rows."""
    parser = argparse.ArgumentParser(description="Compile the CUDA kernels without a GPU.")
    parser.add_argument("kernels", nargs="*", help="names; all if left out")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--capability", help="for instance 9.0; all that are checked if left out")
    chosen = parser.parse_args()
    use_package()
    importlib.import_module("emoref_kernels.cuda")
    for module in ("niching", "population"):
        importlib.import_module(f"emoref_kernels.cuda.{module}")
    from emoref_kernels.cuda.jit import KERNELS

    unknown = sorted(set(chosen.kernels) - set(KERNELS))
    if unknown:
        sys.exit(f"there is no kernel {unknown[0]!r}; there are {', '.join(KERNELS)}")
    for capability in CAPABILITIES:
        if chosen.capability and chosen.capability != ".".join(map(str, capability)):
            continue
        for name in chosen.kernels or KERNELS:
            row = report(KERNELS[name], capability, assembler())
            fields = row._asdict()
            text = json.dumps(fields) if chosen.json else "  ".join(f"{k} {v}" for k, v in fields.items())
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
