"""``instructrec chat``, ``recommend`` and ``serve``, and ``feedback`` for what they have gathered."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recbole_instructrec.live.errors import LiveError
from recbole_instructrec.live.session import LONGEST_LIST

#: Where a token may stand that others on the machine are not to see among the processes.
TOKEN = "RECBOLE_INSTRUCTREC_TOKEN"

COMMANDS = ("chat", "recommend", "serve", "feedback")


def add_parsers(commands: Any) -> None:
    """Add the subcommands.

    Parameters
    ----------
    commands : argparse subparsers
        Of ``instructrec``.
    """
    chat = commands.add_parser("chat", help="talk to a trained checkpoint")
    recommend = commands.add_parser("recommend", help="answer one request, or a file of them")
    serve = commands.add_parser("serve", help="an API and a page for people")
    feedback = commands.add_parser("feedback", help="learn from feedback, undo that, export or forget")
    for parser in (chat, recommend, serve, feedback):
        parser.add_argument(
            "--checkpoint", default="saved", help="a .pth file, or a folder: its newest (default: saved)"
        )
        parser.add_argument(
            "--store", help="file of the feedback, in a folder that is there (default: CHECKPOINT.feedback.sqlite)"
        )
        parser.add_argument("--data_path", help="folder of the data sets, where it has moved since training")
        parser.add_argument("--rating_scale", default="1,5", help="lowest and highest rating (default: 1,5)")
        parser.add_argument("--threads", type=_threads, default=0, help="of torch (default: its own choice)")
    for parser in (chat, recommend):
        parser.add_argument("--user", help="who asks (default: a guest)")
        parser.add_argument("--k", type=_length, default=5, help="length of a list (default: 5)")
    recommend.add_argument("text", nargs="?", default="", help="the request")
    recommend.add_argument("--requests", type=Path, help="a file with a JSON object a line: text, user, k, must, ...")
    recommend.add_argument("--output", type=Path, help="file for the answers (default: standard output)")
    recommend.add_argument("--must", type=_rules, help='rules as JSON, such as {"genre": "Comedy"}')
    recommend.add_argument("--must_not", type=_rules, help="rules as JSON")
    recommend.add_argument("--diversity", type=float, default=0.0, help="0 to 1")
    recommend.add_argument("--json", action="store_true", help="print the answer as JSON")
    serve.add_argument("--host", default="127.0.0.1", help="where to listen (default: this machine alone)")
    serve.add_argument("--port", type=_port, default=8000, help="(default: 8000)")
    serve.add_argument("--token", help=f"what clients must send; needed where others reach the host (or in ${TOKEN})")
    serve.add_argument("--names", nargs="*", default=[], help="names that the service is called by")
    serve.add_argument("--rate", type=float, default=20.0, help="requests a second and client, 0: no bound")
    serve.add_argument("--largest_batch", type=int, default=32, help="requests answered in one pass")
    serve.add_argument("--learn_every", type=int, default=0, help="learn after so many reactions, 0: never")
    do = feedback.add_mutually_exclusive_group(required=True)
    do.add_argument("--learn", action="store_true", help="make a version from the new feedback")
    do.add_argument("--versions", action="store_true", help="show all versions")
    do.add_argument("--use", type=int, metavar="N", help="put version N to use, 0 for the checkpoint itself")
    do.add_argument("--export", type=Path, metavar="FOLDER", help="write the feedback as atomic files")
    do.add_argument("--forget", metavar="USER", help="erase everything about a user")


def work(args: argparse.Namespace) -> int:
    """Run one of the subcommands.

    Parameters
    ----------
    args : Namespace
        As parsed.

    Returns
    -------
    int
        0, or 1 where some requests of a file could not be answered or something of a user is left.
    """
    # What is wrong with the command line is told before anything takes its time.
    scale, token = _scale(args.rating_scale), getattr(args, "token", None) or os.environ.get(TOKEN)
    if args.command == "serve":
        from recbole_instructrec.live.serve.run import check_address

        check_address(args.host, args.port, token)
    if args.store and not (folder := Path(args.store).absolute().parent).is_dir():
        raise LiveError(f"--store: there is no folder {folder}. Make it, or give a file in another one.")
    if args.command == "recommend" and args.requests:
        from recbole_instructrec.live.requests_file import check_files

        check_files(args.requests, args.output)
    import torch

    from recbole_instructrec.live.loading import newest
    from recbole_instructrec.live.recommender import Recommender

    if args.threads:
        torch.set_num_threads(args.threads)
    file = newest(args.checkpoint)
    recommender = Recommender.load(file, args.store, scale, args.data_path)
    if Path(args.checkpoint).is_dir():
        print(f"{file} ({recommender.dataset.dataset_name})", file=sys.stderr, flush=True)
    if args.command == "chat":
        from recbole_instructrec.live.terminal import chat

        return chat(recommender, args.user, args.k, sys.stdin, sys.stdout, shutil.get_terminal_size((100, 24)).columns)
    if args.command == "serve":
        from recbole_instructrec.live.serve.run import serve

        return serve(
            recommender,
            args.host,
            args.port,
            token,
            args.names,
            args.rate,
            largest_batch=args.largest_batch,
            learn_every=args.learn_every,
        )
    return _recommend(recommender, args) if args.command == "recommend" else _feedback(recommender, args)


def _recommend(recommender: Any, args: argparse.Namespace) -> int:
    if args.requests:
        from recbole_instructrec.live.requests_file import answer_file

        answers, errors = answer_file(recommender, args.requests, args.output, args.k)
        print(f"{answers} answers, {errors} errors{f': {args.output}' if args.output else ''}", file=sys.stderr)
        return 1 if errors else 0
    answer = recommender.session(args.user).ask(
        args.text, args.k, must=args.must, must_not=args.must_not, diversity=args.diversity
    )
    if args.json:
        print(json.dumps(answer.plain(), ensure_ascii=False))
        return 0
    from recbole_instructrec.live.terminal import show

    show(answer, sys.stdout, shutil.get_terminal_size((100, 24)).columns)
    return 0


def _feedback(recommender: Any, args: argparse.Namespace) -> int:
    if args.learn:
        from tqdm import tqdm

        with tqdm(total=100, desc="Learn", unit="%", ncols=100, disable=not sys.stderr.isatty()) as bar:
            result = recommender.learn(progress=lambda share: bar.update(int(100 * share) - bar.n))
        print(json.dumps(result))
    elif args.versions:
        for one in recommender.versions.every():
            about = one["about"]
            figures = f"{about['before']} -> {about['after']}" if about else "the checkpoint"
            print(f"{'*' if one['current'] else ' '} {one['id']:3}  from {one['parent']}  {one['status']:11} {figures}")
    elif args.use is not None:
        recommender.versions.use(args.use)
        print(f"Version {args.use} is in use.")
    elif args.export:
        counts = recommender.export(args.export)
        print(f"{args.export}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
    else:
        found = recommender.forget(args.forget)
        print(json.dumps(found.__dict__))
        if found.in_dataset:
            print(
                f"The data set's own files hold {found.in_dataset} interactions of that user; they are not used any "
                "more. Remove them there and train again, so that the checkpoint forgets them, too.",
                file=sys.stderr,
            )
        return 1 if found.traces else 0
    return 0


def _whole(lowest: int, highest: int) -> Callable[[str], int]:
    """Reads a whole number within bounds, for argparse."""

    def read(text: str) -> int:
        if not text.isdecimal() or not lowest <= int(text) <= highest:
            raise argparse.ArgumentTypeError(f"a number from {lowest} to {highest} is expected, not {text!r:.40}")
        return int(text)

    return read


_threads, _length, _port = _whole(0, 1024), _whole(1, LONGEST_LIST), _whole(1, 65_535)


def _rules(text: str) -> Any:
    """Rules, for argparse."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'JSON such as {{"genre": "Comedy"}} is expected: {error}') from error


def _scale(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise LiveError(f"--rating_scale: two numbers are expected, such as 1,5, not {text!r:.40}.") from None
    return low, high
