"""Adapters of low rank that a packaged reader brings for its encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import nn


class LowRank:
    """What a few numbers add to the weights of a transformer: ``W + B A``.

    Parameters
    ----------
    parts : mapping
        ``<name of the weight>.a`` ``[rank, in]`` and ``<name of the weight>.b`` ``[out, rank]``.

    References
    ----------
    Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022.
    """

    def __init__(self, parts: Mapping[str, torch.Tensor]) -> None:
        self._parts = parts

    @staticmethod
    def of_peft(model: nn.Module) -> dict[str, torch.Tensor]:
        """The parts of a model of the peft library, its scale within them.

        Parameters
        ----------
        model : Module
            With LoRA adapters of one name, ``default``.
        """
        parts: dict[str, torch.Tensor] = {}
        for name, module in model.named_modules():
            scale = getattr(module, "scaling", {}).get("default") if hasattr(module, "lora_A") else None
            if scale is not None:
                weight = name.removeprefix("base_model.model.") + ".weight"
                parts[f"{weight}.a"] = module.lora_A["default"].weight.detach().clone()
                parts[f"{weight}.b"] = module.lora_B["default"].weight.detach().clone() * scale
        return parts

    @property
    def fingerprint(self) -> str:
        """Hash of the numbers."""
        digest = hashlib.sha256()
        for name in sorted(self._parts):
            digest.update(name.encode() + self._parts[name].contiguous().numpy().tobytes())
        return digest.hexdigest()

    @torch.no_grad()
    def add_to(self, model: nn.Module) -> None:
        """Add what was learned to the weights of a transformer, in place.

        Raises
        ------
        KeyError
            When the transformer has no weight of a name.
        """
        weights = dict(model.named_parameters())
        for name in (part.removesuffix(".a") for part in self._parts if part.endswith(".a")):
            weights[name].add_(self._parts[f"{name}.b"].float() @ self._parts[f"{name}.a"].float())
