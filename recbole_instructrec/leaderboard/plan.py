"""Plans: what a published table is made of."""

from __future__ import annotations

import ast
import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from recbole_instructrec.leaderboard.ranks import KNOWN
from recbole_instructrec.options import options as options_of_ours
from recbole_instructrec.options import wrong_values
from recbole_instructrec.report import TOLD
from recbole_instructrec.spelling import did_you_mean

#: Metrics and lists that every run is measured with, unless a plan says otherwise.
MEASURED = {
    "metrics": ["Recall", "NDCG", "MRR"],
    "topk": [5, 10, 20],
    "valid_metric": "NDCG@10",
    # RecBole's protocol for sequential models; its general models would get a random split.
    "eval_args": {
        "split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": {"valid": "full", "test": "full"}
    },
}  # fmt: skip

#: How each run writes: nothing that two runs could disagree about.
QUIET = {"show_progress": False, "metric_decimal_place": 8, "log_wandb": False}

#: What makes lines of a table comparable: a plan sets it for all of them or for none.
PROTOCOL = {
    *MEASURED, "benchmark_filename", "eval_step", "filter_inter_by_user_or_item", "item_inter_num_interval",
    "rm_dup_inter", "user_inter_num_interval", "val_interval", "valid_metric_bigger",
}  # fmt: skip

#: The metric that lines are ordered and compared by.
FIRST = "ndcg@10"

_PLAN_KEYS = {"title", "dataset", "source", "options", "trials", "seeds", "models", "reported", "note", "caveat"}
_MODEL_KEYS = {"model", "options", "search", "trials", "untuned", "seeds", "rows", "sees"}
_REPORTED_KEYS = {"model", "metrics", "source", "note"}
_SEES = "items"


class PlanError(ValueError):
    """A plan cannot be run; the message names everything that is wrong with it."""


@dataclass(frozen=True)
class Entry:
    """One line of a table: a model, and how it is tuned.

    Attributes
    ----------
    name : str
        In the table.
    model : str
        RecBole's name of the model.
    trials : tuple of dict
        Options of each trial, over those that every run of this line has.
    seeds : tuple of int
        Of the runs behind the figures; trials run with the first.
    rows : tuple of str
        Evaluation rows; models other than InstructRec have row ``none`` alone.
    sees : str
        What the model is given beside items and their order.
    untuned : str
        Why there is nothing to search, empty for a line that is searched.
    """

    name: str
    model: str
    trials: tuple[dict[str, Any], ...]
    seeds: tuple[int, ...]
    rows: tuple[str, ...] = ("none",)
    sees: str = _SEES
    untuned: str = ""


@dataclass(frozen=True)
class Plan:
    """A table: one data set, its lines, and the budget that all of them have.

    Attributes
    ----------
    name : str
        Of the file, without its ending.
    title : str
        Of the table.
    dataset : str
        RecBole's name of the data set.
    n_trials : int
        Trials of every line that is searched.
    entries : tuple of Entry
        Lines.
    reported : tuple of dict
        Figures of others: model, metrics, source, note.
    note : str
        Printed under the table.
    source : str
        Where the data set comes from.
    caveat : str
        What keeps a win of this table from being one without more words; marks it wherever it is shown.
    path : str
        Of the file, as commands give it.
    """

    name: str
    title: str
    dataset: str
    n_trials: int
    entries: tuple[Entry, ...]
    reported: tuple[dict[str, Any], ...] = ()
    note: str = ""
    source: str = ""
    caveat: str = ""
    path: str = ""

    @staticmethod
    def read(file: Path, missing: Callable[[str], str] = lambda dataset: "") -> Plan:
        """Read a plan.

        Parameters
        ----------
        file : path
            YAML; docs/leaderboard.md says what stands in it.
        missing : callable
            What is to be said of a data set that is not there, nothing where it is; by default it is not looked for,
            as a report needs none.

        Returns
        -------
        Plan

        Raises
        ------
        PlanError
            Naming everything in the file that is wrong.
        """
        if not file.is_file():
            raise PlanError(f"there is no plan {file}. Plans are YAML files, such as leaderboard/plans/ml-100k.yaml.")
        try:
            content = yaml.load(file.read_text(encoding="utf-8"), _NoRepeatedKeys)
        except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, or a date that there is not
            raise PlanError(f"{file} is not YAML: {error}") from None
        if not isinstance(content, dict):
            raise PlanError(f"{file} holds no settings; it needs the keys {', '.join(sorted(_PLAN_KEYS))}.")
        return _Reader(content).plan(file, missing)

    def with_seeds(self, n: int) -> Plan:
        """The same with the first n seeds of each line at most."""
        return replace(self, entries=tuple(replace(entry, seeds=entry.seeds[:n]) for entry in self.entries))


