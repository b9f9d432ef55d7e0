"""The host memory behind a GPU, on the CPU with an injected device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from trimtab.optim import PagedAdamW
from trimtab.optim.gpu_tier import GpuHostTier
from trimtab.optim.pages import PageStore

CPU = torch.device("cpu")


class FakeCuda:
    """Streams and events that record what is asked of them; copies themselves run at once on the CPU."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.current = SimpleNamespace(wait_event=lambda event: self.log.append(f"main waits for {event.name}"))

    def Stream(self, device: torch.device) -> Any:
        return SimpleNamespace(name="side", wait_stream=lambda other: self.log.append("side waits for main"))

    def Event(self) -> Any:
        event = SimpleNamespace(name=f"event {sum('record' in line for line in self.log)}")
        event.record = lambda stream: self.log.append(f"{stream.name} records {event.name}")
        return event

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        self.log.append(f"copy on {stream.name}")
        yield

    def current_stream(self, device: torch.device) -> Any:
        return self.current

    def synchronize(self, device: torch.device) -> None:
        self.log.append("synchronize")


def test_a_copy_waits_for_earlier_work_and_later_work_waits_for_the_copy() -> None:
    cuda = FakeCuda()
    tier = GpuHostTier(CPU, cuda)
    tier.reserve([8])
    tier.wait(tier.copy_out(0, tier.allocate(8)))
    order = ["side waits for main", "copy on side", "side records event 0", "main waits for event 0"]
    assert cuda.log == order


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_pages_behind_a_gpu_keep_what_was_written(frames: int) -> None:
    store = PageStore([16] * 5, GpuHostTier(CPU, FakeCuda()), budget_bytes=16 * frames)
    for _ in range(3):
        for page, frame in store.visit(range(5)):
            frame.add_(page)
    assert [int(frame[0]) for _, frame in store.visit(range(5), writes=False)] == [0, 3, 6, 9, 12]
    store.close()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_paging_on_a_real_gpu_gives_the_same_bits() -> None:
    found = []
    for budget in (None, 40_000):
        torch.manual_seed(0)
        param = torch.nn.Parameter(torch.randn(50_000, device="cuda"))
        optimizer = PagedAdamW([param], budget_bytes=budget)
        for _ in range(4):
            param.grad = torch.sin(param.detach() * 9)
            optimizer.step()
        found.append(param.detach().cpu())
    assert torch.equal(*found)
