# SPDX-License-Identifier: Apache-2.0
"""Small untrained runs of models of codes and vectors, on simulated items."""

import pathlib
from typing import Any

import jax

from genrec_jax.content.item_vectors import ItemVectors
from genrec_jax.content.tfidf import TfidfSvd
from genrec_jax.core import sharding
from genrec_jax.data import LeaveOneOut
from genrec_jax.data.dataset import Catalog
from genrec_jax.data.prepare import prepare
from genrec_jax.data.simulator.synthetic import Synthetic
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import Loaded
from genrec_jax.semantic_ids.item_tokens import ItemTokens
from genrec_jax.semantic_ids.quantizers.rq_kmeans import ResidualKMeans

SIZES = (3, 4)
USERS, ITEMS = 40, 60
_WIDTH = 8


def prepared(folder: pathlib.Path) -> pathlib.Path:
  """A data set with vectors of its items, and codes that items share."""
  source = Synthetic(num_users=USERS, num_items=ITEMS)
  prepare(source, LeaveOneOut(), folder / "data")
  vectors = ItemVectors.make(
    Catalog(folder / "data"),
    TfidfSvd(width=_WIDTH),
    "{title}",
    folder / "vectors",
  )
  ItemTokens.make(folder / "tokens", vectors, ResidualKMeans(SIZES), None)
  return folder


def run_of(folder: pathlib.Path, workdir: pathlib.Path, module: Any) -> Run:
  """A config's run on what `prepared` made, with four beams."""
  c = module.get_config("quicktest")
  c.prepared = str(folder / "data")
  c.data.num_users, c.data.num_items = USERS, ITEMS
  c.content.directory = str(folder / "vectors")
  c.tokens.directory = str(folder / "tokens")
  c.tokens.tokenizer.level_sizes = c.system.level_sizes = SIZES
  c.tokens.unique = None
  c.pipeline.layout.num_levels = len(SIZES)
  c.system.width = _WIDTH
  c.system.item_encoder.update(
    content_width=_WIDTH, width=_WIDTH, hidden_widths=()
  )
  c.system.backbone.update(
    width=_WIDTH, num_layers=1, num_heads=1, head_width=8, ffn_width=8
  )
  c.retrieval.num_beams = 4
  c.requests.batch_size = 16
  return Run.start(c, workdir)


def loaded(run: Run) -> Loaded:
  """Parameters that nothing was trained for, with the items' contents."""
  params = jax.device_put(run.initial_params(), sharding.local().replicated)
  return Loaded(params, "best", 1, {})
