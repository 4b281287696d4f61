# SPDX-License-Identifier: Apache-2.0
"""The true model agrees with what the simulator does, and is the oracle."""

import dataclasses
import datetime
import shutil

import numpy as np
import pytest

from genrec_jax.baselines.item_knn import ItemKNN
from genrec_jax.baselines.most_popular import MostPopular
from genrec_jax.baselines.oracle import TrueModel
from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.requests import (
  iter_requests,
  make_requests,
  requests_at,
)
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.data.prepare.preparation import prepare
from genrec_jax.data.schema import Manifest
from genrec_jax.data.simulator.synthetic import Synthetic
from genrec_jax.data.simulator.world import World
from genrec_jax.data.splits import LeaveOneOut

_SOURCE = Synthetic(
  seed=5, num_users=400, num_items=150, num_categories=6, mean_events=25.0
)


_SEASONAL = dataclasses.replace(_SOURCE, season=0.6, days=900)


@pytest.fixture(scope="module")
def seasonal(tmp_path_factory):
  path = tmp_path_factory.mktemp("seasonal") / "data"
  prepare(_SEASONAL, LeaveOneOut(), path, keep_unseen_items=True)
  return path


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
  path = tmp_path_factory.mktemp("synthetic") / "data"
  prepare(_SOURCE, LeaveOneOut(), path, keep_unseen_items=True)
  return path


@pytest.fixture(scope="module")
def model(directory):
  return TrueModel.from_directory(directory)


@pytest.fixture(scope="module")
def requests(directory):
  """Every event of 300 users, first events and all."""
  histories = Histories(directory)
  return make_requests(
    [
      (histories[user], position)
      for user in range(300)
      for position in range(len(histories[user]["item"]))
    ]
  )


@pytest.fixture(scope="module")
def p_BV(model, requests):
  return model.probability(requests)


def _by_hand(world: World, history, user: int, now: int, gap: int) -> dict:
  """p by item id, an item at a time, off the equations of
  data/simulator/world.py.

  history: (item id, action name) pairs, oldest first; gap: seconds since.
  """
  number = {name: i for i, name in enumerate(world.item_ids.tolist())}
  past = [number[item] for item, _ in history]
  interests = {}
  for category, weight in zip(
    world.interest_UK[user], world.interest_weight_UK[user], strict=True
  ):
    interests[int(category)] = interests.get(int(category), 0) + weight
  q = {}
  if not past:
    q = interests
  else:
    last = int(world.category_V[past[-1]])
    row = 2 if history[-1][1] == "purchase" else int(gap >= 1800)
    stay, move, rest = world.moves_33[row]
    for category in range(world.num_categories):
      q[category] = (
        stay * (category == last)
        + move * (category == world.accessory_C[last])
        + rest * interests.get(category, 0)
      )
  attraction = {}
  for i in range(world.num_items):
    category = int(world.category_V[i])
    if not world.birth_V[i] <= now < world.death_V[i]:
      continue
    age = now - world.birth_V[i]
    a = world.weight_V[i]
    a *= 1 + world.novelty * np.exp(-age / world.novelty_seconds)
    tiers = [world.tier_V[j] for j in past if world.category_V[j] == category]
    if tiers:
      wanted = (int(tiers[-1]) + int(world.direction_U[user])) % world.num_tiers
      a *= 1 + world.follow * (world.tier_V[i] == wanted)
    a *= 1 + world.taste * (world.material_V[i] == world.material_U[user])
    attraction[i] = a * (world.repeat if i in past else 1)
  total = {}
  for i, a in attraction.items():
    category = int(world.category_V[i])
    total[category] = total.get(category, 0) + a
  p = {
    i: q.get(int(world.category_V[i]), 0) * a / total[int(world.category_V[i])]
    for i, a in attraction.items()
  }
  if world.season is not None:
    month = datetime.datetime.fromtimestamp(int(now), datetime.UTC).month
    these = {
      i: a for i, a in attraction.items() if world.month_V[i] + 1 == month
    }
    share = world.season if these else 0.0
    for i in p:
      p[i] *= 1 - share
      p[i] += share * these.get(i, 0) / sum(these.values() or [1])
  return {str(world.item_ids[i]): value for i, value in p.items()}


def test_equals_the_equations_worked_out_one_item_at_a_time(directory, model):
  _check_equations(_SOURCE, directory, model)


def test_the_season_is_in_the_equations(seasonal):
  model = TrueModel.from_directory(seasonal)
  _check_equations(_SEASONAL, seasonal, model)
  batch = next(iter_requests(Histories(seasonal), "test", 100))
  np.testing.assert_allclose(
    model.probability(batch).sum(axis=1), 1, rtol=1e-12
  )


