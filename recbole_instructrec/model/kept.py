"""What is computed from weights alone, kept from one request to the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class Kept:
    """Tensors that depend on the weights of a module alone, computed again when these have changed.

    Notes
    -----
    Weights are the same when they lie at the same place and torch has counted no
    change in place; optimizers and ``load_state_dict`` are counted, writing to
    ``weight.data`` is not. So nothing is kept in training mode or with gradients,
    and a model that changes its mode calls :meth:`forget`.
    """

    def __init__(self) -> None:
        self._of: tuple[Any, ...] = ()
        self._value: tuple[torch.Tensor, ...] | None = None

    def forget(self) -> None:
        """Compute again next time."""
        self._value = None

    def __call__(
        self, module: nn.Module, compute: Callable[[], tuple[torch.Tensor, torch.Tensor]]
    ) -> tuple[torch.Tensor, ...]:
        """The tensors of a module.

        Parameters
        ----------
        module : Module
            What they depend on.
        compute : callable
            Makes them; takes nothing.

        Returns
        -------
        tuple of Tensor
            To be read only.
        """
        weights = [*module.parameters(), *module.buffers()]
        if module.training or torch.is_grad_enabled() or any(weight.is_inference() for weight in weights):
            self.forget()
            return compute()
        # Under autocast the numbers are others.
        now = (torch.is_autocast_enabled(weights[0].device.type), *((w.data_ptr(), w._version) for w in weights))
        if self._value is None or now != self._of:
            self._of, self._value = now, compute()
        return self._value
