"""AdamW whose state takes 32 or 8 bits and may be larger than the memory it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import torch
from torch import Tensor

from trimtab.core.errors import CheckpointError, RangeError, ResourceError, UsageError
from trimtab.kernels.ops.optimizer import adamw_, adamw_numbers
from trimtab.optim.checks import check_dtypes, check_settings
from trimtab.optim.file_tier import CpuFileTier
from trimtab.optim.flat_state import flatten, unflatten
from trimtab.optim.gpu_tier import GpuHostTier
from trimtab.optim.layout import kind_of
from trimtab.optim.paged_state import Memory, PagedState
from trimtab.optim.planning import Batch, Plan, plan_step
from trimtab.optim.tiers import Tier

Params: TypeAlias = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]


@dataclass(frozen=True)
class PageOptions:
    """What hardly anybody sets.

    Attributes:
        page_bytes: size of a page; None: chosen from the budget.
        tier: makes the memory tier of a device; None: a file for the CPU, pinned host memory for a GPU.
    """

    page_bytes: int | None = None
    tier: Callable[[torch.device], Tier] | None = None


class PagedAdamW(torch.optim.Optimizer):
    """AdamW for any module in any loop; as fast as memory allows, and right however little there is.

    Decay is decoupled and comes first, and eps is added to the corrected root, as in ``torch.optim.AdamW``. With
    ``bits=8`` both averages are kept in blocks of 256 codes of the dynamic map, in bitsandbytes' layout; parameters
    under 4096 elements keep 32-bit state. The numbers do not depend on the budget, to the last bit.

    Source: arXiv:1711.05101 (AdamW), arXiv:2110.02861 (8-bit state), arXiv:2305.14314 section 3 (paging).
    """

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        bits: int = 32,
        budget_bytes: int | None = None,
        page_folder: Path | None = None,
        options: PageOptions | None = None,
    ) -> None:
        """Prepare to step ``params``; memory for the state is taken at the first step.

        Args:
            params: parameters, named parameters or groups, as torch's own optimizers take.
            lr: learning rate, 0 or more.
            betas: shares that the two averages keep at each step, from 0 to below 1.
            eps: 0 or more.
            weight_decay: share of each weight taken off per step, times ``lr``.
            bits: 32 or 8.
            budget_bytes: memory for the state on each device; None: as much as there is.
            page_folder: where pages go that do not fit (CPU), on a disk; the system's temporary folder if None.
            options: page size and memory tier.

        Raises:
            RangeError: a setting or a parameter is not allowed.
        """
        check_settings(lr, betas, eps=eps, weight_decay=weight_decay, bits=bits)
        options = options or PageOptions()
        tier = options.tier or (lambda device: _tier(device, page_folder))
        self.bits = bits
        self._memory = Memory(tier, budget_bytes, options.page_bytes)
        self._pages: PagedState | None = None
        self._flat: list[tuple[int, Tensor]] = []  # (group, parameter), in the order of the groups
        self._steps: list[int] = []
        self._plan = Plan([], {})
        self._torn = False
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Step every parameter that has a gradient.

        Raises:
            ResourceError: not even one page fits, or what does not fit cannot be stored outside. Where this shows
                before anything is stepped, nothing has changed; else a checkpoint must be loaded to go on.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        pages = self._opened()
        pages.prepare()
        grads = self._gradients(pages)
        plan = self._planned(pages, list(grads))
        self._torn = True
        for index in plan.active:
            self._steps[index] += 1
        for device, batches in plan.batches.items():
            for _, page, parts in pages.shelves[device].visit(list(batches)):
                for batch in batches[page]:
                    self._run(batch, parts, grads)
        self._torn = False
        return loss

    @property
    def resident_bytes(self) -> int:
        """Memory that the state takes now, on all devices; what lies outside does not count."""
        return sum(shelf.store.resident_bytes for shelf in self._pages.shelves.values()) if self._pages else 0

    @property
    def page_exchanges(self) -> int:
        """How many pages have taken the place of another so far; 0 where all fit."""
        return sum(shelf.store.exchanges for shelf in self._pages.shelves.values()) if self._pages else 0

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters; what was learned about the others stays.

        Raises:
            RangeError: a parameter's type is not allowed; nothing has changed.
            ResourceError: the state cannot be kept; where that shows late, a checkpoint must be loaded to go on.
        """
        super().add_param_group(param_group)
        try:
            params = [param for group in self.param_groups for param in group["params"]]
            check_dtypes(zip(self._names(), params, strict=True))
            kept = self._read() if self._pages is not None else {}
        except BaseException:
            self.param_groups.pop()
            raise
        self.close()
        self._flat = [(number, param) for number, group in enumerate(self.param_groups) for param in group["params"]]
        self._steps += [0] * (len(self._flat) - len(self._steps))
        if kept:
            pages = self._opened()
            self._torn = True  # until all is back
            pages.write(kept)
            self._torn = False

    def close(self) -> None:
        """Give memory and page file back; the state is lost."""
        if self._pages is not None:
            self._pages.close()
        self._pages = None
        self._plan = Plan([], {})

    def state_dict(self) -> dict[str, Any]:
        """Give the state in torch's form, on the CPU: of 32-bit state ``torch.optim.AdamW`` reads it too."""
        packed: dict[str, Any] = super().state_dict()
        packed["state"] = {
            index: {"step": torch.tensor(float(self._steps[index])), **parts} for index, parts in self._read().items()
        }
        return packed

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what ``state_dict`` gave, or that of ``torch.optim.AdamW`` where all state is 32-bit.

        Raises:
            CheckpointError: it belongs to other parameters or to another number of bits.
        """
        for group in state_dict["param_groups"]:
            if group.get("amsgrad") or group.get("maximize"):
                raise CheckpointError("The state was made with amsgrad or maximize. Allowed: plain AdamW.")
        super().load_state_dict({"state": {}, "param_groups": state_dict["param_groups"]})
        states = {int(index): dict(parts) for index, parts in state_dict["state"].items()}
        steps = {index: int(parts.pop("step")) for index, parts in states.items()}
        self._replace(states, [steps.get(index, 0) for index in range(len(self._flat))])

    def tensors(self) -> dict[str, Tensor]:
        """Give the state as flat named tensors for a checkpoint: ``<parameter>.step``, ``<parameter>.exp_avg``, ..."""
        return flatten(self._names(), self._steps, self._read())

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take what ``tensors`` gave; nothing may be missing or left over.

        Raises:
            CheckpointError: it belongs to other parameters or to another number of bits.
        """
        steps, states = unflatten(self._names(), tensors)
        self._replace(states, steps)

    def __getstate__(self) -> NoReturn:
        """Refuse to be copied or pickled, which would leave the pages behind."""
        raise UsageError("PagedAdamW cannot be copied or pickled. Save state_dict() or tensors() and load it again.")

    def _names(self) -> list[str]:
        given = [name for group in self.param_groups for name in group.get("param_names", group["params"])]
        return [name if isinstance(name, str) else str(index) for index, name in enumerate(given)]

    def _opened(self) -> PagedState:
        if self._torn:
            raise ResourceError(
                "The last optimizer step, or adding parameters to it, stopped half-way, so that some of the state is "
                "not what the others' is. Load the last checkpoint (weights and optimizer) to go on."
            )
        params = [param for _, param in self._flat]
        if self._pages is not None and not any(self._steps) and not all(map(self._pages.knows, count(), params)):
            self.close()
        if self._pages is None:
            self._pages = PagedState(params, [kind_of(self.bits, param.numel()) for param in params], self._memory)
        return self._pages

    def _read(self) -> dict[int, dict[str, Tensor]]:
        return self._opened().read([index for index, step in enumerate(self._steps) if step > 0])

    def _replace(self, states: dict[int, dict[str, Tensor]], steps: list[int]) -> None:
        self._torn = False
        pages = self._opened()
        for index, name in enumerate(self._names()):
            wanted = pages.shapes_of(index) if steps[index] > 0 else {}
            given = {part: tuple(tensor.shape) for part, tensor in states.get(index, {}).items()}
            if wanted != given:
                raise CheckpointError(
                    f"The optimizer state of parameter {name} is {given}, but {wanted} is needed (bits={self.bits}). "
                    "Load the state of the same parameters and bits, or start a new run."
                )
        self.close()
        self._steps = steps
        self._opened().write(states)

    def _gradients(self, pages: PagedState) -> dict[int, Tensor]:
        grads = {}
        for index, (_, param) in enumerate(self._flat):
            grad = param.grad
            if grad is None:
                continue
            if not pages.knows(index, param):
                raise UsageError(
                    f"Parameter {self._names()[index]} was moved or converted after the first step. Take tensors() "
                    "before and load_tensors() into a new optimizer afterwards."
                )
            if grad.layout != torch.strided or grad.dtype != param.dtype:
                raise RangeError(
                    f"The gradient of parameter {self._names()[index]} is {grad.dtype}, {grad.layout}. "
                    f"Allowed: {param.dtype} and dense."
                )
            grads[index] = grad.contiguous()
        return grads

    def _planned(self, pages: PagedState, active: list[int]) -> Plan:
        if active != self._plan.active:
            by_device = {device: shelf.pages for device, shelf in pages.shelves.items()}
            self._plan = plan_step(active, by_device, self._flat, self._steps)
        return self._plan

    def _run(self, batch: Batch, parts: list[Tensor], grads: dict[int, Tensor]) -> None:
        group = self.param_groups[batch.group]
        numbers = adamw_numbers(
            float(group["lr"]), group["betas"], group["eps"], group["weight_decay"], self._steps[batch.params[0]]
        )
        params = [self._flat[index][1] for index in batch.params]
        flat = [param.contiguous() for param in params]
        adamw_(flat, [grads[index] for index in batch.params], parts, slices=batch.slices, numbers=numbers)
        for param, stepped in zip(params, flat, strict=True):
            if stepped is not param:
                param.copy_(stepped)


def _tier(device: torch.device, folder: Path | None) -> Tier:
    if device.type == "cuda":
        return GpuHostTier(device)
    if device.type == "cpu":
        return CpuFileTier(folder)
    raise RangeError(f"Parameters on {device} cannot be stepped. Allowed: cpu, cuda. Move the model first.")