class _NoRepeatedKeys(yaml.SafeLoader):
    """YAML in which a key that stands twice is a mistake, not the last one's word."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        own = [pair for pair in node.value if pair[0].tag != "tag:yaml.org,2002:merge"]
        seen: set[str] = set()
        for key, _ in own:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key that is no name", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


class _Reader:
    """Turns the content of a file into a plan, and gathers what is wrong on the way."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        self.wrong: list[str] = []

    def plan(self, file: Path, missing: Callable[[str], str]) -> Plan:
        content = self.content
        self._keys(content, _PLAN_KEYS, "the plan")
        dataset, n_trials = content.get("dataset"), content.get("trials", 1)
        if not isinstance(dataset, str):
            self.wrong.append("dataset must be the name of a data set, such as ml-100k")
        if type(n_trials) is not int or n_trials < 1:
            self.wrong.append(f"trials must be a number of at least 1, not {n_trials!r}")
            n_trials = 1
        seeds = self._seeds(content.get("seeds"), "the plan")
        shared = {**MEASURED, **self._options(content.get("options"), "the plan")}
        self._measured(shared)
        models = content.get("models")
        if not isinstance(models, dict) or not models:
            self.wrong.append("models must name at least one line of the table")
            models = {}
        entries = [self._entry(str(name), told, shared, seeds, n_trials) for name, told in models.items()]
        told = content.get("reported") or []
        if not isinstance(told, list):
            self.wrong.append("reported must be a list of figures: model, metrics, source")
            told = []
        reported = [self._reported(one) for one in told]
        self.wrong += unknown_names(entries) + _refused_values(entries) + _equal_lines(entries)
        if self.wrong:
            if isinstance(dataset, str) and (said := missing(dataset)):
                self.wrong.append(said)
            raise PlanError(f"{file} cannot be run:\n" + "\n".join(f"  - {mistake}" for mistake in self.wrong))
        return Plan(
            file.stem,
            str(content.get("title") or dataset),
            str(dataset),
            n_trials,
            tuple(entries),
            tuple(reported),
            note=self._text("note"),
            source=self._text("source"),
            caveat=self._text("caveat"),
            path="/".join(file.parts[-3:]) if file.parts[-3:-1] == ("leaderboard", "plans") else file.as_posix(),
        )

    def _text(self, key: str) -> str:
        return " ".join(str(self.content.get(key) or "").split())

    def _measured(self, options: Mapping[str, Any]) -> None:
        name, _, k = FIRST.partition("@")
        metrics, topk = options["metrics"], options["topk"]
        names = [str(one).lower() for one in (metrics if isinstance(metrics, list) else [metrics])]
        if name not in names or int(k) not in (topk if isinstance(topk, list) else [topk]):
            self.wrong.append(f"the plan: lines are ordered by {FIRST.upper()}, so metrics and topk must hold it")
        if str(options["valid_metric"]).lower() != FIRST or options.get("valid_metric_bigger", True) is not True:
            self.wrong.append(f"the plan: epochs and trials are chosen by the highest {FIRST.upper()} on validation")
        if options["eval_args"] != MEASURED["eval_args"]:
            self.wrong.append("the plan: eval_args are RecBole's protocol for sequential models; leave them out")
        if options.get("eval_step", 1) != 1:
            self.wrong.append("the plan: eval_step must be 1, as every epoch's seconds and score are kept")
        for unknown in sorted(set(names) - KNOWN):
            known = ", ".join(sorted(KNOWN))
            self.wrong.append(f"the plan: {unknown} does not follow from the rank of one target, as {known} do")

    def _keys(self, told: Mapping[str, Any], known: set[str], where: str) -> None:
        for key in sorted(told.keys() - known, key=str):
            self.wrong.append(f"{where}: unknown key {key!r}{did_you_mean(str(key), known)}")

    def _options(self, told: Any, where: str) -> dict[str, Any]:
        if told is not None and not isinstance(told, dict):
            self.wrong.append(f"{where}: options must be a dict of RecBole's options, not {told!r}")
            return {}
        named = self._named(told or {}, where)
        if "seed" in named:
            self.wrong.append(f"{where}: seeds are a list of their own, seeds: [...], no option seed")
        if "save_topk" in named:
            self.wrong.append(f"{where}: save_topk is of a single run, and these would write over each other")
        return named

    def _named(self, told: Mapping[Any, Any], where: str) -> dict[str, Any]:
        """What has the name of an option; another key, such as a number, is a mistake."""
        self.wrong += [f"{where}: {key!r} is no name of an option" for key in told if not isinstance(key, str)]
        return {key: value for key, value in told.items() if isinstance(key, str)}

    def _seeds(self, told: Any, where: str) -> tuple[int, ...]:
        if isinstance(told, list) and told and all(type(seed) is int for seed in told) and len(set(told)) == len(told):
            return tuple(told)
        self.wrong.append(f"{where}: seeds must be a list of different numbers, not {told!r}")
        return (0,)

    def _entry(self, name: str, told: Any, shared: dict[str, Any], seeds: tuple[int, ...], n_trials: int) -> Entry:
        if not isinstance(told, dict):
            self.wrong.append(f"{name}: {told!r} is no description of a model")
            return Entry(name, name, ({},), seeds)
        self._keys(told, _MODEL_KEYS, name)
        if "," in name:
            self.wrong.append(f"{name}: a name with a comma cannot be given to --models")
        seeds = self._seeds(told["seeds"], name) if "seeds" in told else seeds
        own = self._options(told.get("options"), name)
        options = {**shared, **own}
        most = told.get("trials", n_trials)
        if type(most) is not int or most < n_trials:
            self.wrong.append(f"{name}: trials may be more than the {n_trials} of the others, not {most!r}")
            most = n_trials
        points, untuned = self._points(told.get("search"), name), str(told.get("untuned") or "")
        if points and untuned:
            self.wrong.append(f"{name}: untuned says why nothing is searched, but there is a search")
        elif not points and not untuned:
            self.wrong.append(f"{name}: needs a search of {n_trials} trials as the others have, or untuned: why not")
        elif points and len(points) != most:
            self.wrong.append(f"{name}: the search has {len(points)} trials; it gets {most} (trials)")
        for point, times in Counter(map(_written, points)).items():
            if times > 1:
                self.wrong.append(f"{name}: the search holds {point} {times} times")
        for option in sorted(({*own} | {option for point in points for option in point}) & PROTOCOL):
            self.wrong.append(f"{name}: {option} is the protocol, which all lines share: set it in the plan's options")
        rows = told.get("rows")
        if rows is not None and not (isinstance(rows, list) and rows and all(isinstance(row, str) for row in rows)):
            self.wrong.append(f"{name}: rows must be a list of evaluation rows, such as [none, history]")
            rows = None
        for row, times in Counter(rows or ()).items():
            if row not in TOLD or times > 1:
                self.wrong.append(f"{name}: rows must be different ones of {', '.join(sorted(TOLD))}, not {row!r}")
        model = str(told.get("model", name))
        if rows and rows != ["none"] and model != "InstructRec":
            self.wrong.append(f"{name}: {model} hears no instructions, so it has no rows {rows}")
        return Entry(
            name,
            model,
            tuple({**options, **point} for point in points or [{}]),
            seeds,
            tuple(rows or ("none",)),
            str(told.get("sees", _SEES)),
            untuned,
        )

    def _points(self, told: Any, name: str) -> list[dict[str, Any]]:
        """All combinations of what is searched; options that share their values are named together, with a comma."""
        if told is None:
            return []
        if not isinstance(told, dict) or not all(isinstance(values, list) and values for values in told.values()):
            self.wrong.append(f"{name}: search must give a list of values for each option, not {told!r}")
            return []
        named = self._named(told, name)
        names = [[part.strip() for part in key.split(",")] for key in named]
        for option, times in Counter(itertools.chain(*names)).items():
            if times > 1:
                self.wrong.append(f"{name}: the search gives {option} more than once")
        return [
            {option: value for options, value in zip(names, values, strict=True) for option in options}
            for values in itertools.product(*named.values())
        ]

    def _reported(self, told: Any) -> dict[str, Any]:
        if not isinstance(told, dict) or not told.keys() >= {"model", "metrics", "source"}:
            self.wrong.append(f"reported: {told!r} needs a model, its metrics and their source")
            return {}
        self._keys(told, _REPORTED_KEYS, f"reported {told['model']}")
        metrics = told["metrics"]
        if not isinstance(metrics, dict) or not all(type(value) in (int, float) for value in metrics.values()):
            self.wrong.append(f"reported {told['model']}: metrics must be numbers, such as {{ndcg@10: 0.05}}")
            return told
        return {**told, "metrics": {str(metric).lower(): value for metric, value in metrics.items()}}


