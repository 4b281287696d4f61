# SPDX-License-Identifier: Apache-2.0
"""Stages one after the other, against lists that are walked through."""

import numpy as np
import pytest

from genrec_jax.data.item_mask import ItemMask
from genrec_jax.ranking.stages import RankingStage, said_by_first, staged
from genrec_jax.service import ladder
from genrec_jax.service.asks import ListAsk
from tests.service import fakes
from tests.service.fakes import NextNumber
from tests.service.paged_models import requests
from tests.serving.formula_ranker import formula_ranker, prepared


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  return prepared(tmp_path_factory.mktemp("stages") / "data")


def _by_hand(data, record, time, allowed_V1, rankers, counts, k):
  """Items by number, and the value of the last stage."""
  last = int(record["item"][-1])
  found = fakes.order(last, allowed_V1)[: counts[0]].tolist()
  for (ranker, weights), count in zip(rankers, [*counts[1:], k], strict=True):
    ids = [ranker.catalog.ids[v] for v in found]
    user = ranker.users.ids[int(record["user"])]
    table = ranker.rank(ids, user, weights=weights, request_time=time)
    value = dict(zip(table["item_id"], table["value"], strict=True))
    # Ties in the order of the stage before.
    found.sort(key=lambda v: -value[ranker.catalog.ids[v]])
    found = found[:count]
    values = [value[ranker.catalog.ids[v]] for v in found]
  return found, values


def test_each_stage_orders_what_the_one_before_finds(data):
  light, heavy = formula_ranker(data, 0.0), formula_ranker(data, 0.7)
  stages = [
    RankingStage(light, 14, "cart=1"),
    RankingStage(heavy, 6, "cart=1,purchase=3"),
  ]
  num_items = data.manifest.num_items
  search = staged(NextNumber(num_items), data, stages)
  users = [0, 3, 7]
  records = [data[u] for u in users]
  gap = data.manifest.epoch_seconds
  times = [int(r["time"][-1]) + 50 for r in records]
  draw = np.random.default_rng(0)
  allowed = draw.random((3, num_items + 1)) < 0.8
  allowed[:, 0] = False
  found, values, said = search(
    requests(records, times), 4, ItemMask.of(allowed)
  )
  rankers = [(light, "cart=1"), (heavy, "cart=1,purchase=3")]
  for row, record in enumerate(records):
    items, worth = _by_hand(
      data, record, times[row] + gap, allowed[row], rankers, [14, 6], 4
    )
    assert found[row].tolist() == items
    np.testing.assert_allclose(values[row], worth, rtol=1e-6)
  assert said["candidates"].shape == (3, 6)
  assert said["retrieved"]["candidates"].shape == (3, 14)
  assert said_by_first(said, 2) == {}
  assert staged(search, data, []) is search
  with pytest.raises(ValueError, match="cannot be given more"):
    staged(search, data, [RankingStage(light, 5), RankingStage(heavy, 6)])
  assert RankingStage(light, 14).fewer(4).num_candidates == 3
  assert RankingStage(light, 3).fewer(4).num_candidates == 1


def test_a_service_has_them_and_fewer_under_load(data):
  light, heavy = formula_ranker(data, 0.0), formula_ranker(data, 0.7)
  served = fakes.served(
    ranker=heavy, num_candidates=6, between=[RankingStage(light, 14)]
  )
  assert served.shapes.lists[-1] == 6
  num_items = data.manifest.num_items
  record = data[4]
  time = int(record["time"][-1]) + 50
  everything = np.arange(num_items + 1) > 0
  ask = ListAsk(
    "u", record, time, ItemMask.of(everything[None]), 6, by_model=True
  )
  seen = {}
  for step, counts in (("full", [14, 6]), ("few_candidates", [3, 1])):
    short = record if step == "full" else _last(record, 16)
    (listed,) = served.answer([ask], step)
    # No stage gives fewer than are asked for.
    counts = [max(count, 6) for count in counts]
    items, _ = _by_hand(
      data,
      short,
      time + data.manifest.epoch_seconds,
      everything,
      [(light, ""), (heavy, "")],
      counts,
      6,
    )
    seen[step] = listed.ids_K.tolist()
    if step == "full":
      assert seen[step] == items
    assert listed.reused.new == len(record["item"])
  (first,) = served.answer([ask], ladder.RETRIEVAL_ONLY)
  assert (
    first.ids_K.tolist()
    == fakes.order(int(record["item"][-1]), everything)[:6].tolist()
  )
  assert {*seen["few_candidates"]} == {*first.ids_K.tolist()}


def _last(record, count):
  return {k: v if k == "user" else v[-count:] for k, v in record.items()}
