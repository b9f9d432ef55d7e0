"""Random damage to good files: the readers give what is there or one error of ours, and never anything else."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import save_file

import tiny
from trimtab.core.errors import TrimtabError
from trimtab.core.job import result_of
from trimtab.models.export import export_model
from trimtab.nn.lora import LoraSettings, add_lora
from trimtab.store.adapter import load_adapter, save_adapter
from trimtab.store.ggml import decode
from trimtab.store.gguf import read_gguf
from trimtab.store.importing import import_gguf
from trimtab.store.safetensors import TensorFile

INTERESTING = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\xff" * 4, b"\xff" * 8, b"\x00" * 8, b'"', b"{", b"]", b"-", b"9")


def damaged(raw: bytes, generator: random.Random, reach: int) -> bytes:
    """Flip, overwrite, cut, repeat or drop a few bytes, most of them among the first ``reach``."""
    changed = bytearray(raw)
    for _ in range(generator.randint(1, 4)):
        limit = min(len(changed), reach if generator.random() < 0.9 else len(changed))
        at = generator.randrange(max(limit, 1))
        choice = generator.randrange(5)
        if choice == 0 and changed:
            changed[at % len(changed)] ^= 1 << generator.randrange(8)
        elif choice == 1:
            piece = generator.choice(INTERESTING)
            changed[at : at + len(piece)] = piece
        elif choice == 2 and generator.random() < 0.2:
            del changed[at:]
        elif choice == 3:
            changed[at:at] = changed[at : at + generator.randint(1, 16)]
        else:
            del changed[at : at + generator.randint(1, 8)]
    return bytes(changed)


def survivors(path: Path, raw: bytes, read: Callable[[Path], None], *, runs: int, reach: int) -> int:
    """Read ``runs`` damaged copies; count those that were accepted."""
    accepted = 0
    for seed in range(runs):
        path.write_bytes(damaged(raw, random.Random(seed), reach))
        try:
            read(path)
            accepted += 1
        except TrimtabError as error:
            if path.name not in str(error):
                raise AssertionError(f"seed {seed}: {error}") from error
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
    return accepted


def read_safetensors(path: Path) -> None:
    file = TensorFile(path)
    for name in file.shapes:
        file.load(name)


def read_all_gguf(path: Path) -> None:
    for tensor in read_gguf(path).tensors.values():
        decode(tensor.data, tensor.kind, tensor.shape)


@pytest.fixture(scope="module")
def gguf(tmp_path_factory) -> bytes:
    root = tmp_path_factory.mktemp("gguf")
    source = tiny.llama_folder(root / "source")
    result_of(export_model(source, root / "x.gguf", form="gguf", dtype="q8_0"))
    return (root / "x.gguf").read_bytes()


def test_damaged_safetensors_files(tmp_path):
    names = ("model.embed_tokens.weight", "lm_head.weight", "model.norm.weight")
    save_file({name: tiny.llama().state_dict()[name][:4].clone() for name in names}, tmp_path / "good")
    raw = (tmp_path / "good").read_bytes()
    accepted = survivors(tmp_path / "x.safetensors", raw, read_safetensors, runs=1000, reach=300)
    assert 0 < accepted < 500


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # damaged scales overflow while they are decoded
def test_damaged_gguf_files(tmp_path, gguf):
    accepted = survivors(tmp_path / "x.gguf", gguf[:4000] + gguf[-2000:], read_all_gguf, runs=300, reach=4000)
    assert accepted < 300
    accepted = survivors(tmp_path / "x.gguf", gguf, read_all_gguf, runs=700, reach=1500)
    assert 0 < accepted < 700


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_damaged_gguf_files_that_are_converted(tmp_path, gguf):
    def convert(path: Path) -> None:
        import shutil

        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        result_of(import_gguf(path, tmp_path / "out"))

    assert 0 < survivors(tmp_path / "x.gguf", gguf, convert, runs=150, reach=9000) < 150


def test_damaged_adapters(tmp_path):
    net = tiny.llama()
    save_adapter(add_lora(tiny.llama(), LoraSettings(rank=2, targets=("q_proj",))), tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    raw = path.read_bytes()

    def read(_: Path) -> None:
        from trimtab.nn.lora import remove_lora

        remove_lora(load_adapter(net, path.parent))

    assert 0 < survivors(path, raw, read, runs=300, reach=700) < 300
