"""Where work runs and where things are kept: the only module that reads environment variables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.core.errors import RangeError

if TYPE_CHECKING:
    import torch

HOME_VARIABLE = "TRIMTAB_HOME"
KERNELS_VARIABLE = "TRIMTAB_KERNELS"


def home() -> Path:
    """Give the folder of the model store: ``TRIMTAB_HOME``, else ``trimtab`` under the user's data folder."""
    if given := os.environ.get(HOME_VARIABLE):
        return Path(given).expanduser()
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "trimtab"


def forced_kernels() -> str | None:
    """Give the implementation that ``TRIMTAB_KERNELS`` asks for ("auto", "reference", "cpu"), or None."""
    return os.environ.get(KERNELS_VARIABLE) or None


def work_offline() -> None:
    """Tell the Hugging Face libraries to ask no server; local files are then the only source."""
    os.environ["HF_HUB_OFFLINE"] = "1"


def pick(name: str = "auto") -> torch.device:
    """Choose a device.

    Args:
        name: "auto" (a GPU where there is one, else the CPU), or any name that ``torch.device`` takes.

    Raises:
        RangeError: the name is unknown, or no such device is present.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise RangeError(f"--device {name}: not a device. Allowed: auto, cpu, cuda, cuda:N.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RangeError(f"--device {name}: torch sees no GPU here. Allowed on this machine: auto, cpu.")
    return device
