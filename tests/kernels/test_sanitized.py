"""The C sources under AddressSanitizer and UndefinedBehaviorSanitizer, on exactly sized memory."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from needs import need

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "csrc").glob("*.c"))
FLAGS = ["-O1", "-g", "-std=c11", "-fopenmp", "-ffp-contract=off", "-Wall", "-Werror=implicit-function-declaration"]
SANITIZERS = ["-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("driver", "processor", "calls"),
    [("drive_kernels.c", "x86", 1000), ("drive_kernels.c", "other", 1000), ("drive_llama.c", "x86", 200)],
)
def test_no_shape_reads_or_writes_outside_its_memory_or_keeps_any(driver, processor, calls, tmp_path):
    compiler = shutil.which("gcc")
    need(compiler is not None, "gcc", "Install gcc.")
    program = tmp_path / "drive"
    command = [
        compiler,
        *FLAGS,
        *SANITIZERS,
        *([] if processor == "x86" else ["-DTRIMTAB_PORTABLE"]),
        f"-I{ROOT / 'csrc'}",
        Path(__file__).with_name(driver),
        *SOURCES,
        "-o",
        program,
        "-lm",
    ]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    need("cannot find" not in built.stderr, "the sanitizers' runtime", "Install libasan and libubsan.")
    assert built.returncode == 0, built.stderr
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "ASAN_OPTIONS": "detect_leaks=1"}
    done = subprocess.run([program], capture_output=True, text=True, env=environment, check=False)
    need("LeakSanitizer has encountered a fatal" not in done.stderr, "leave to look for leaks", "Allow ptrace.")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= calls