def test_frequencies_agree_with_p_in_a_season(seasonal):
  model, histories = TrueModel.from_directory(seasonal), Histories(seasonal)
  requests = make_requests(
    [
      (histories[user], position)
      for user in range(150)
      for position in range(len(histories[user]["item"]))
    ]
  )
  p_BV = model.probability(requests)
  z = _calibration_z(p_BV, requests.target)
  assert np.abs(z).max() < 4
  # One that reads the month of another time of the year is seen.
  later = dataclasses.replace(
    requests, query_time=requests.query_time + np.int32(180 * 86_400)
  )
  z = _calibration_z(model.probability(later), requests.target)
  assert np.abs(z).max() > 10


def test_hidden_events_are_in_the_history_that_the_oracle_knows(tmp_path):
  found = []
  for hidden in (0.0, 0.3):
    source = Synthetic(num_users=50, num_items=80, min_events=3, hidden=hidden)
    directory = tmp_path / str(hidden)
    prepare(source, LeaveOneOut(), directory, keep_unseen_items=True)
    model, catalog = TrueModel.from_directory(directory), Catalog(directory)
    users = Users(directory)
    lists = {}
    for part in ("validation", "test"):
      for batch in iter_requests(Histories(directory), part, 50):
        rows = zip(
          batch.user, batch.target, model.probability(batch), strict=True
        )
        for user, target, p_V in rows:
          key = (part, users.ids[user])
          lists[key] = (
            catalog.ids[target],
            dict(zip(catalog.ids, p_V, strict=True)),
          )
    found.append(lists)
  whole, partial = found
  assert whole.keys() == partial.keys() and len(whole) == 100
  for key, (target, p) in whole.items():
    assert partial[key][0] == target
    for item, value in p.items():
      assert partial[key][1][item] == pytest.approx(value, rel=1e-9, abs=1e-15)


def _check_equations(source, directory, model):
  world = World.from_file(directory / "truth.npz")
  raw = source.read()
  catalog, histories = Catalog(directory), Histories(directory)
  users = Users(directory)
  for user_id, position in ((0, 0), (1, 3), (7, 4), (20, 4), (33, 2), (61, 4)):
    name = str(world.user_ids[user_id])
    log = raw.events.filter(raw.events["user"] == name)
    times = log["timestamp"].to_list()
    events = list(log.select("item", "action").iter_rows())
    gap = times[position] - times[position - 1] if position else 0
    expected = _by_hand(world, events[:position], user_id, times[position], gap)
    record = histories[users.index_of(name)]
    got_V = model.probability(make_requests([(record, position)]))[0]
    for index in range(1, catalog.num_items + 1):
      wanted = expected.get(catalog.ids[index], 0.0)
      assert got_V[index] == pytest.approx(wanted, rel=1e-9, abs=1e-15)


def test_sums_to_one_without_the_pad(p_BV):
  assert (p_BV >= 0).all()
  np.testing.assert_allclose(p_BV.sum(axis=1), 1, rtol=1e-12)
  assert (p_BV[:, 0] == 0).all()


def _calibration_z(p_BV, target_B) -> np.ndarray:
  """(hits - expected) / standard deviation, in bins of p."""
  hit_BV = np.zeros(p_BV.shape, bool)
  hit_BV[np.arange(len(target_B)), target_B] = True
  edges = np.array([1e-6, 1e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.2, 0.4, 1.01])
  bin_BV = np.digitize(p_BV, edges)
  expected = np.bincount(bin_BV.ravel(), p_BV.ravel(), len(edges) + 1)
  variance = np.bincount(
    bin_BV.ravel(), (p_BV * (1 - p_BV)).ravel(), len(edges) + 1
  )
  hits = np.bincount(bin_BV[hit_BV], minlength=len(edges) + 1)
  filled = expected > 10
  assert filled.sum() >= 6
  return (hits - expected)[filled] / np.sqrt(variance[filled])


def test_frequencies_of_next_items_agree_with_p(p_BV, requests):
  z = _calibration_z(p_BV, requests.target)
  assert np.abs(z).max() < 4
  # The same statistic sees a p that is off by a tenth of its likeliest item.
  wrong_BV = 0.9 * p_BV + 0.1 / (p_BV.shape[1] - 1)
  assert np.abs(_calibration_z(wrong_BV, requests.target)).max() > 6


def test_mean_log_likelihood_is_minus_the_entropy(p_BV, requests):
  log_BV = np.log(np.where(p_BV > 0, p_BV, 1))
  entropy_B = -np.sum(p_BV * log_BV, axis=1)
  likelihood_B = log_BV[np.arange(len(p_BV)), requests.target]
  assert (p_BV[np.arange(len(p_BV)), requests.target] > 0).all()
  excess_B = likelihood_B + entropy_B
  error = excess_B.std() / np.sqrt(len(excess_B))
  assert abs(excess_B.mean()) < 4 * error
  assert error < 0.03


