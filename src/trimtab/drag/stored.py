"""A session in a folder: recipe, latents and masks; saved whole, and taken up to the same bits."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from trimtab.core.errors import FormatError, RangeError
from trimtab.drag.edit import Edit
from trimtab.drag.mask import Mask, read_mask
from trimtab.drag.packing import PACKED, REMEDY, pack, unpack
from trimtab.drag.picture import STORED_FORMATS, write_grey
from trimtab.drag.recipe import RECIPE_NAME, UNKNOWN, EditRecipe, Recipe, Start, read_recipe, write_recipe
from trimtab.drag.session import Place, Session, Take
from trimtab.models.stylegan.adapter import adapted, read_adapter
from trimtab.models.stylegan.generator import Generator, latent_of_seed
from trimtab.store.durable import hash_file, write_bytes
from trimtab.store.safetensors import TensorFile
from trimtab.store.safetensors_writer import safetensors_pieces

PHOTO_FOLDER: Final = "photo"
"""Where a session keeps the inversion of the photo that it began with."""
ADAPTER_NAME: Final = "adapter.safetensors"
OLD_LATENTS_NAME: Final = "latents.safetensors"
LATENTS_FILES: Final = ("latents*.safetensors", ".latents*.tmp-*")
"""All that saving ever leaves, also where it was killed."""
START: Final = "start"
NEAR: Final = 1e-3
"""Styles of one seed differ by less from machine to machine, and by far more from network to network."""


def start_styles(generator: Generator, start: Start) -> Tensor:
    """Give the styles, (1, styles, width), of a seed.

    Raises:
        RangeError: the seed is not allowed, or the start is no seed.
    """
    if start.seed is None:
        raise RangeError("the start is a latent file, and no seed makes it. Give the file with --latent.")
    latent = latent_of_seed(start.seed, generator.z_width).to(generator.w_mean)
    with torch.no_grad():
        return generator.w_plus(generator.map(latent), truncation=start.truncation)


def read_latent(path: Path, generator: Generator) -> Tensor:
    """Read the styles, (1, styles, width), of a file that a drag wrote.

    Raises:
        FormatError: it is damaged, or holds no such tensor.
        MissingError: it holds no tensor of that name.
        RangeError: the styles are those of another generator.
    """
    return _checked_start(TensorFile(path).load("w_plus"), generator, path)


def write_latent(path: Path, w_plus: Tensor) -> None:
    """Write the styles of a picture, (1, styles, width), as the tensor ``w_plus``.

    Raises:
        CheckpointError: the disk refused.
    """
    write_bytes(path, b"".join(safetensors_pieces({"w_plus": w_plus})))


def hash_tensor(tensor: Tensor) -> str:
    """Give the SHA-256 of a tensor's values."""
    return hashlib.sha256(tensor.detach().cpu().contiguous().numpy().tobytes()).hexdigest()


def hash_mask(mask: Mask | None) -> str:
    """Give the SHA-256 of a mask's pixels; empty for none."""
    return "" if mask is None else hash_tensor(mask.movable)


def surroundings(device: torch.device) -> dict[str, str]:
    """Say what the bits of a drag depend on besides its recipe."""
    return {"torch": torch.__version__, "threads": str(torch.get_num_threads()), "device": device.type}


def recipe_of(session: Session, start: Start, *, generator: str) -> Recipe:
    """Describe a session so that it can be made again.

    Args:
        session: with a generator that was loaded from its folder.
        start: where its picture came from.
        generator: what a person calls it.
    """
    place = () if session.place is None else (session.place.take, session.place.frame)
    here = surroundings(session.start.device)
    edits = tuple(map(_edit_recipe, session.takes))
    return Recipe(generator, session.generator.card_sha256, start, edits, place, here)


def _edit_recipe(take: Take) -> EditRecipe:
    edit, steps = take.edit, len(take.frames) - 1
    strengths = tuple((strength, len(list(same))) for strength, same in itertools.groupby(take.strengths))
    return EditRecipe(edit.handles, edit.targets, edit.settings, hash_mask(edit.mask), steps, strengths)


