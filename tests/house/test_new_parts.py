# SPDX-License-Identifier: Apache-2.0
"""A further evaluator and a further model touch nothing that is there.

Both are defined here and offered by their package, as its `__init__` would:
docs/contributing.md goes through the same two, file by file.
"""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import hstu_movielens
from genrec_jax import evaluation, models
from genrec_jax.core import seams, sharding
from genrec_jax.core.types import Outputs
from genrec_jax.data.dataset.requests import iter_requests
from genrec_jax.evaluation import document as documents
from genrec_jax.evaluation.base import Unwatched
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import Loaded
from genrec_jax.ops.packed_rows import last_of_rows
from genrec_jax.report import plain


@dataclasses.dataclass(frozen=True)
class TopItem(Unwatched):
  """How many different items are anybody's first."""

  def check(self, run, watched=()):
    seams.require(run.system, seams.QueryModel, "config.system")

  def measure(self, run, loaded, *, baselines=True):
    search = run.search(loaded.params, run.index(loaded.params))
    ids = [
      np.asarray(search(batch, 1, None)[0])
      for batch in iter_requests(run.histories, "test", 64)
    ]
    found = len(np.unique(np.concatenate(ids)))
    return {"metrics": {"test": {"different": found}}}, None

  def text(self, document):
    return f"{document['metrics']['test']['different']} different first items"


class LastItem(nn.Module):
  """query_i = E[item_i]: what is like the last item comes next."""

  num_items: int
  width: int = 8

  uses_time = False
  max_length = 32
  item_tables = (("table",),)
  logical_axes = {"table": ("rows", "width")}

  def setup(self):
    shape = (self.num_items + 1, self.width)
    self.table = self.param("table", nn.initializers.normal(), shape)

  def __call__(self, batch, *, deterministic):
    x_BLD = self.table[batch["item_BL"]]
    return Outputs(hidden=x_BLD, query=x_BLD)

  def query(self, batch):
    query_BLD = self(batch, deterministic=True).query
    return last_of_rows(query_BLD, batch["segment_ids_BL"])

  def items(self, ids=None):
    return self.table if ids is None else self.table[ids]


def offer(monkeypatch, package, thing):
  """What a line in the package's __init__ does."""
  name = thing.__name__
  monkeypatch.setattr(package, name, thing, raising=False)
  monkeypatch.setattr(package, "__all__", [*package.__all__, name])


@pytest.fixture
def config():
  c = hstu_movielens.get_config("quicktest")
  c.data.num_users = 40
  return c


def _loaded(run):
  params = jax.device_put(run.init_params(), sharding.local().replicated)
  return Loaded(params, "best", 0, {"seconds": 1.0})


def test_an_evaluator_needs_its_file_and_a_name(config, monkeypatch, tmp_path):
  offer(monkeypatch, evaluation, TopItem)
  config.evals = {"top": {"name": "evaluation.TopItem"}}
  config.train.eval_every_steps = 0
  run = Run.start(config, tmp_path)
  run.check_evals()
  evaluators = documents.chosen(run)
  document, kept = documents.measure(run, _loaded(run), evaluators)
  assert kept == {} and document["title"] == "HSTU"
  section = document["sections"]["top"]
  assert 1 <= section["metrics"]["test"]["different"] <= 40
  assert "different first items" in documents.text(document, evaluators)
  part = plain.part_of(tmp_path, documents.of_section(document, "top"))
  assert "<th>different</th>" in part.body


def test_a_model_needs_its_file_and_a_name(config, monkeypatch, tmp_path):
  offer(monkeypatch, models, LastItem)
  config.system = {"name": "models.LastItem"}
  run = Run.start(config, tmp_path)
  run.check_evals()
  program = run.program()
  assert program.steps == ("train", "query", "items", "retrieve")
  with program.in_force():
    state = program.init_state()
    batch = sharding.put(
      program.example_batch(program.placement.mesh.size),
      program.placement.by_rows,
    )
    state, metrics = program.train_step(state, batch)
  assert jnp.isfinite(metrics["loss"])
  found = run.validate(state.params)
  assert 0 <= found["ndcg@10"] <= 1
