"""Command line ``instructrec``."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import platform
import sys
from pathlib import Path

from recbole_instructrec.data.converters.atomic import ConversionError
from recbole_instructrec.leaderboard.command import add_parser
from recbole_instructrec.live.command import COMMANDS as LIVE
from recbole_instructrec.live.command import add_parsers as add_live_parsers
from recbole_instructrec.main import guarded

CONVERTERS = ("redial", "clinc150")


def main() -> int:
    """Entry point of the console script."""
    parser = argparse.ArgumentParser(prog="instructrec", description="Tools around the InstructRec plugin for RecBole.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    doctor_parser = commands.add_parser("doctor", help="what is installed, what is mended, which encoder is used")
    doctor_parser.add_argument("--text_encoder", help="check this encoder instead of the default")
    doctor_parser.add_argument("--text_cache_dir", help="folder of encoded texts")
    convert_parser = commands.add_parser("convert", help="official raw files to RecBole's atomic files")
    convert_parser.add_argument(
        "dataset",
        choices=CONVERTERS,
        help="redial: dialogues in which people ask for films (redialdata.github.io: *.jsonl, "
        "movies_with_mentions.csv, id2info.json); clinc150: requests to an assistant "
        "(github.com/clinc/oos-eval: data_full.json, domains.json)",
    )
    convert_parser.add_argument("--source", type=Path, required=True, help="folder with the official files")
    convert_parser.add_argument("--output", type=Path, default=Path("dataset"), help="data folder (default: dataset)")
    steer_parser = commands.add_parser("steer", help="does a trained checkpoint follow instructions? table, JSON, PNG")
    steer_parser.add_argument("--checkpoint", required=True, help="a .pth file of InstructRec")
    steer_parser.add_argument("--output", help="folder of the JSON and PNG files (default: that of the checkpoint)")
    steer_parser.add_argument("--users", type=_rows, default=1000, help="test rows that are used, 0 for all")
    steer_parser.add_argument("--seed", type=_not_negative, default=2020, help="of the requests")
    topk_parser = commands.add_parser("topk", help="the best items of every test user, from a checkpoint, into a file")
    topk_parser.add_argument("--checkpoint", required=True, help="a .pth file of InstructRec or of a RecBole model")
    topk_parser.add_argument("--output", type=Path, required=True, help="a .tsv, .csv or .parquet file")
    topk_parser.add_argument("--k", type=_positive, default=20, help="length of a list")
    topk_parser.add_argument("--row", help="evaluation row of InstructRec (default: instruction_source)")
    add_parser(commands)
    add_live_parsers(commands)
    args = parser.parse_args()
    # RecBole's Config reads the command line wherever it is built; our flags are not its options.
    sys.argv = sys.argv[:1]
    status = 0

    def work() -> None:
        nonlocal status
        if args.command == "doctor":
            status = doctor(args.text_encoder, args.text_cache_dir)
        elif args.command == "convert":
            status = convert(args.dataset, args.source, args.output)
        elif args.command == "topk":
            status = topk(args.checkpoint, args.output, args.k, args.row)
        elif args.command == "leaderboard":
            from recbole_instructrec.leaderboard.command import work as work_on_leaderboard

            status = work_on_leaderboard(args)
        elif args.command in LIVE:
            from recbole_instructrec.live.command import work as work_live

            status = work_live(args)
        else:
            from recbole_instructrec.steering.run import steer

            status = steer(args.checkpoint, args.output, args.users, args.seed)

    return guarded(work) or status


def _not_negative(text: str) -> int:
    """A number of at least 0, for argparse."""
    value = int(text) if text.isdecimal() else -1
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of at least 0")
    return value


def _positive(text: str) -> int:
    """A number of at least 1, for argparse."""
    if not (value := _not_negative(text)):
        raise argparse.ArgumentTypeError("a number of at least 1 is needed")
    return value


def _rows(text: str) -> int:
    """A number of rows from which a standard error can be told, or 0, for argparse."""
    if (value := _not_negative(text)) == 1:
        raise argparse.ArgumentTypeError("one test row tells nothing; give 2 or more, or 0 for all")
    return value


def doctor(text_encoder: str | None = None, text_cache_dir: str | None = None) -> int:
    """Print the state of the installation.

    Parameters
    ----------
    text_encoder : str, optional
        Encoder to look for; the default of ``InstructRec.yaml`` otherwise.
    text_cache_dir : str, optional
        Folder of encoded texts.

    Returns
    -------
    int
        0 when everything that is needed is there, else 1.
    """
    problems: list[str] = []
    print("Installed")
    print(f"  python                 {platform.python_version()} ({platform.system()} {platform.machine()})")
    for package in ("recbole-instructrec", "recbole", "torch", "transformers", "numpy", "pandas", "scipy", "ray"):
        try:
            print(f"  {package:<22} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            print(f"  {package:<22} missing")
            if package == "ray":
                continue
            what = "runs from a folder but is not installed" if package == "recbole-instructrec" else "is missing"
            problems.append(f"{package} {what}. Run: pip install -c constraints.txt -e '.[offline]'")
    import torch

    print(f"  accelerator            {torch.cuda.get_device_name() if torch.cuda.is_available() else 'none (CPU)'}")

    print("Mended in RecBole (see recbole_instructrec/compat.py)")
    from recbole_instructrec import compat

    for name, reason in compat.apply().items():
        print(f"  {name:<22} {reason}")

    print("Text encoder")
    problems += _encoder(text_encoder, text_cache_dir)

    if problems:
        print("Next step")
        for problem in problems:
            print(f"  {problem}")
        return 1
    print("All is well: python run_recbole.py --model=InstructRec --dataset=ml-100k")
    return 0


def convert(dataset: str, source: Path, output: Path) -> int:
    """Convert official raw files and say what was written.

    Parameters
    ----------
    dataset : {"redial", "clinc150"}
        Which data set.
    source, output : Path
        Folder of the official files, and RecBole's data folder.

    Returns
    -------
    int
        0.
    """
    import logging

    logging.basicConfig(format="%(message)s", level=logging.INFO)
    if not source.is_dir():
        raise ConversionError(f"--source: there is no folder {source}.")
    counts = importlib.import_module(f"recbole_instructrec.data.converters.{dataset}").convert(source, output)
    print(f"{output / dataset}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
    config = f"dataset_configs/{dataset}.yaml"
    print(
        f"python run_recbole.py --model=InstructRec --dataset={dataset} --data_path={output}/ --config_files={config}"
    )
    return 0


def topk(checkpoint: str, output: Path, k: int, row: str | None = None) -> int:
    """Write the best items of every test user of a checkpoint.

    Parameters
    ----------
    checkpoint : str
        A ``.pth`` file of InstructRec or of another RecBole model.
    output : Path
        A ``.tsv``, ``.csv`` or ``.parquet`` file.
    k : int
        Length of a list.
    row : str, optional
        Evaluation row of InstructRec.

    Returns
    -------
    int
        0.
    """
    from recbole.quick_start import load_data_and_model

    from recbole_instructrec.export import ExportError, check_file, save_lists, top_lists

    check_file(output)
    config, model, _, _, _, test = load_data_and_model(checkpoint)
    if row is not None:
        if config["model"] != "InstructRec":
            raise ExportError(f"--row: {config['model']} hears no instructions.")
        known = test._dataset.available_rows()
        if row not in known:
            raise ExportError(f"--row: {config['dataset']} has the rows {', '.join(known)}, not {row!r}.")
        test._dataset.use_instructions(row)
    lists = top_lists(model, test, k)
    print(f"{save_lists(lists, output)}: {len(lists):,} lines, {lists.iloc[:, 0].nunique():,} users")
    return 0


def _encoder(name: str | None, cache_dir: str | None) -> list[str]:
    from recbole_instructrec.model.encoders import text_encoder
    from recbole_instructrec.model.reading.readers import packaged
    from recbole_instructrec.model.text import PACKAGED_NAME, EncoderNotFound
    from recbole_instructrec.model.text_cache import default_folder

    name = name or PACKAGED_NAME
    problems = []
    print(f"  name                   {name}")
    try:
        encoder = text_encoder(name, max_tokens=64)
        print(f"  found as               {encoder.files.found}: {encoder.files.path}")
        vector = encoder.encode(["a light comedy"])
        print(f"  encodes                yes, {vector.shape[1]} dimensions")
        reads = packaged(encoder.weights, ["en"]) is not None
        print(f"  reads requests         {'with the packaged reader, en' if reads else 'after a reader was taught'}")
    except EncoderNotFound as error:
        print("  found as               not found")
        problems.append(str(error))
    except (OSError, ValueError) as error:
        print(f"  encodes                no ({error})")
        problems.append(f"the text encoder {name} cannot be loaded: {error}")
    folder = Path(cache_dir).expanduser() if cache_dir else default_folder()
    caches = sorted(folder.glob("*.sqlite")) if folder.is_dir() else []
    size = sum(file.stat().st_size for file in caches) / 2**20
    print(f"  cache of texts         {folder} ({len(caches)} files, {size:.1f} MiB)")
    parent = folder if folder.exists() else next(path for path in folder.parents if path.exists())
    if not os.access(parent, os.W_OK):
        problems.append(
            f"the cache folder {folder} cannot be written; set text_cache_dir or $RECBOLE_INSTRUCTREC_CACHE."
        )
    return problems


if __name__ == "__main__":
    sys.exit(main())
