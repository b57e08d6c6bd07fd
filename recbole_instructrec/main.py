"""What ``run_recbole.py`` and ``run_hyper.py`` do, with RecBole's own arguments."""

from __future__ import annotations

import argparse
import ast
import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from recbole_instructrec.spelling import did_you_mean

#: Set to 1 to see where an error comes from.
TRACEBACK = "RECBOLE_INSTRUCTREC_TRACEBACK"


def guarded(work: Callable[[], Any]) -> int:
    """Run something for a user: an error becomes a message that says what to do, not a stack trace.

    Parameters
    ----------
    work : callable
        Takes nothing; its result is dropped.

    Returns
    -------
    int
        0, or 1 after an error, 130 after Ctrl-C, 141 where the output is read no more.
    """
    try:
        work()
        return 0
    except KeyboardInterrupt:
        print(
            "\nStopped. An interrupted training goes on with --resume=saved/<newest .pth file> and the same options.",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:  # whoever read the output has enough of it, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python writes as it ends
        return 128 + signal.SIGPIPE
    except Exception as error:
        if os.environ.get(TRACEBACK) == "1":
            raise
        text = str(error) if not isinstance(error, KeyError) else f"missing {error}"
        if "exists in the device nor" in text:  # RecBole's words for a data set that it does not find
            text += _where_data_sets_are(text)
        print(f"\nerror: {text or type(error).__name__}", file=sys.stderr)
        if not isinstance(error, (ValueError, ImportError, OSError)):
            print(f"({type(error).__name__}; set {TRACEBACK}=1 to see where it comes from)", file=sys.stderr)
        return 1


def _where_data_sets_are(message: str) -> str:
    """What to do when RecBole has not found a data set in the folder that its message names."""
    advice = " Put NAME.inter and NAME.item into a folder NAME, and give the folder above: --data_path=dataset/."
    found = re.search(r"Neither \[(.+?)\] exists", message)
    if not found:
        return advice
    folder = Path(found[1])
    there = sorted(file.parent.name for file in folder.parent.glob("*/*.inter")) if folder.parent.is_dir() else []
    return f"{advice}{did_you_mean(folder.name, [*there, 'ml-100k'])[1:].replace(' did', ' Did', 1)}"


def _files(text: str | None) -> list[str] | None:
    files = text.split() if text else None
    for file in files or []:
        if not os.path.isfile(file):
            raise FileNotFoundError(f"--config_files: there is no file {file}.")
    return files


def _options(arguments: list[str]) -> list[str]:
    """Options as RecBole reads them from the command line, where lists and dicts may be written as in YAML files.

    Raises
    ------
    ValueError
        For an argument that is not ``--name=value``, which RecBole would leave unread.
    """
    result = []
    for argument in arguments:
        name, found, value = argument.partition("=")
        if not found or not name.startswith("--"):
            raise ValueError(f"{argument!r} is not read: options are written --name=value, such as --epochs=3.")
        try:
            ast.literal_eval(value)
        except (ValueError, SyntaxError):
            with contextlib.suppress(yaml.YAMLError):
                read = yaml.safe_load(value)
                if isinstance(read, (list, dict)) or (value and read is None):
                    argument = f"{name}={read!r}"
        result.append(argument)
    return result


def _check_model(name: str) -> None:
    """RecBole looks for an unknown model in its wrappers of LightGBM and fails there for want of that package."""
    if name == "InstructRec":
        return
    import recbole

    found = {"InstructRec"}
    for file in (Path(recbole.__file__).parent / "model").glob("*recommender/*.py"):
        classes = re.findall(r"^class (\w+)\(", file.read_text(encoding="utf-8"), re.MULTILINE)
        found |= {one for one in classes if one.lower() == file.stem}
    if name not in found:
        raise ValueError(
            f"--model: there is no model named {name!r}, neither in RecBole nor here{did_you_mean(name, found)}"
        )


def _distribution(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--nproc", type=int, default=1, help="processes on this machine")
    parser.add_argument("--ip", default="localhost", help="address of the first machine")
    parser.add_argument("--port", default="5678", help="port of the first machine")
    parser.add_argument("--world_size", type=int, default=-1, help="processes on all machines")
    parser.add_argument("--group_offset", type=int, default=0, help="rank of this machine's first process")


def run_recbole_main() -> int:
    """Train and evaluate one model on one data set, as RecBole's ``run_recbole.py``."""
    from recbole.quick_start import run

    from recbole_instructrec.options import help_text

    parser = argparse.ArgumentParser(
        prog="run_recbole.py",
        description="Train and evaluate a RecBole model. RecBole's and InstructRec's options follow as --name=value.",
        epilog=f"Options of InstructRec and their defaults:\n{help_text()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", "-m", default="InstructRec", help="name of the model")
    parser.add_argument("--dataset", "-d", default="ml-100k", help="name of the data set")
    parser.add_argument("--config_files", help="YAML files, separated by spaces")
    _distribution(parser)
    args, rest = parser.parse_known_args()

    def train() -> None:
        _check_model(args.model)
        sys.argv = [sys.argv[0], *_options(rest)]
        run(
            args.model,
            args.dataset,
            config_file_list=_files(args.config_files),
            nproc=args.nproc,
            world_size=args.world_size,
            ip=args.ip,
            port=args.port,
            group_offset=args.group_offset,
        )

    return guarded(train)


def run_hyper_main() -> int:
    """Search options with hyperopt, as RecBole's ``run_hyper.py``."""
    parser = argparse.ArgumentParser(prog="run_hyper.py", description="Search the options in --params_file.")
    parser.add_argument("--model", "-m", default="InstructRec", help="name of the model")
    parser.add_argument("--dataset", "-d", default="ml-100k", help="name of the data set")
    parser.add_argument("--config_files", help="YAML files, separated by spaces")
    parser.add_argument(
        "--params_file", required=True, help="RecBole's format, e.g. learning_rate choice [0.001,0.0005]"
    )
    parser.add_argument("--algo", default="exhaustive", help="exhaustive, random or bayes")
    parser.add_argument("--max_evals", type=int, default=100, help="at most so many runs")
    parser.add_argument("--output_file", default="hyper.result", help="where results are written")
    args, rest = parser.parse_known_args()

    def search() -> None:
        from recbole.trainer import HyperTuning

        from recbole_instructrec.objective import objective

        if not os.path.isfile(args.params_file):
            raise FileNotFoundError(f"--params_file: there is no file {args.params_file}.")
        # RecBole's Config reads the command line; the search's own flags are not options of a run.
        sys.argv = [sys.argv[0], f"--model={args.model}", f"--dataset={args.dataset}", *_options(rest)]
        tuning = HyperTuning(
            objective,
            algo=args.algo,
            max_evals=args.max_evals,
            params_file=args.params_file,
            fixed_config_file_list=_files(args.config_files),
        )
        tuning.run()
        tuning.export_result(output_file=args.output_file)
        print(f"best params: {tuning.best_params}")
        print(f"best result: {tuning.params2result[tuning.params2str(tuning.best_params)]}")

    return guarded(search)
