"""From what a person calls a model to the folder that holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from trimtab.core.errors import MissingError, ResourceError, did_you_mean
from trimtab.store.bundled import bundled_folder, bundled_models
from trimtab.store.cards import models_folder, stored_models
from trimtab.store.catalogue import CATALOGUE
from trimtab.store.fetching import ensure_imported

HUB_PREFIX: Final = "hf:"


def resolve(model: str) -> Path:
    """Find a model's folder.

    Args:
        model: a name in the store or of a model that comes with the package, a folder in transformers' layout, a
            .gguf file, or "hf:org/name".

    Raises:
        MissingError: there is no such model; near names are given.
        ResourceError: the hub cannot be reached.
    """
    if model.startswith(HUB_PREFIX):
        return _from_hub(model.removeprefix(HUB_PREFIX))
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if path.is_file() and path.suffix == ".gguf":
        return ensure_imported(path)
    names = {card.name for card, _ in stored_models()}
    if model in names:
        return models_folder() / model
    if (bundled := bundled_folder(model)) is not None:
        return bundled
    if model in CATALOGUE:
        raise MissingError(f"{model} is not in the store yet. Run: trimtab models add {model}")
    if path.is_file():
        raise MissingError(f"{model}: files of this kind are no models. Allowed: .gguf files and model folders.")
    known = names | set(CATALOGUE) | {card.name for card, _ in bundled_models()}
    raise MissingError(f"no model {model!r}: no such name in the store, folder or file. {did_you_mean(model, known)}")


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    patterns = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ResourceError(f"hf:{name} cannot be fetched ({reason}). Check the name and the network.") from error
