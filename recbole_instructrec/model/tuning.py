"""How much of a pretrained transformer is trained with the recommender (``encoder_tuning``)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

#: Ways to train the transformer that reads instructions; ``frozen`` does not.
TUNINGS = ("full", "lora", "adalora")

PEFT_INSTALL = "pip install -c constraints.txt -e '.[tuning]'"

# Share of the steps with all ranks, and at the end with the ranks that were kept.
_WARM, _SETTLED = 0.1, 0.3

# What peft's allocator of ranks remembers: sensitivities of the weights, and their averages.
_IMPORTANCE = ("ipt", "exp_avg_ipt", "exp_avg_unc")


class TunedTransformer(nn.Module):
    """A transformer whose weights, or adapters of them, are trained.

    Parameters
    ----------
    model : Module
        Of the transformers library, without a head.
    tuning : {"full", "lora", "adalora"}
        All weights, or adapters of low rank in all linear layers of the blocks.
    rank : int
        Of the adapters; with adalora the mean over the layers in the end.

    Raises
    ------
    ValueError
        For another tuning, and when adapters are asked for without the peft library.

    References
    ----------
    Hu et al., LoRA, ICLR 2022; Zhang et al., AdaLoRA, ICLR 2023.
    """

    def __init__(self, model: nn.Module, tuning: str, rank: int) -> None:
        super().__init__()
        self._step = 0
        self._adaptive: Any = None
        if tuning == "full":
            self.model = model.requires_grad_(True)
            return
        if tuning not in TUNINGS:
            raise ValueError(f"encoder_tuning must be frozen, {', '.join(TUNINGS)}, not {tuning!r}.")
        try:
            import peft
        except ImportError:
            raise ValueError(
                f"encoder_tuning: {tuning} needs the peft library. Install it with: {PEFT_INSTALL}"
            ) from None
        shared: dict[str, Any] = {"target_modules": "all-linear", "lora_dropout": 0.05, "lora_alpha": 2 * rank}
        if tuning == "lora":
            self.model = peft.get_peft_model(model, peft.LoraConfig(r=rank, **shared))
        else:
            # The number of steps is told when training starts.
            settings = peft.AdaLoraConfig(init_r=rank + rank // 2, target_r=rank, total_step=10, **shared)
            self.model = peft.get_peft_model(model, settings)
            self._adaptive = self.model.base_model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """States of the last layer, ``[n, n_tokens, size]``."""
        return self.model(input_ids=ids, attention_mask=mask).last_hidden_state

    def start_training(self, n_steps: int) -> None:
        """Plan the ranks of adalora over the steps to come."""
        if self._adaptive is None:
            return
        settings = self._settings
        settings.tinit, settings.tfinal = int(_WARM * n_steps), int(_SETTLED * n_steps)
        settings.deltaT = max(1, n_steps // 200)
        settings.total_step = n_steps
        self._adaptive.rankallocator.set_total_step(n_steps)

    def after_step(self) -> None:
        """Move ranks to the layers that need them: after a step, before gradients are forgotten."""
        if self._adaptive is not None:
            self._step += 1
            for parameter in self.parameters():  # a batch in which nobody said anything gives none
                if parameter.requires_grad and parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            self._adaptive.update_and_allocate(self._step)

    def penalty(self) -> torch.Tensor | None:
        """Adalora's regulariser, the distance of its factors from orthogonal ones (equation 4); None for the others."""
        if self._adaptive is None:
            return None
        distances = []
        for name, factor in self._adaptive.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                product = factor @ factor.T if "lora_A" in name else factor.T @ factor
                distances.append((product - torch.eye(len(product), device=product.device)).norm())
        weight = self._settings.orth_reg_weight
        return weight * torch.stack(distances).mean()

    def get_extra_state(self) -> dict[str, Any]:
        """Steps done and what adalora knows of the importance of ranks: a resumed training goes on with the same."""
        state: dict[str, Any] = {"step": self._step}
        if self._adaptive is not None:
            state["ranks"] = self._settings.rank_pattern
            for name in _IMPORTANCE:
                state[name] = dict(getattr(self._adaptive.rankallocator, name))
        return state

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Counterpart of :meth:`get_extra_state`."""
        self._step = int(state["step"])
        if self._adaptive is not None and "ranks" in state:
            self._settings.rank_pattern = state["ranks"]
            for name in _IMPORTANCE:
                setattr(self._adaptive.rankallocator, name, dict(state[name]))

    @property
    def _settings(self) -> Any:
        return self._adaptive.peft_config[self._adaptive.trainable_adapter_name]
