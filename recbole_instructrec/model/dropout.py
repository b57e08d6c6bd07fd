"""Dropout whose masks are drawn eight at a time on a CPU."""

from __future__ import annotations

import torch
from torch import nn


class Dropout(nn.Dropout):
    """Dropout, with masks that take less time to draw than torch's on a CPU.

    torch draws a random number for each element there; here each random 64-bit
    word decides for eight. The share that is dropped is a multiple of 1/256, and
    what is kept is scaled by just that. On other devices it is torch's own.

    References
    ----------
    Srivastava et al., Dropout: A Simple Way to Prevent Neural Networks from
    Overfitting, JMLR 2014.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Any shape to the same."""
        dropped = round(256 * self.p)
        if not self.training or not 0 < dropped < 256 or input.device.type != "cpu":
            return super().forward(input)
        words = torch.empty(-(-input.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
        keep = words.view(torch.uint8)[: input.numel()].view(input.shape) >= dropped
        return input * keep.to(input.dtype).mul_(256 / (256 - dropped))
