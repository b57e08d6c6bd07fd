"""What was read out of an instruction, as plain data to show to whoever said it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from recbole_instructrec.data.instructions.wish import LITTLE, NORMAL, ONLY
from recbole_instructrec.model.instructions import Said
from recbole_instructrec.model.intent import Intent

#: An attribute is recognised when it is likelier than not that the instruction speaks of it.
THRESHOLD = 0.5

DEGREES = {LITTLE: "little", NORMAL: "normal", ONLY: "only"}


class Asked(NamedTuple):
    """One attribute that is asked for.

    Attributes
    ----------
    attribute : str
        Its name.
    sign : {"want", "avoid"}
        Which of the two.
    confidence : float
        Probability of that, 0 to 1.
    """

    attribute: str
    sign: str
    confidence: float


class Understood(NamedTuple):
    """What one instruction was understood to say.

    Attributes
    ----------
    asked : list of Asked
        The surest first. An attribute stands there twice, wanted and avoided,
        where that cannot be decided. Who contradicts oneself ("only horror, no
        horror") may be heard on one side alone.
    degree : {"little", "normal", "only"} or None
        How much of it; None when nothing is asked for.
    confidence : float
        Probability of the degree, 0 when there is none.
    cut : bool
        Whether the instruction goes on after what was read of it
        (``max_text_tokens``): what it asks for there is not reported.
    said : bool
        Whether there was anything to read at all.
    """

    asked: list[Asked]
    degree: str | None
    confidence: float
    cut: bool = False
    said: bool = True

    @property
    def nothing(self) -> bool:
        """Whether no attribute was recognised, so that text and behaviour alone rank."""
        return not self.asked


_NOTHING = Understood([], None, 0.0)
_SILENT = _NOTHING._replace(said=False)


def recognised(intent: Intent, threshold: float = THRESHOLD) -> torch.Tensor:
    """Which attributes n instructions speak of, bool, ``[n, n_attributes]``."""
    return torch.sigmoid(intent.presence) > threshold


def silenced(intent: Intent) -> Intent:
    """The same intents, but of an instruction without a recognised attribute no trace is left.

    The scraps of probability that a reader leaves everywhere would else shift the
    list of a request that is about something else altogether.
    """
    keep = recognised(intent).any(1, keepdim=True)
    return intent._replace(presence=torch.where(keep, intent.presence, torch.full_like(intent.presence, -1e4)))


def understood(said: Said, names: Sequence[str], threshold: float = THRESHOLD) -> list[Understood]:
    """What n requests were understood to say.

    Parameters
    ----------
    said : Said
        From :meth:`~recbole_instructrec.model.instructrec.InstructRec.hear`.
    names : sequence of str
        Attributes, ``[n_attributes]``.
    threshold : float
        An attribute is reported when the probability that it is spoken of is
        above this, with each sign whose own probability is at least half of it.

    Returns
    -------
    list of Understood
        One a request.
    """
    lines = [_NOTHING] * len(said.numbers) if said.intent is None else _asked(said.intent, names, threshold)
    if said.cut:
        lines = [one._replace(cut=cut) for one, cut in zip(lines, said.cut, strict=True)]
    return [lines[line] if line >= 0 else _SILENT for line in said.line.tolist()]


def _asked(intent: Intent, names: Sequence[str], threshold: float) -> list[Understood]:
    """What n distinct instructions ask for."""
    intent = Intent(*[logits.detach().float().cpu() for logits in intent])
    spoken = recognised(intent, threshold)
    signs = {"want": intent.wanted, "avoid": intent.avoided}
    likely, degree = torch.softmax(intent.degree, dim=1).max(1)
    lines = []
    for line in range(len(spoken)):
        asked = []
        for attribute in torch.nonzero(spoken[line]).flatten().tolist():
            both = [Asked(names[attribute], sign, float(p[line, attribute])) for sign, p in signs.items()]
            asked += [one for one in both if one.confidence >= threshold / 2]
        asked.sort(key=lambda one: -one.confidence)
        lines.append(Understood(asked, DEGREES[int(degree[line])], float(likely[line])) if asked else _NOTHING)
    return lines