def save_session(folder: Path, session: Session, recipe: Recipe) -> None:
    """Write a session; a crash in between leaves the one that was there.

    The recipe names the file of latents by its hash: until it is replaced, it names the file that was there.

    Raises:
        CheckpointError: the disk refused.
    """
    tensors = {START: session.start}
    for index, take in enumerate(session.takes):
        tensors |= {f"{index}.{name}": tensor for name, tensor in pack(take.frames).items()}
    masks = [_save_mask(folder, take.edit.mask) for take in session.takes]
    edits = tuple(replace(edit, mask_file_sha256=mask) for edit, mask in zip(recipe.edits, masks, strict=True))
    latents = b"".join(safetensors_pieces(tensors))
    recipe = replace(recipe, edits=edits, latents_sha256=hashlib.sha256(latents).hexdigest())
    named = latents_path(folder, recipe)
    write_bytes(named, latents)
    write_recipe(folder, recipe)
    for path in (path for pattern in LATENTS_FILES for path in folder.glob(pattern)):
        if path != named:
            path.unlink(missing_ok=True)


def latents_path(folder: Path, recipe: Recipe) -> Path:
    """Give the file with the numbers of a session's steps."""
    digest = recipe.latents_sha256
    return folder / (f"latents-{digest[:12]}.safetensors" if digest else OLD_LATENTS_NAME)


def load_session(
    folder: Path, generator: Generator, *, windowed: bool = True, strength: float | None = None
) -> tuple[Session, Recipe]:
    """Take up a session where it was saved.

    Args:
        folder: of the session.
        generator: wearing the adapter of the session's photo, where it began with one.
        windowed: see ``Session``.
        strength: with which it wears it; None is that of the recipe.

    Raises:
        FormatError: a file is damaged, or the files do not belong together.
        MissingError: a mask is gone.
        RangeError: the session is of another generator.
    """
    recipe = read_recipe(folder / RECIPE_NAME)
    _check_generator(recipe, generator)
    file = _open_latents(folder, recipe)
    strength = _strength(recipe.start) if strength is None else strength
    session = Session(generator, _read_start(file, recipe.start, generator), windowed=windowed, strength=strength)
    for index, edit in enumerate(recipe.edits):
        session.begin(_edit(folder, edit, generator.resolution))
        frames = unpack({name: file.load(f"{index}.{name}") for name in PACKED}, session.frame, file.path)
        # In the oldest format, a crash between both files left frames that the recipe did not know, or the reverse.
        known = itertools.chain(_strengths(edit), itertools.repeat(strength))
        session.take_up(frames, list(itertools.islice(known, len(frames) - 1)))
    _go_to_place(session, recipe)
    return session, recipe


def replay(folder: Path, generator: Generator, *, windowed: bool = True) -> Session:
    """Make a session again from its recipe alone, and go where it was: the same bits in the same surroundings.

    Args:
        folder: of the session; where it began with a photo, the photo's adapter is in it.
        generator: the bare one.
        windowed: as the session was made; the last bits may depend on it.

    Raises:
        MissingError: the adapter of its photo is gone.
        FormatError: the recipe, the latent or the adapter is damaged.
        RangeError: the recipe is of another generator, or is too old to tell with which strength of the adapter each
            step was taken.
    """
    recipe = read_recipe(folder / RECIPE_NAME)
    _check_generator(recipe, generator)
    _check_strengths(recipe)
    bare, generator = generator, dressed(folder, recipe.start, generator)
    if recipe.start.seed is None:
        start = _read_start(_open_latents(folder, recipe), recipe.start, generator)
    else:
        start = start_styles(generator, recipe.start)
    session = Session(generator, start, windowed=windowed, strength=_strength(recipe.start))
    for edit in recipe.edits:
        session.begin(_edit(folder, edit, generator.resolution))
        for strength, steps in edit.strengths:
            session = _with_strength(session, strength, folder, recipe.start, bare)
            for _ in range(steps):
                session.advance()
    session = _with_strength(session, _strength(recipe.start), folder, recipe.start, bare)
    _go_to_place(session, recipe)
    return session


def _with_strength(session: Session, strength: float, folder: Path, start: Start, bare: Generator) -> Session:
    """Give a session whose photo's adapter has a strength: itself, where it has that already."""
    if strength == session.strength or start.photo is None:
        return session
    start = replace(start, photo=replace(start.photo, strength=strength))
    return session.under(dressed(folder, start, bare), strength)


def _strength(start: Start) -> float:
    return 1.0 if start.photo is None else start.photo.strength


def _strengths(recipe: EditRecipe) -> Iterator[float]:
    """Give the strength of each step."""
    return (strength for strength, steps in recipe.strengths for _ in range(steps))