def _written(options: Mapping[str, Any]) -> str:
    """Options as a text that is the same in any order."""
    return repr(sorted(options.items(), key=str))


def _equal_lines(entries: list[Entry]) -> list[str]:
    """Lines that are the same runs under two names."""
    found: dict[tuple[str, ...], str] = {}
    wrong = []
    for entry in entries:
        same = (entry.model, *sorted(map(_written, entry.trials)))
        if same in found:
            wrong.append(f"{entry.name}: is the same as the line {found[same]}")
        found.setdefault(same, entry.name)
    return wrong


def _refused_values(entries: list[Entry]) -> list[str]:
    """Values that every run of a line would be stopped by; a value that all trials share is named once."""
    said = (
        f"{entry.name}: {message}"
        for entry in entries
        if entry.model == "InstructRec"
        for trial in entry.trials
        for message in wrong_values(trial)
    )
    return list(dict.fromkeys(said))


def unknown_names(entries: list[Entry]) -> list[str]:
    """Models and options that RecBole does not know.

    Parameters
    ----------
    entries : list of Entry
        Lines of a plan.

    Returns
    -------
    list of str
        One message a name.
    """
    import recbole
    from recbole.utils import argument_list

    from recbole_instructrec.leaderboard.runs import model_class

    inside = Path(recbole.__file__).parent
    models = _models_in(inside / "model") | {"InstructRec"}
    general = {name for group in vars(argument_list).values() if isinstance(group, list) for name in group}
    general |= _keys_of(inside / "properties" / "overall.yaml")
    general |= {key for file in (inside / "properties" / "dataset").glob("*.yaml") for key in _keys_of(file)}
    wrong = []
    for entry in entries:
        if ":" in entry.model:  # of one's own: what it reads is not known
            try:
                model_class(entry.model)
            except PlanError as error:
                wrong.append(f"{entry.name}: {error}")
            continue
        if entry.model not in models:
            said = f"RecBole has no sequential or general model named {entry.model!r}"
            hint = did_you_mean(entry.model, models) or " (one of your own: module:Class)"
            wrong.append(f"{entry.name}: {said}{hint}")
            continue
        known = general | _keys_of(inside / "properties" / "model" / f"{entry.model}.yaml")
        if entry.model == "InstructRec":
            known |= {option.name for option in options_of_ours()}
        for name in sorted({name for trial in entry.trials for name in trial} - known):
            wrong.append(f"{entry.name}: nothing reads the option {name!r}{did_you_mean(name, known, 0.8)}")
    return wrong


@lru_cache
def _models_in(folder: Path) -> frozenset[str]:
    """Names of RecBole's general and sequential models: of each file the class that is called as the file is."""
    files = [file for kind in ("general", "sequential") for file in folder.glob(f"{kind}_recommender/[!_]*.py")]
    classes = {
        node.name: file.stem
        for file in files
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    }
    return frozenset(name for name, stem in classes.items() if name.lower() == stem)


def _keys_of(file: Path) -> set[str]:
    if not file.is_file():
        return set()
    return set(yaml.load(file.read_text(encoding="utf-8"), yaml.FullLoader) or {})
