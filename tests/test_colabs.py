# SPDX-License-Identifier: Apache-2.0
"""Every notebook runs from its first cell to its last, outside the checkout.

Outputs are not kept in the repository: what a notebook shows is what it shows
when it is run. Here they run as they stand but for their sizes: few users,
few steps of training, one layer.
"""

import pathlib
import re
import shutil
import tomllib

import nbclient
import nbformat
import pytest

from tests import commands, quick_xla

ROOT = pathlib.Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "colabs").glob("*.ipynb"))
# By the flag of a command; the layers of a stack are alike.
_SIZES = {
  "data.num_users": 60,
  "train.steps": 4,
  "train.eval_every_steps": 2,
  "train.log_every_steps": 2,
}
# Of every command that trains.
_SMALL = "--config.system.backbone.num_layers=1 --config.pipeline.batch_size=8"
# What a kernel does first: it compiles as tests do (tests/quick_xla.py).
_FIRST = """
import runpy, sys
sys.executable = {python!r}
runpy.run_path({quick_xla!r})["read_flags"]()
"""


def _in_small(source: str) -> str:
  source = source.replace("Synthetic(num_users=1000", "Synthetic(num_users=60")
  source = source.replace("Decoding(users=50", "Decoding(users=20")
  source = source.replace(
    'config="hstu_small"',
    'config="hstu_small", train={"steps": 4, "eval_every_steps": 2}',
  )
  source = re.sub(r"^STEPS = \d+$", "STEPS = 4", source, flags=re.MULTILINE)
  for name, size in _SIZES.items():
    flag = f"--config.{name}="
    source = re.sub(rf"{re.escape(flag)}\d+", f"{flag}{size}", source)
  steps = f"--config.train.steps={_SIZES['train.steps']}"
  return source.replace(steps, f"{steps} {_SMALL}")


def test_there_are_notebooks():
  assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_stripped(path):
  notebook = nbformat.read(path, as_version=4)
  nbformat.validate(notebook)
  for cell in notebook.cells:
    if cell.cell_type == "code":
      assert not cell.outputs and cell.execution_count is None, cell.id


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_opens_in_colab_and_installs_itself(path):
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
  repository = project["urls"]["Repository"]
  where = repository.removeprefix("https://github.com/")
  title, _, install, *others = nbformat.read(path, as_version=4).cells
  page = f"https://colab.research.google.com/github/{where}/blob/main"
  assert f"({page}/colabs/{path.name})" in title.source
  assert f"git+{repository}" in install.source
  # Where it comes from a wheel, there are no scripts, no configs to point at.
  for cell in others:
    assert not re.search(r"scripts/|configs/|\.py\b", cell.source), cell.id


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path, tmp_path):
  notebook = nbformat.read(path, as_version=4)
  # Compiling it takes minutes.
  costs = ROOT / "results" / "hstu_trillion-v5p-8x8x8.json"
  (tmp_path / "results").mkdir()
  shutil.copy(costs, tmp_path / "results")
  folder = tmp_path / "colabs"
  folder.mkdir()
  for cell in notebook.cells:
    cell.source = _in_small(cell.source)
  # What `sys.executable` starts are scripts, which commands.py starts quickly.
  python = commands.interpreter(tmp_path)
  names = {"python": str(python), "quick_xla": quick_xla.__file__}
  first = nbformat.v4.new_code_cell(_FIRST.format(**names))
  notebook.cells.insert(0, first)
  client = nbclient.NotebookClient(
    notebook,
    timeout=600,
    kernel_name="python3",
    resources={"metadata": {"path": str(folder)}},
  )
  client.execute()
  shown = [
    output
    for cell in notebook.cells
    if cell.cell_type == "code"
    for output in cell.outputs
  ]
  assert any("image/svg+xml" in output.get("data", {}) for output in shown)
  for output in shown:
    text = output.get("text", "")
    assert "Traceback" not in text and "error:" not in text, text[-2000:]
