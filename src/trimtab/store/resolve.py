"""From what a person calls a model to the folder that holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from trimtab.core.errors import MissingError, ResourceError, did_you_mean
from trimtab.store.bundled import bundled_folder, bundled_models
from trimtab.store.cards import GENERATOR_CONFIG, MODEL_CONFIG, models_folder, stored_models
from trimtab.store.catalogue import CATALOGUE
from trimtab.store.fetching import ensure_imported

HUB_PREFIX: Final = "hf:"


def resolve(model: str) -> Path:
    """Find a model's folder.

    Args:
        model: a name in the store or of a model that comes with the package, a folder in transformers' layout, a
            .gguf file, or "hf:org/name". A name that is known is not shadowed by a folder that holds no model.

    Raises:
        MissingError: there is no such model; near names are given.
        ResourceError: the hub cannot be reached.
    """
    if model.startswith(HUB_PREFIX):
        return _from_hub(model.removeprefix(HUB_PREFIX))
    path = Path(model).expanduser()
    if path.is_dir() and (_holds_model(path) or model not in _known()):
        return path
    if path.is_file() and path.suffix == ".gguf":
        return ensure_imported(path)
    if model in _stored():
        return models_folder() / model
    if (bundled := bundled_folder(model)) is not None:
        return bundled
    if model in CATALOGUE:
        raise MissingError(f"{model} is not in the store yet. Run: trimtab models add {model}")
    if path.is_file():
        raise MissingError(f"{model}: files of this kind are no models. Allowed: .gguf files and model folders.")
    said = f"no model {model!r}: no such name in the store, folder or file."
    raise MissingError(f"{said} {did_you_mean(model, _known())}")


def _stored() -> set[str]:
    return {card.name for card, _ in stored_models()}


def _known() -> set[str]:
    return _stored() | set(CATALOGUE) | {card.name for card, _ in bundled_models()}


def _holds_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (MODEL_CONFIG, GENERATOR_CONFIG))


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    patterns = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ResourceError(f"hf:{name} cannot be fetched ({reason}). Check the name and the network.") from error