def test_items_that_are_not_alive_have_no_probability(
  directory, model, requests, p_BV
):
  world = World.from_file(directory / "truth.npz")
  epoch = Histories(directory).manifest.epoch_seconds
  catalog = Catalog(directory)
  place = {name: i for i, name in enumerate(world.item_ids.tolist())}
  number_V = [place[name] for name in catalog.ids[1:]]
  time_B1 = (requests.query_time.astype(np.int64) + epoch)[:, None]
  dead_BV = time_B1 >= world.death_V[number_V]
  dead_BV |= time_B1 < world.birth_V[number_V]
  assert 0.05 < dead_BV.mean() < 0.5
  assert (p_BV[:, 1:][dead_BV] == 0).all()
  rows = np.arange(0, len(requests), 50)
  ids_BK, scores_BK, _ = model.search(
    requests_at(requests, rows), catalog.num_items
  )
  for row, ids_K, scores_K in zip(rows, ids_BK, scores_BK, strict=True):
    found_K = ids_K[ids_K > 0]
    assert not dead_BV[row][found_K - 1].any()
    assert len(found_K) == np.sum(p_BV[row] > 0)
    assert (scores_K[len(found_K) :] == -np.inf).all()


@pytest.mark.parametrize("filtered", [False, True])
def test_no_ranker_expects_more_hits(directory, model, filtered):
  histories, catalog = Histories(directory), Catalog(directory)
  rankers = [
    model,
    MostPopular(catalog.count),
    ItemKNN.tune(histories, filter_history=filtered, windows=((2, 0.8),)),
  ]
  rng = np.random.default_rng(0)
  hits, expected = np.zeros(3), np.zeros(3)
  for batch in iter_requests(histories, "test", 100):
    p_BV = model.probability(batch)
    allowed = rng.random(p_BV.shape) < 0.9 if filtered else None
    mask = None if allowed is None else ItemMask.of(allowed)
    lists = [r.search(batch, 10, mask)[0] for r in rankers]
    mass_RB = np.array(
      [np.take_along_axis(p_BV, ids, axis=1).sum(axis=1) for ids in lists]
    )
    assert (mass_RB[0] >= mass_RB[1:] - 1e-6).all()
    expected += mass_RB.sum(axis=1)
    hits += [np.sum(ids == batch.target[:, None]) for ids in lists]
  # What was expected is what happens, and the order is a clear one.
  assert abs(hits[0] - expected[0]) < 4 * np.sqrt(len(histories) / 4)
  assert hits[0] > 1.2 * hits[2] > 1.2 * hits[1]


def test_masked_items_are_never_returned(model, requests, p_BV):
  rows = np.arange(0, len(requests), 100)
  rng = np.random.default_rng(1)
  allowed = rng.random((len(rows), p_BV.shape[1])) < 0.5
  ids_BK, scores_BK, aux = model.search(
    requests_at(requests, rows), 10, ItemMask.of(allowed)
  )
  assert aux == {}
  for row, ids_K, scores_K, allowed_V in zip(
    rows, ids_BK, scores_BK, allowed, strict=True
  ):
    assert allowed_V[ids_K].all()
    np.testing.assert_allclose(scores_K, p_BV[row, ids_K], rtol=1e-6)
    left_V = np.where(allowed_V, p_BV[row], 0)
    assert scores_K[-1] >= np.sort(left_V)[-10] * (1 - 1e-6)


def test_what_it_cannot_answer_is_said(directory, tmp_path, requests, model):
  batch = requests_at(requests, np.array([3, 4]))
  stranger = dataclasses.replace(batch, user=np.array([1, -1], np.int32))
  with pytest.raises(ValueError, match="request 1 has no known user"):
    model.search(stranger, 10)

  copy = tmp_path / "copy"
  shutil.copytree(directory, copy)
  (copy / "truth.npz").unlink()
  with pytest.raises(ValueError, match=r"truth\.npz is missing"):
    TrueModel.from_directory(copy)
  dataclasses.replace(Manifest.load(copy), files={}).save(copy)
  with pytest.raises(ValueError, match=r"no .*truth\.npz"):
    TrueModel.from_directory(copy)

  foreign = Synthetic(num_users=10, num_items=20).read()
  (copy / "truth.npz").write_bytes(foreign.extras["truth.npz"])
  with pytest.raises(ValueError, match="another data set"):
    TrueModel.from_directory(copy)

  np.savez(copy / "truth.npz", weight=np.ones(3))
  with pytest.raises(ValueError, match="prepare the data set again"):
    TrueModel.from_directory(copy)


def test_dropped_events_are_an_error(tmp_path):
  source = Synthetic(num_users=60, num_items=200)
  prepare(source, LeaveOneOut(), tmp_path / "data", min_item_events=5)
  with pytest.raises(ValueError, match="needs whole histories"):
    TrueModel.from_directory(tmp_path / "data")


def test_items_missing_from_the_catalogue_take_their_share(tmp_path, model):
  source = Synthetic(num_users=60, num_items=200)
  prepare(source, LeaveOneOut(), tmp_path / "data")
  partial = TrueModel.from_directory(tmp_path / "data")
  histories = Histories(tmp_path / "data")
  assert histories.manifest.num_items < 200
  (batch,) = iter_requests(histories, "test", 60)
  total_B = partial.probability(batch).sum(axis=1)
  assert (total_B < 1 + 1e-12).all() and (total_B < 1 - 1e-6).any()
