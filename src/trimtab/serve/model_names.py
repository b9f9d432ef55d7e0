"""The names under which the base and each adapter answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trimtab.core.errors import did_you_mean
from trimtab.serve.api_error import ApiError

SEPARATOR = ":"


@dataclass(frozen=True)
class ModelNames:
    """One base and its adapters.

    Attributes:
        base: name of the model; its adapters are ``base:adapter``.
        adapters: names that the decoder knows.
    """

    base: str
    adapters: Sequence[str] = ()

    def all(self) -> list[str]:
        """List the names, the base first."""
        return [self.base, *(self.base + SEPARATOR + adapter for adapter in self.adapters)]

    def adapter_of(self, model: str) -> str | None:
        """Give the adapter that a name means, None for the base.

        Raises:
            ApiError: 404, there is no such model.
        """
        return dict(zip(self.all(), [None, *self.adapters], strict=True))[self.check(model)]

    def check(self, model: str) -> str:
        """Give the name back.

        Raises:
            ApiError: 404, there is no such model.
        """
        if model not in self.all():
            message = f"model {model!r:.200} is not served here. {did_you_mean(model, self.all())}"
            raise ApiError(404, message, param="model", code="model_not_found")
        return model
