"""The base that an adapter was trained on, from a folder that may store it otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from trimtab.core.errors import UsageError
from trimtab.core.job import Note
from trimtab.models.config import read_model_config
from trimtab.models.load import Quantization
from trimtab.store.adapter_base import WeightForm, read_base


def form_missed(model: Path, adapter: Path) -> WeightForm | None:
    """Tell how an adapter's base was stored while it learned, where the model folder has those weights dense.

    Args:
        model: model folder.
        adapter: adapter folder.

    Returns:
        None where nothing is missed: the adapter learned on dense weights, the folder is quantized already, or
        another program wrote the adapter and kept no record.

    Raises:
        MissingError: the model folder has no config.
        FormatError: the record or the config is damaged.
    """
    return form_for(model, [adapter])


def form_for(model: Path, adapters: Sequence[Path]) -> WeightForm | None:
    """Tell how dense weights must be stored so that every adapter finds what it learned on.

    Args:
        model: model folder.
        adapters: adapter folders; those without a record take any form.

    Returns:
        None where the weights are right as they are stored.

    Raises:
        UsageError: the adapters learned on different forms.
        MissingError: the model folder has no config.
        FormatError: a record or the config is damaged.
    """
    if "quantization_config" in read_model_config(model):
        return None
    learned = {path: base.form for path in adapters if (base := read_base(path)) is not None}
    if len(set(learned.values())) > 1:
        forms = ", ".join(f"{path}: {form or 'dense'}" for path, form in learned.items())
        raise UsageError(f"the adapters learned on different forms of the weights ({forms}). Choose one form for all.")
    return next(iter(learned.values()), None)


def dense_base_notes(model: Path, adapter: Path) -> Iterator[Note]:
    """Say that an adapter is about to be folded into dense weights, where it learned on quantized ones.

    Raises:
        MissingError: the model folder has no config.
        FormatError: the record or the config is damaged.
    """
    form = form_missed(model, adapter)
    if form is not None:
        yield Note(
            f"the adapter learned on quantized weights ({form}); it is added to those of {model.name} as stored, dense."
        )


def quantization_like(form: WeightForm) -> Quantization:
    """Give how to quantize dense weights into a form."""
    if not form.block_size:
        return Quantization(form.kind)
    return Quantization(form.kind, form.block_size, form.double)