def _check_strengths(recipe: Recipe) -> None:
    if any(strength == UNKNOWN for edit in recipe.edits for strength, _ in edit.strengths):
        raise RangeError(
            "the steps were taken with several strengths of the photo's adapter, and the recipe, which is of an older "
            "format, does not tell which. Take up the session from its folder instead."
        )


def _go_to_place(session: Session, recipe: Recipe) -> None:
    """Go where a session was; of the old format, as near as what is kept allows."""
    if not recipe.place or not session.takes:
        session.place = None
        return
    take, frame = (max(part, 0) for part in recipe.place)
    take = min(take, len(session.takes) - 1)
    session.place = Place(take, min(frame, len(session.takes[take].frames) - 1))


def dressed(folder: Path, start: Start, generator: Generator) -> Generator:
    """Give a generator with the adapter of the photo that a session began with; itself where there was none.

    Raises:
        MissingError: the adapter is gone.
        FormatError: it is damaged, or has changed since.
        RangeError: it is of another generator.
    """
    if start.photo is None:
        return generator
    path = folder / PHOTO_FOLDER / ADAPTER_NAME
    adapter = read_adapter(path, generator)
    if hash_file(path).sha256 != start.photo.adapter_sha256:
        raise FormatError(path, "has changed since the drag", remedy=REMEDY)
    return adapted(generator, adapter, start.photo.strength)


def _open_latents(folder: Path, recipe: Recipe) -> TensorFile:
    path = latents_path(folder, recipe)
    _check_hash(path, recipe.latents_sha256)
    return TensorFile(path)


def _check_hash(path: Path, sha256: str) -> None:
    """Insist that a file is what was saved, before anything in it is believed; an empty hash is not known."""
    if path.is_file() and sha256 not in ("", hash_file(path).sha256):
        raise FormatError(path, "has changed since the drag", remedy=REMEDY)


def _edit(folder: Path, recipe: EditRecipe, resolution: int) -> Edit:
    mask = _read_mask(folder, recipe, resolution) if recipe.mask_sha256 else None
    return Edit(recipe.handles, recipe.targets, recipe.settings, mask)


def _read_mask(folder: Path, recipe: EditRecipe, resolution: int) -> Mask:
    path = _mask_path(folder, recipe.mask_sha256)
    _check_hash(path, recipe.mask_file_sha256)
    mask = read_mask(path, resolution, formats=STORED_FORMATS)
    if hash_mask(mask) != recipe.mask_sha256:
        raise FormatError(path, "has changed since the drag", remedy=REMEDY)
    return mask


def _save_mask(folder: Path, mask: Mask | None) -> str:
    """Write a mask where it is not there yet, and give the SHA-256 of its file; empty for none."""
    if mask is None:
        return ""
    path = _mask_path(folder, hash_mask(mask))
    if not path.exists():
        write_grey(path, mask.movable)
    return hash_file(path).sha256


def _mask_path(folder: Path, digest: str) -> Path:
    return folder / f"mask-{digest[:12]}.png"


def _check_generator(recipe: Recipe, generator: Generator) -> None:
    if recipe.card_sha256 != generator.card_sha256:
        made = f"the drag was made with {recipe.generator!r:.80} of the card {recipe.card_sha256[:12] or 'none'}"
        raise RangeError(f"{made}, and this generator has {generator.card_sha256[:12] or 'none'}. Load that one.")


def _read_start(file: TensorFile, start: Start, generator: Generator) -> Tensor:
    """Read the styles that a session began with, and insist that they are those of its recipe."""
    styles = _checked_start(file.load(START), generator, file.path)
    if start.seed is None:
        if hash_tensor(styles) != start.latent_sha256:
            raise FormatError(file.path, "begins with other styles than its recipe says", remedy=REMEDY)
    elif not torch.allclose(styles, start_styles(generator, start), rtol=NEAR, atol=NEAR):
        raise RangeError(f"{file.path}: this generator makes other styles of seed {start.seed}. Load that of the drag.")
    return styles


def _checked_start(w_plus: Tensor, generator: Generator, path: Path) -> Tensor:
    wanted = (1, generator.styles, generator.w_width)
    if tuple(w_plus.shape) != wanted or w_plus.dtype != torch.float32 or not bool(torch.isfinite(w_plus).all()):
        found = f"{w_plus.dtype} {list(w_plus.shape)}"
        raise RangeError(f"{path}: styles are {found}; this generator takes finite torch.float32 {list(wanted)}.")
    return w_plus.to(generator.w_mean.device)
