# SPDX-License-Identifier: Apache-2.0
"""A further search is one class and a line of the config.

It is defined here and offered by its package, as a line of the `__init__`
would: beams, put in the order of the items' vectors. The model generates codes
and has vectors of items too.
"""

import dataclasses
from typing import ClassVar

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import tiger_amazon
from genrec_jax import models, retrieval
from genrec_jax.content.item_vectors import ItemVectors
from genrec_jax.content.tfidf import TfidfSvd
from genrec_jax.core import seams, sharding
from genrec_jax.data import LeaveOneOut
from genrec_jax.data.dataset import Catalog
from genrec_jax.data.dataset.requests import iter_requests
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.data.prepare import prepare
from genrec_jax.data.simulator.synthetic import Synthetic
from genrec_jax.decoding.beam import beam_search
from genrec_jax.decoding.item_bits import of_ids
from genrec_jax.experiment.experiment import Run
from genrec_jax.models.token_decoder import TokenDecoder
from genrec_jax.ops.packed_rows import last_of_rows
from genrec_jax.semantic_ids.item_tokens import ItemTokens
from genrec_jax.semantic_ids.quantizers.rq_kmeans import ResidualKMeans
from genrec_jax.semantic_ids.uniqueness import DedupLevel
from genrec_jax.tpu.compile import steps_of
from tests.house.test_new_parts import offer

_SIZES = (4, 4, 64)
_TRACES = []


class TokensAndVectors(TokenDecoder):
  """Codes from one half of the model, <query, item> from the other."""

  def setup(self):
    super().setup()
    shape = (self.num_items + 1, self.width)
    self.table = self.param("table", nn.initializers.normal(), shape)

  @property
  def logical_axes(self):
    return {"table": ("rows", "width"), **super().logical_axes}

  def query(self, batch):
    x_BLD = self.table[batch["item_BL"]]
    return last_of_rows(x_BLD, batch["segment_ids_BL"])

  def items(self, ids=None):
    return self.table if ids is None else self.table[ids]


@dataclasses.dataclass(frozen=True)
class Rerank:
  """The items of num_beams beams, in the order of <query, item>."""

  num_beams: int

  needs: ClassVar = (seams.DecoderModel, seams.QueryModel)

  @property
  def num_results(self):
    return self.num_beams

  def __call__(self, model, items, allowed_BW):
    _TRACES.append(allowed_BW is None)
    bits = None if allowed_BW is None else of_ids(items.trie, allowed_BW)
    ids_BK, _, codes_BKM = beam_search(model, items.trie, self.num_beams, bits)
    query_BD = model.ask("query", model.batch)
    scores_BK = jnp.einsum(
      "BD,BKD->BK", query_BD, items.vectors_RD[ids_BK], precision="highest"
    )
    scores_BK = jnp.where(ids_BK > 0, scores_BK, -jnp.inf)
    order_BK = jnp.lexsort((ids_BK, -scores_BK), axis=1)
    return (
      jnp.take_along_axis(ids_BK, order_BK, axis=1),
      jnp.take_along_axis(scores_BK, order_BK, axis=1),
      jnp.take_along_axis(codes_BKM, order_BK[..., None], axis=1),
    )


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
  """A prepared data set with vectors and codes of its items."""
  folder = tmp_path_factory.mktemp("search")
  prepare(Synthetic(num_users=30, num_items=40), LeaveOneOut(), folder / "data")
  vectors = ItemVectors.make(
    Catalog(folder / "data"), TfidfSvd(width=8), "{title}", folder / "vectors"
  )
  ItemTokens.make(
    folder / "tokens",
    vectors,
    ResidualKMeans(_SIZES[:2]),
    DedupLevel(_SIZES[2]),
  )
  return folder


@pytest.fixture
def config(artifacts, monkeypatch):
  offer(monkeypatch, models, TokensAndVectors)
  offer(monkeypatch, retrieval, Rerank)
  c = tiger_amazon.get_config("decoder_only-quicktest")
  c.prepared = str(artifacts / "data")
  c.data.num_users, c.data.num_items = 30, 40
  c.content.directory = str(artifacts / "vectors")
  c.tokens.directory = str(artifacts / "tokens")
  c.pipeline.layout.num_levels = len(_SIZES)
  c.system.update(name="models.TokensAndVectors", level_sizes=_SIZES, width=8)
  c.system.backbone.update(width=8, num_layers=1, num_heads=1, ffn_width=8)
  c.retrieval = {"name": "retrieval.Rerank", "num_beams": 44}
  c.requests.batch_size = 16
  return c


def test_a_search_by_codes_and_vectors_needs_its_file_and_a_name(
  config, tmp_path
):
  run = Run.start(config, tmp_path)
  run.check_evals()
  num_items = run.histories.manifest.num_items
  assert num_items < 44, "the beams hold every item"
  params = jax.device_put(run.init_params(), sharding.local().replicated)
  search = run.search(params)
  table = np.asarray(params["table"], np.float64)
  _TRACES.clear()
  draw = np.random.default_rng(0)
  for batch in iter_requests(run.histories, "test", 11):
    allowed = draw.random((len(batch), num_items + 1)) < 0.6
    allowed[:, 0] = False
    ids, scores, aux = search(batch, 44, ItemMask.of(allowed))
    last = [record["item"][-1] for record in batch.history]
    expected = np.where(allowed, table[last] @ table.T, -np.inf)
    for b in range(len(batch)):
      count = allowed[b].sum()
      np.testing.assert_array_equal(
        ids[b, :count], np.argsort(-expected[b], kind="stable")[:count]
      )
      np.testing.assert_allclose(
        scores[b, :count], expected[b, ids[b, :count]], rtol=1e-5, atol=1e-9
      )
      assert not ids[b, count:].any() and (scores[b, count:] == -np.inf).all()
    np.testing.assert_array_equal(aux["codes"], run.artifacts.codes()[ids])
  # Batches of any size, and other parameters, are the same program.
  doubled = jax.tree.map(lambda x: 2 * x, params)
  again = run.search(doubled)(batch, 44, ItemMask.of(allowed))[1]
  finite = scores > -np.inf
  np.testing.assert_allclose(again[finite], 4 * scores[finite], rtol=1e-6)
  assert _TRACES == [False]


def test_what_it_searches_is_known_before_there_is_any(config, tmp_path):
  program = Run.start(config, tmp_path).program()
  assert program.steps == ("train", "items", "decode")
  items, decode = steps_of(program, ("items", "decode"))
  with program.in_force():
    there = items.function.eval_shape(*items.arguments)
    ids, _, _ = decode.function.eval_shape(*decode.arguments)
  vectors = decode.arguments[2].vectors_RD
  assert vectors.shape == there.shape and vectors.sharding == there.sharding
  assert ids.shape == (16, 44)


def test_a_model_without_vectors_is_refused(config, tmp_path):
  config.system.name = "models.TokenDecoder"
  with pytest.raises(
    ValueError,
    match=r"config.retrieval is Rerank, for which config.system \(TokenDecoder"
    r"\) lacks query, items, which QueryModel asks for",
  ):
    Run.start(config, tmp_path)
