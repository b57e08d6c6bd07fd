"""Does reading in bfloat16 change what is understood?

All requests without the attribute's own words (``steering/paraphrases.yaml``) and made ones, read by a checkpoint in
float32 and in bfloat16: the share that is understood exactly alike, and, of the former, the share in which the
attribute is found.
"""

from __future__ import annotations

import numpy as np
import yaml

from benchmarks.common import record, start, table
from benchmarks.latency import new_texts


def main() -> None:
    args = start(__doc__ or "", checkpoint="saved", made=600, seed=2020)
    from recbole_instructrec.live.loading import load
    from recbole_instructrec.steering.requests import PARAPHRASES

    _, model, _, _ = load(args.checkpoint)
    parts = yaml.safe_load(PARAPHRASES.read_text(encoding="utf-8")).values()
    wanted = [(text, attribute) for part in parts for attribute, texts in part.items() for text in texts]
    texts = [text for text, _ in wanted] + new_texts(args.made, 5, 25, np.random.default_rng(args.seed))
    read, rows = {}, []
    for name, low in (("float32", False), ("bfloat16", True)):
        model.low_precision = low
        read[name] = [
            {(one.attribute, one.sign) for one in found.asked} for found in model.understood(model.hear(texts))
        ]
        hits = [
            any(sign == "want" and attribute.lower() == about for attribute, sign in found)
            for found, (_, about) in zip(read[name], wanted, strict=False)
        ]
        rows.append((name, f"{np.mean(hits):.4f}"))
    alike = float(np.mean([one == other for one, other in zip(*read.values(), strict=True)]))
    table(("read in", f"attribute found, of {len(wanted)}"), rows)
    print(f"{alike:.4f} of {len(texts)} requests are understood exactly alike")
    record(
        "precision",
        {"requests": len(texts), "hard": len(wanted), "found": dict(rows), "alike": alike, "seed": args.seed},
    )


if __name__ == "__main__":
    main()
