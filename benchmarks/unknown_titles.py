"""What is heard in titles that a catalogue does not have: "films like Zorgon".

The titles of another data set (``--items``, an atomic file with titles and genres, such as ml-1m's) that the catalogue
of ``--checkpoint`` lacks: how often a genre is heard in "films like TITLE", and how often it is one of the film. Titles
that name a genre are left out. Then what is heard in names that everybody knows, to be judged by eye.
"""

from __future__ import annotations

from collections import Counter

import pandas as pd

from benchmarks.common import record, start, table

# The last is made up.
NAMES = [
    *["Hitchcock", "Disney", "Pixar", "Tarantino", "Tolkien", "Agatha Christie"],
    *["Stephen King", "Charlie Chaplin", "John Wayne", "James Bond", "Bruce Lee", "Monty Python"],
    *["Jane Austen", "Sherlock Holmes", "Indiana Jones", "Mel Brooks", "Woody Allen", "Spielberg"],
    *["Kubrick", "Godzilla", "Star Trek", "Batman", "Sergio Leone", "Shakespeare"],
    *["Rambo", "Tom and Jerry", "Friday the 13th", "The Lord of the Rings", "Harry Potter", "Zorgon"],
]

_SURE = 0.95


def main() -> None:
    args = start(__doc__ or "", checkpoint="saved", items="dataset/ml-1m/ml-1m.item")
    from recbole_instructrec.live.catalogue import as_spoken
    from recbole_instructrec.live.followups import bare_title
    from recbole_instructrec.live.recommender import Recommender

    served = Recommender.load(args.checkpoint, ":memory:")
    model, catalogue = served.model, served.catalogue
    genres = {name for name in catalogue.attribute_names if not name[0].isdigit()}
    columns = pd.read_csv(args.items, sep="\t", dtype=str, encoding="utf-8").rename(
        columns=lambda name: name.split(":")[0]
    )
    films = zip(map(as_spoken, columns.iloc[:, 1]), columns.iloc[:, -1].str.split(), strict=True)
    absent = [(title, set(own)) for title, own in films if "(" not in title and not catalogue.titled(bare_title(title))]

    def heard(titles: list[str]) -> list[list[tuple[str, float]]]:
        found = []
        for begin in range(0, len(titles), 64):
            said = model.hear([f"films like {title}" for title in titles[begin : begin + 64]])
            wanted = [[one for one in told.asked if one.sign == "want"] for told in model.understood(said)]
            found += [[(w.attribute, w.confidence) for w in one if w.attribute in genres] for one in wanted]
        return found

    plain = [(title, own) for title, own in absent if not any(g.lower().rstrip("'s") in title.lower() for g in genres)]
    found = heard([title for title, _ in plain])
    right = [(c, g in own) for (_, own), one in zip(plain, found, strict=True) for g, c in one]
    sure = [fits for confidence, fits in right if confidence >= _SURE]
    most, n = Counter(genre for _, own in absent for genre in own).most_common(1)[0]
    figures = {
        "titles": len(absent),
        "naming no genre": len(plain),
        "with a genre heard": round(sum(map(bool, found)) / len(plain), 3),
        "right": round(sum(fits for _, fits in right) / len(right), 3),
        "right of the sure": round(sum(sure) / len(sure), 3),
        f"share of {most}": round(n / len(absent), 3),
    }
    table(("of titles that are not there", ""), figures.items())
    told = [(name, ", ".join(genre for genre, _ in one)) for name, one in zip(NAMES, heard(NAMES), strict=True)]
    table(("name", "heard"), told)
    record("unknown_titles", {"dataset": served.dataset.dataset_name, **figures, "names": dict(told)})


if __name__ == "__main__":
    main()
