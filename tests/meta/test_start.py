"""What every call pays before any work: imports stay light."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

NOISE = 3.0
"""A busy machine takes this much longer than a quiet one."""
HEAVY = ("torch", "transformers", "numpy", "safetensors", "tokenizers", "huggingface_hub", "jinja2")


def _cpu_seconds(code: str) -> float:
    """Run Python code in a fresh process and give all the CPU time that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _loaded(code: str) -> set[str]:
    report = f"{code}\nimport sys; print('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", report], check=True, capture_output=True, text=True)
    return set(done.stderr.split())


def _help(*words: str) -> str:
    return f"from trimtab.cli.main import run; assert run({[*words, '--help']!r}) == 0"


@pytest.mark.parametrize("code", ["import trimtab", _help(), _help("train"), _help("models")], ids=str)
def test_nothing_heavy_is_imported_before_there_is_work(code: str) -> None:
    assert not _loaded(code) & set(HEAVY)


def test_importing_trimtab_takes_under_a_tenth_of_a_second() -> None:
    assert min(_cpu_seconds("import trimtab") for _ in range(2)) < 0.1 * NOISE


def test_help_takes_under_four_tenths_of_a_second() -> None:
    assert min(_cpu_seconds(_help()) for _ in range(2)) < 0.4 * NOISE
