# SPDX-License-Identifier: Apache-2.0
"""The smallest ranker: a score of its own for every item and task."""

import dataclasses

from flax import linen as nn
import jax
import numpy as np
import optax

from genrec_jax.core import sharding
from genrec_jax.core.seams import NO_LIMIT
from genrec_jax.core.sharding import MeshOptions
from genrec_jax.core.types import Outputs
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.layouts.base import BaseLayout
from genrec_jax.evaluation.shown_items import ShownItems
from genrec_jax.experiment.artifacts import KINDS, Artifacts
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.options import PipelineOptions, RequestOptions
from genrec_jax.objectives.pointwise import BinaryCrossEntropy
from genrec_jax.train.loop import LoopOptions


@dataclasses.dataclass(frozen=True)
class ItemsAlone(BaseLayout):
  """Items of events, and of candidates."""

  feedback: Feedback
  num_candidates: int
  max_length: int = 8
  num_columns: int = 1

  def example(self, record, end, rng=None):
    return np.zeros((0, 1), np.int32)

  def batch(self, rows_BLC, segment_ids_BL, positions_BL):
    return {
      "item_BL": rows_BLC[:, :, 0],
      "label_BL": np.zeros_like(segment_ids_BL),
      "labelled_BL": segment_ids_BL,
      "segment_ids_BL": segment_ids_BL,
    }

  def impression_batch(self, impressions):
    return {"item_BN": impressions.candidates}


class ItemBias(nn.Module):
  """logits = table[item]."""

  num_items: int
  num_tasks: int

  uses_time = False
  max_length = NO_LIMIT
  item_tables = (("table",),)
  logical_axes = {"table": (None, None)}

  def setup(self):
    shape = (self.num_items + 1, self.num_tasks)
    self.table = self.param("table", nn.initializers.zeros, shape)

  def __call__(self, batch, *, deterministic):
    return Outputs(logits=self.table[batch["item_BL"]])

  def items(self, ids):
    return self.table[ids]

  def score(self, batch):
    return self.table[batch["item_BN"]]


class Blind(nn.Module):
  """Answers nothing."""


def toy_run(
  histories,
  feedback,
  *,
  num_candidates=3,
  batch_size=4,
  monitor="auc",
  system=None,
) -> Run:
  """A run of the two above that was never on disk, but for its data."""
  config = {
    "name": "toy",
    "title": "",
    "seed": 0,
    "system": {"name": "toy_ranker.ItemBias"},
    **{kind.section: {} for kind in KINDS.values()},
    "value": {},
  }
  workdir = histories.directory.parent
  return Run(
    workdir=workdir,
    config=config,
    histories=histories,
    artifacts=Artifacts.of(config, workdir, histories),
    pipeline=PipelineOptions(
      layout=ItemsAlone(feedback, num_candidates), batch_size=8, row_length=8
    ),
    system=system or ItemBias(histories.manifest.num_items, feedback.num_tasks),
    objective=BinaryCrossEntropy(feedback.tasks),
    optimizer=optax.sgd(1.0),
    train=LoopOptions(steps=1, monitor=monitor),
    requests=RequestOptions(batch_size=batch_size),
    evals={"shown_items": ShownItems(feedback)},
    mesh=MeshOptions(),
    retrieval=None,
  )


def params_of(table) -> dict:
  """Parameters with these logits, on the devices."""
  return jax.device_put(
    {"table": np.asarray(table, np.float32)}, sharding.local().replicated
  )
