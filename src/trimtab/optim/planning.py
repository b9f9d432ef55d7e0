"""Which calls one step consists of: segments of pages, grouped by what they share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trimtab.optim.layout import Page, Segment


@dataclass(frozen=True)
class Batch:
    """Segments of one page that one call steps: of one group, one step count and one type.

    Attributes:
        group: number of the parameter group.
        params: indices of the parameters.
        slices: as ``adamw_`` takes them, the first column counting in ``params``.
    """

    group: int
    params: tuple[int, ...]
    slices: Tensor


@dataclass(frozen=True)
class Plan:
    """The batches of each page, for one set of parameters that have gradients.

    It stays right as long as the same parameters have gradients at every step, since all their counts then rise
    together.
    """

    active: list[int]
    batches: dict[torch.device, dict[int, list[Batch]]]


def plan_step(
    active: list[int], pages: dict[torch.device, list[Page]], flat: list[tuple[int, Tensor]], steps: list[int]
) -> Plan:
    """Group the segments of the active parameters.

    Args:
        active: indices of the parameters that have gradients.
        pages: the pages of each device.
        flat: group and parameter, by index.
        steps: step count of each parameter before this step.
    """
    wanted = set(active)
    batches: dict[torch.device, dict[int, list[Batch]]] = {}
    for device, shelf in pages.items():
        found = {number: _batches(page, wanted, flat, steps) for number, page in enumerate(shelf)}
        batches[device] = {number: some for number, some in found.items() if some}
    return Plan(active, batches)


def _batches(page: Page, wanted: set[int], flat: list[tuple[int, Tensor]], steps: list[int]) -> list[Batch]:
    alike: dict[tuple[int, int, torch.dtype], list[Segment]] = {}
    for segment in page.segments:
        if segment.param in wanted:
            group, param = flat[segment.param]
            alike.setdefault((group, steps[segment.param], param.dtype), []).append(segment)
    return [_batch(group, segments) for (group, _, _), segments in alike.items()]


def _batch(group: int, segments: list[Segment]) -> Batch:
    params = tuple(dict.fromkeys(segment.param for segment in segments))
    place = {param: index for index, param in enumerate(params)}
    rows = [(place[one.param], one.start, one.at, one.length) for one in segments]
    return Batch(group, params, torch.tensor(rows, dtype=torch.int64))
