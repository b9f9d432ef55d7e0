"""Bringing a model file into the store's one layout: a folder as transformers has it, made whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from trimtab.core.job import Job, Progress, Result, Saved, Started
from trimtab.store.cards import MODEL_CONFIG, Card, write_card
from trimtab.store.gguf import read_gguf
from trimtab.store.gguf_llama import config_of, dense_tensors, expected_shapes
from trimtab.store.gguf_tokenizer import write_tokenizer
from trimtab.store.safetensors_writer import TensorWriter
from trimtab.store.whole import whole_folder


def import_gguf(path: Path, out: Path, *, card: Card | None = None) -> Job:
    """Convert a Llama GGUF file into a folder that transformers loads.

    Weights become float32: what the file's blocks mean, exactly. A card becomes part of the folder, so that a folder
    which is there is complete.

    Raises:
        FormatError: the file is damaged, hostile or of another kind.
        RangeError: ``out`` exists already.
    """
    yield Started(f"converting {path.name}", str(out))
    gguf = read_gguf(path)
    config = config_of(gguf)
    shapes = expected_shapes(config)
    with whole_folder(out) as folder:
        write_tokenizer(gguf, folder)
        sizes = {name: (np.dtype(np.float32), shape) for name, shape in shapes.items()}
        with TensorWriter(folder / "model.safetensors", sizes) as writer:
            for done, (name, dense) in enumerate(dense_tensors(gguf, config), start=1):
                writer.write(name, dense)
                yield Progress("converting", done, len(shapes), "tensors")
        clean = {key: value for key, value in config.items() if value is not None}
        (folder / MODEL_CONFIG).write_text(json.dumps(clean, indent=2), encoding="utf-8")
        if card is not None:
            write_card(folder, card)
    yield Saved("model", str(out))
    yield Result({"out": str(out), "tensors": len(shapes), "licence": gguf.metadata.get("general.license", "")})
