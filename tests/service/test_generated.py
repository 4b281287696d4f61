# SPDX-License-Identifier: Apache-2.0
"""A model that generates codes behind the service, beside its offline lists."""

import dataclasses
import warnings

import jax
import numpy as np
import pytest

from configs import tiger_amazon
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
from genrec_jax.semantic_ids.uniqueness import DedupLevel
from genrec_jax.service import golden
from genrec_jax.service.compilations import Compilations
from genrec_jax.service.opening import Source, open_source
from genrec_jax.service.shapes import Shapes
from genrec_jax.serving import loading

_SIZES = (4, 4, 64)


@pytest.fixture
def workdir(tmp_path, monkeypatch):
  """A run of first parameters."""
  prepare(
    Synthetic(num_users=30, num_items=40), LeaveOneOut(), tmp_path / "data"
  )
  vectors = ItemVectors.make(
    Catalog(tmp_path / "data"),
    TfidfSvd(width=8),
    "{title}",
    tmp_path / "vectors",
  )
  ItemTokens.make(
    tmp_path / "tokens",
    vectors,
    ResidualKMeans(_SIZES[:2]),
    DedupLevel(_SIZES[2]),
  )
  c = tiger_amazon.get_config("decoder_only-quicktest")
  c.prepared = str(tmp_path / "data")
  c.data.num_users, c.data.num_items = 30, 40
  c.content.directory = str(tmp_path / "vectors")
  c.tokens.directory = str(tmp_path / "tokens")
  c.pipeline.layout.num_levels = len(_SIZES)
  c.system.update(level_sizes=_SIZES, width=8)
  c.system.backbone.update(width=8, num_layers=1, num_heads=1, ffn_width=8)
  c.retrieval = {"name": "retrieval.Beam", "num_beams": 10}
  c.requests.batch_size = 16
  run = Run.start(c, tmp_path / "run")
  params = jax.device_put(run.init_params(), sharding.local().replicated)
  monkeypatch.setattr(
    loading,
    "load_params",
    lambda run, checkpoint: Loaded(params, checkpoint, 1, {}),
  )
  return tmp_path / "run"


@pytest.mark.slow
def test_lists_of_codes_are_those_of_offline_and_compile_nothing(workdir):
  shapes = Shapes(batches=(1, 4), lists=(8, 64), histories=(1, 17))
  with warnings.catch_warnings():
    # Short lists are warned of.
    warnings.simplefilter("ignore")
    opened = open_source(Source(str(workdir)), shapes, num_golden=5)
  served = opened.served
  assert served.shapes.lists == (8, 10)
  assert served.codes.shape == (served.catalog.num_items + 1, len(_SIZES))
  served.warm()
  with Compilations() as made:
    assert golden.check(served, opened.golden) < 1e-4
    (ask,) = [opened.golden[0].ask(served)]
    # Few items are left: a wider search is asked, which is compiled too.
    few = np.zeros(served.catalog.num_items + 1, bool)
    few[[3, 9, 20, 31]] = True
    few = dataclasses.replace(ask, allowed=type(ask.allowed).of(few[None]))
    (listed,) = served.answer([few], "full")
    assert sorted(listed.ids_K) == [3, 9, 20, 31]
    served.answer([few] * 3, "short_history")
  assert made.total == 0
