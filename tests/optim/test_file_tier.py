"""The file behind main memory."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from trimtab.core.errors import ResourceError
from trimtab.optim import PagedAdamW
from trimtab.optim.file_tier import CpuFileTier


@contextmanager
def _largest_file(size_bytes: int) -> Iterator[None]:
    """Let the system refuse longer files, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_pages_go_to_the_file_and_come_back(tmp_path: Path) -> None:
    tier = CpuFileTier(tmp_path)
    tier.reserve([100, 50])
    frame = tier.allocate(100)
    frame.copy_(torch.arange(100, dtype=torch.uint8))
    tier.wait(tier.copy_out(1, frame))
    frame.zero_()
    tier.wait(tier.copy_in(1, frame))
    assert frame.tolist() == [*range(50), *[0] * 50]
    tier.close()


def test_pages_that_were_never_stored_are_zeros(tmp_path: Path) -> None:
    tier = CpuFileTier(tmp_path)
    tier.reserve([64, 64])
    frame = tier.allocate(64).add_(7)
    tier.wait(tier.copy_in(1, frame))
    assert not frame.any()
    tier.close()


def test_the_file_has_no_name_so_that_it_vanishes_with_the_process(tmp_path: Path) -> None:
    tier = CpuFileTier(tmp_path / "pages")
    tier.reserve([1 << 16])
    assert list((tmp_path / "pages").iterdir()) == []
    tier.close()


def test_the_file_takes_its_space_at_once(tmp_path: Path) -> None:
    tier = CpuFileTier(tmp_path)
    tier.reserve([1 << 20])
    assert os.fstat(tier._file).st_blocks * 512 >= 1 << 20
    tier.close()


def test_a_disk_without_room_is_refused_with_the_folder_and_the_size(tmp_path: Path) -> None:
    with _largest_file(10_000), pytest.raises(ResourceError, match=f"20,000 bytes.*{tmp_path.name}"):
        CpuFileTier(tmp_path).reserve([20_000])


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="page_folder"):
        CpuFileTier(tmp_path / "file" / "pages").reserve([10])


def test_after_a_failed_write_the_queue_behind_it_fails_untried(tmp_path: Path) -> None:
    tier = CpuFileTier(tmp_path)
    tier.reserve([100, 100])
    frame = torch.ones(100, dtype=torch.uint8)
    with _largest_file(50):
        copies = [tier.copy_out(0, frame), tier.copy_in(1, frame)]
        for copy in copies:
            with pytest.raises(ResourceError):
                tier.wait(copy)
    assert frame.all()
    tier.recover()
    tier.wait(tier.copy_out(0, frame))
    tier.close()


def test_dropping_the_optimizer_closes_the_file(tmp_path: Path) -> None:
    def step_once() -> None:
        param = torch.nn.Parameter(torch.ones(10_000))
        param.grad = torch.ones(10_000)
        PagedAdamW([param], budget_bytes=9000, page_folder=tmp_path).step()

    step_once()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        step_once()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_tens_of_thousands_of_pages_are_laid_out_at_once(tmp_path: Path) -> None:
    tier, began = CpuFileTier(tmp_path), time.process_time()
    tier.reserve([8] * 40_000)
    assert time.process_time() - began < 1.0
    tier.close()
