# SPDX-License-Identifier: Apache-2.0
"""Small runs to export: one that was trained, and untrained ones."""

import pathlib
import shutil

import jax

from genrec_jax.core import sharding
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import Loaded, load_params
from tests.vector_runs import ITEMS, SIZES, USERS

_STORED = pathlib.Path(__file__).parents[2] / "stored" / "run"


def stored(workdir: pathlib.Path) -> tuple[Run, Loaded]:
  """The workdir of tests/stored: a retriever after three steps."""
  run = Run.open(shutil.copytree(_STORED, workdir))
  return run, load_params(run)


def untrained(config, workdir: pathlib.Path) -> tuple[Run, Loaded]:
  """A run with first parameters."""
  run = Run.start(config, workdir)
  params = run.initial_params()
  params = run.init_params() if params is None else params
  params = jax.device_put(params, sharding.local().replicated)
  return run, Loaded(params, "best", 1, {})


def of_codes(config, folder: pathlib.Path):
  """A quick config of codes of the items that vector_runs.prepared made."""
  config.prepared = str(folder / "data")
  config.data.num_users, config.data.num_items = USERS, ITEMS
  config.content.directory = str(folder / "vectors")
  config.tokens.directory = str(folder / "tokens")
  config.tokens.tokenizer.level_sizes = config.system.level_sizes = SIZES
  config.tokens.unique = None
  layout = config.pipeline.layout
  if "level_sizes" in layout:
    layout.level_sizes = SIZES
    config.system.max_length = layout.max_items * len(SIZES)
  else:
    layout.num_levels = len(SIZES)
  config.system.width = config.system.backbone.width = 8
  config.system.backbone.update(num_heads=1, head_width=8, ffn_width=8)
  config.retrieval.num_beams = 4
  config.requests.batch_size = 16
  return config
