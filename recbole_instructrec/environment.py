"""Where and with what something was measured."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("recbole", "torch", "transformers", "numpy", "pandas", "scipy")


def processor() -> str:
    """Name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def source() -> dict[str, Any]:
    """Commit of the source tree, and whether the package differs from it; None where there is no git."""

    def git(*command: str) -> str | None:
        try:
            done = subprocess.run(["git", *command], capture_output=True, text=True, cwd=folder, check=False)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    folder = Path(__file__).parent
    commit, changes = git("rev-parse", "--short", "HEAD"), git("status", "--porcelain", "--", ".")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def environment() -> dict[str, Any]:
    """Date, commit, machine and versions.

    Returns
    -------
    dict
        Plain values.
    """
    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "date": time.strftime("%Y-%m-%d"),
        **source(),
        "processor": processor(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": versions,
    }
