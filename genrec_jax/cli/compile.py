# SPDX-License-Identifier: Apache-2.0
"""Compiles a config's steps for a TPU slice that nobody has, and costs them.

    genrec compile --config=hstu_trillion \\
        --topology=v5p:8x8x8

The train step is the one that genrec train runs; `query` makes vectors of
requests, `items` those of the catalogue, and `retrieve` finds the nearest. No
data is read: --num_items stands for the catalogue. Prints a table and, as the
last line, JSON, which --json=FILE keeps. Exits 0 where every step fits the
chips' memory, 3 where one does not.

Times are bounds from the chip's peak figures, no measurements.
"""

import importlib.metadata
import json
import pathlib

import jax

from genrec_jax.cli.command import Command
from genrec_jax.core.build import build_options
from genrec_jax.core.sharding import MeshOptions
from genrec_jax.experiment.program import Program
from genrec_jax.experiment.sections import check_config
from genrec_jax.tpu.compile import STEPS, compile_step, steps_of
from genrec_jax.tpu.compile_table import table, title, warnings
from genrec_jax.tpu.topology import Slice, open_slice
from genrec_jax.train.state import num_parameters

COMMAND = Command(__doc__)
_CONFIG = COMMAND.config_file("What to compile.")
_TOPOLOGY = COMMAND.string(
  "topology", "v5e:2x2", "Chip and shape, such as v5p:8x8x8."
)
_NUM_ITEMS = COMMAND.integer(
  "num_items", None, "Items V; default: config.data.num_items, else 100,000."
)
_STEPS = COMMAND.list(
  "steps", None, f"Which to compile, of {', '.join(STEPS)}; default: all."
)
_JSON = COMMAND.string("json", None, "Keep the JSON in this file.")
_HLO = COMMAND.string("hlo", None, "Keep the programs in this folder.")
COMMAND.require("config")

_DEFAULT_ITEMS = 100_000
_DOES_NOT_FIT = 3


def _num_items(config: dict) -> int:
  given = _NUM_ITEMS.value
  if given is None:
    given = config["data"].get("num_items", _DEFAULT_ITEMS)
  if given < 1:
    raise ValueError(f"--num_items={given} must be at least 1.")
  return given


def _program(config: dict, slice_: Slice, num_items: int) -> Program:
  mesh = build_options(MeshOptions, config["mesh"], where="config.mesh")
  return Program.from_config(config, num_items, mesh.place(slice_.devices))


def compile_all() -> bool:
  """Compiles the steps, prints what they take; whether all of them fit."""
  slice_ = open_slice(_TOPOLOGY.value)
  config = check_config(_CONFIG.value)
  num_items = _num_items(config)
  program = _program(config, slice_, num_items)
  steps = steps_of(program, _STEPS.value)
  facts = {
    "config": config["name"],
    "topology": slice_.name,
    "chips": len(slice_.devices),
    "mesh": {axis: size for axis, size in program.placement.mesh.shape.items()},
    "preset": config["mesh"]["preset"],
    "num_items": num_items,
    "parameters": num_parameters(program.abstract_state().params),
    "batch_size": program.pipeline.batch_size,
    "row_length": program.pipeline.row_length,
    "memory_bytes_per_chip": slice_.chip.memory_bytes,
    "jax": jax.__version__,
    "libtpu": importlib.metadata.version("libtpu"),
  }
  reports = []
  for step in steps:
    with program.in_force():
      reports.append(compile_step(step, slice_))
    if _HLO.value:
      folder = pathlib.Path(_HLO.value)
      folder.mkdir(parents=True, exist_ok=True)
      (folder / f"{step.name}.txt").write_text(reports[-1].text)
  facts["fits"] = all(report.fits for report in reports)
  facts["steps"] = {report.name: report.to_json() for report in reports}
  print(f"{title(facts)}\n\n{table(facts)}\n\n{warnings(facts)}")
  if _JSON.value:
    path = pathlib.Path(_JSON.value)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(facts, indent=2) + "\n")
  print(json.dumps(facts))
  return facts["fits"]


@COMMAND.does
def main() -> int:
  """Entry point."""
  fits = compile_all()
  return 0 if fits else _DOES_NOT_FIT
