"""Give the reader that comes with the package the memory of the requests that it was taught with.

    python tools/teach_reader.py        # first, where the words have changed
    python tools/remember_requests.py

Remembered are the requests that speak of an attribute without its name, as the reader's encoder has them, but for
those that are near one that is measured with: what is looked up there would tell nothing. How they are weighed against
the reader is learned from requests that readers are chosen by (benchmarks/unnamed_dev.yaml, two of them in one, and
sentences that ask for nothing): seven numbers, by logistic regression.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import numpy as np
import torch
import yaml
from sklearn.linear_model import LogisticRegression

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.reading import composed, nothing_asked, unnamed
from recbole_instructrec.checkpoint import save_atomically
from recbole_instructrec.data.instructions.wish import Wish
from recbole_instructrec.data.instructions.words import Templates
from recbole_instructrec.environment import source
from recbole_instructrec.model.intent import Intent, Wishes
from recbole_instructrec.model.reading.memory import Judgement, RequestMemory, whole_of
from recbole_instructrec.model.reading.reader import vectors_of_names
from recbole_instructrec.model.reading.readers import Encoder, file_of, packaged, reader_of
from recbole_instructrec.model.text import PACKAGED_NAME
from recbole_instructrec.model.text_vectors import FrozenTextEncoder
from recbole_instructrec.steering.requests import PARAPHRASES

# Attributes of films beside the genres, which no request is remembered of.
_DECADES = ["1930s", "1940s", "1950s", "1960s", "1970s", "1980s", "1990s"]

# The reader is believed without a vote above this logit: requests that name what they ask for, or ask for two things,
# lose nothing then.
_SURE = 2.0

# Above this cosine to a measured request one is not remembered.
_NEAR = 0.8

# Of the regressions: nearly none, they have few weights.
_INVERSE_PENALTY = 100.0


def measured() -> list[str]:
    """Requests without their attribute's name that are measured with."""
    sets = yaml.safe_load(PARAPHRASES.read_text(encoding="utf-8"))
    return [text for wordings in sets.values() for texts in wordings.values() for text in texts]


class Reading:
    """The packaged reader, and what it makes of texts.

    Parameters
    ----------
    names : list of str
        Attributes.
    templates : Templates
        Words.
    """

    def __init__(self, names: list[str], templates: Templates) -> None:
        base = FrozenTextEncoder(PACKAGED_NAME, 64)
        self.weights = base.weights
        found = packaged(base.weights, templates.languages)
        if found is None:
            sys.exit("there is no packaged reader: run tools/teach_reader.py first.")
        self.found = found
        self._encoder = FrozenTextEncoder(PACKAGED_NAME, 64, adapter=found["adapter"])
        of = Encoder(base.fingerprint, base.weights, base.size, self._encoder.token_states, base, True)
        self._reader = reader_of(of, templates, names, [], self._encoder.folder)
        self._names = vectors_of_names(names, base)

    @torch.no_grad()
    def read(self, texts: list[str]) -> tuple[Intent, torch.Tensor]:
        """Intents and vectors of texts."""
        flat, whole = [], []
        for begin in range(0, len(texts), 256):
            states = self._encoder.token_states(texts[begin : begin + 256])
            flat.append(self._reader.read(states, self._names)[0].flat())
            whole.append(whole_of(states))
        return Intent.of(torch.cat(flat)), torch.cat(whole)


def regression(features: list[np.ndarray], target: np.ndarray, balanced: bool = False) -> LogisticRegression:
    """Weights and bias of a logistic regression."""
    weight = "balanced" if balanced else None
    learner = LogisticRegression(C=_INVERSE_PENALTY, class_weight=weight, max_iter=5000)
    return learner.fit(np.stack(features, axis=-1), target)


def judged(reading: Reading, names: list[str], templates: Templates, memory: RequestMemory) -> Judgement:
    """How votes are weighed, from requests that readers are chosen by."""
    texts, wishes, _ = (one + two for one, two in zip(unnamed(names), composed(names), strict=True))
    silent, _, _ = nothing_asked(templates, names)
    texts, wishes = texts + silent, wishes + [Wish()] * len(silent)
    intent, whole = reading.read(texts)
    known = Wishes.of(wishes, len(names))
    votes, near, tone = memory.evidence(whole)
    here = memory.is_remembered
    vote = votes[:, here].flatten().numpy()
    nearness = near.expand(-1, int(here.sum())).flatten().numpy()
    present = known.present[:, here].flatten().numpy() > 0
    presence = regression([intent.presence[:, here].flatten().numpy(), vote, nearness], present)
    spoken = (known.present > 0) & here
    tone = tone.expand_as(spoken)
    wanted = known.wanted[spoken].numpy() > 0
    sign = regression([intent.sign[spoken].numpy(), tone[spoken].numpy()], wanted, balanced=True)
    numbers = [*presence.coef_[0], presence.intercept_[0], *sign.coef_[0], sign.intercept_[0], _SURE]
    return Judgement(*[round(float(number), 4) for number in numbers])


def main() -> None:
    """Remember, and write it beside the reader."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    taught_from = source()
    if taught_from["dirty"]:
        sys.exit("the package has changes that no commit holds: commit them first.")
    torch.set_num_threads(args.threads)
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    templates = Templates(["en"])
    requests = templates.requests()
    values = sorted({value for value, _, _ in requests})
    names = [*values, *_DECADES]
    reading = Reading(names, templates)
    _, vectors = reading.read([text for _, _, text in requests])
    near = (vectors @ reading.read(measured())[1].T).amax(1) > _NEAR
    remembered = [request for request, left_out in zip(requests, near.tolist(), strict=True) if not left_out]
    vectors = vectors[~near].half().float()  # as they are stored
    about = torch.tensor([values.index(value) for value, _, _ in remembered])
    wants = np.array([sign == "want" for _, sign, _ in remembered])
    tone = regression(list(vectors.numpy().T), wants, balanced=True)
    weights = torch.from_numpy(np.r_[tone.coef_[0], tone.intercept_[0]]).float()
    nothing = Judgement(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, _SURE)
    memory = RequestMemory(vectors, about, values, weights, nothing, names)
    judgement = judged(reading, names, templates, memory)
    reading.found["memory"] = RequestMemory.plain(vectors, about, values, weights, judgement)
    kept = {"requests": len(remembered), "left_out": len(requests) - len(remembered)}
    reading.found["about"]["memory"] = {**kept, "templates": templates.fingerprint, **taught_from}
    assert reading.weights is not None
    file = file_of(reading.weights, templates.languages)
    save_atomically(reading.found, file)
    logging.info(f"{len(remembered)} requests of {len(values)} attributes remembered in {file}; {judgement}")


if __name__ == "__main__":
    main()
