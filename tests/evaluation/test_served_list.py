# SPDX-License-Identifier: Apache-2.0
"""Served lists against loops: members, the rule, the order, and whose hits."""

import json

import numpy as np
import pytest

from genrec_jax.data.dataset.requests import iter_requests
from genrec_jax.evaluation import served_list_results as results
from genrec_jax.evaluation.full_ranking import evaluate
from genrec_jax.evaluation.served_list import ServedList
from genrec_jax.experiment.restored import Loaded
from genrec_jax.retrieval.ensemble import Quotas
from tests.evaluation.toy_ranker import params_of, toy_run
from tests.retrieval.test_joined_lists import fused, shared_out
from tests.serving.formula_ranker import FEEDBACK, prepared

_KS = (1, 2, 5)
_QUOTAS = Quotas({"a": 3, "b": 3, "c": 3})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  histories = prepared(tmp_path_factory.mktemp("served") / "data")
  return toy_run(histories, FEEDBACK)


@pytest.fixture(scope="module")
def loaded(run):
  rng = np.random.default_rng(5)
  shape = (run.histories.manifest.num_items + 1, FEEDBACK.num_tasks)
  return Loaded(params_of(rng.normal(size=shape)), "best", 1, {})


def _order(user, event, salt, num_items):
  rng = np.random.default_rng([int(user), int(event), salt])
  return (1 + rng.permutation(num_items)).tolist()


def _member(salt, num_items, longest):
  def search(requests, k, allowed=None):
    ids = np.zeros((len(requests), k), np.int32)
    rows = zip(requests.user, requests.event, strict=True)
    for row, (user, event) in enumerate(rows):
      mine = _order(user, event, salt, num_items)
      if allowed is not None:
        mine = [i for i in mine if allowed.dense()[row, i]]
      ids[row, : min(k, longest)] = (mine + [0] * k)[: min(k, longest)]
    return ids, None, {}

  return search


_LONGEST = {"a": 99, "b": 7, "c": 5}


def _members(run):
  num_items = run.histories.manifest.num_items
  return {
    name: _member(salt, num_items, longest)
    for salt, (name, longest) in enumerate(_LONGEST.items())
  }


def _by_loops(run, table, rule, n, depth, hide):
  """Of every test request: user, lists by member, candidates, final list."""
  num_items = run.histories.manifest.num_items
  count = run.catalog.count
  order = sorted(range(1, num_items + 1), key=lambda i: (-count[i], i))
  found = []
  for batch in iter_requests(run.histories, "test", 1):
    seen = set(batch.history[0]["item"].tolist()) if hide else set()
    lists = {}
    for salt, (name, longest) in enumerate(_LONGEST.items()):
      mine = _order(batch.user[0], batch.event[0], salt, num_items)
      mine = [i for i in mine if i not in seen]
      lists[name] = mine[: min(depth, longest)]
    if rule == "quotas":
      joined = shared_out(list(lists.values()), (3, 3, 3))
    else:
      joined = fused(list(lists.values()), (1, 1, 1), 60)[0]
    joined += [i for i in order if i not in joined and i not in seen]
    joined = joined[:n]
    final = joined
    if table is not None:
      value = (1 / (1 + np.exp(-table.astype(np.float32)))) @ [1.0, 4.0]
      final = sorted(joined, key=lambda i: -value[i])
    target = int(batch.target[0])
    found.append((int(batch.user[0]), target, target in seen, lists, joined,
                  final))  # fmt: skip
  return found


@pytest.mark.parametrize(
  ("rule", "ranked", "hide"),
  [("quotas", True, True), ("rrf", True, False), ("rrf", False, True)],
)
def test_every_figure_is_that_of_loops(run, loaded, rule, ranked, hide):
  n, depth = (6, 9) if rule == "quotas" else (8, 8)
  ensemble = {"members": _members(run), "num_results": depth}
  if rule == "quotas":
    ensemble["rule"] = _QUOTAS
  evaluator = ServedList(
    ks=_KS,
    ensemble=ensemble,
    ranker="this run" if ranked else "",
    num_candidates=n,
    weights="cart=1,purchase=4" if ranked else "",
    filter_history=hide,
  )
  evaluator.check(run)
  section, kept = evaluator.measure(run, loaded)
  json.dumps(section, allow_nan=False)
  table = np.asarray(loaded.params["table"]) if ranked else None
  rows = _by_loops(run, table, rule, n, depth, hide)
  total = len(rows)
  assert section["requests"] == total > 20
  recall = section["recall"]
  for k in _KS:
    want = np.mean([target in final[:k] for _, target, *_, final in rows])
    assert recall["served"][f"recall@{k}"] == pytest.approx(want)
    want = np.mean([target in joined[:k] for _, target, *_, joined, _ in rows])
    assert recall["joined"][f"recall@{k}"] == pytest.approx(want)
    for name in _LONGEST:
      want = np.mean([t in lists[name][:k] for _, t, _, lists, *_ in rows])
      assert recall["members"][name][f"recall@{k}"] == pytest.approx(want)
    counts = dict.fromkeys(results.STAGES, 0)
    for _, target, hidden, lists, joined, final in rows:
      if target in final[:k]:
        counts["served"] += 1
      elif hidden:
        counts["hidden"] += 1
      elif target in joined:
        counts["order"] += 1
      elif any(target in ids for ids in lists.values()):
        counts["join"] += 1
      else:
        counts["missed"] += 1
    shares = {name: count / total for name, count in counts.items()}
    assert section["stages"][str(k)] == pytest.approx(shares)
  assert section["stages"]["1"]["order"] > 0
  assert sum(share > 0 for share in shares.values()) > 2
  assert (shares["hidden"] > 0) == hide
  unions = [{i for x in lists.values() for i in x} for *_, lists, _, _ in rows]
  assert recall["union"]["items"] == pytest.approx(np.mean([*map(len, unions)]))
  found = [row[1] in union for row, union in zip(rows, unions, strict=True)]
  assert recall["union"]["recall"] == pytest.approx(np.mean(found))
  assert recall["joined"][f"recall@{n}"] == pytest.approx(
    np.mean([target in joined for _, target, *_, joined, _ in rows])
  )
  _check_hits(section, rows)
  # The same by another evaluation, which knows no stages.
  again = evaluate(
    evaluator._search(run, loaded),
    iter_requests(run.histories, "test", 4),
    num_items=run.histories.manifest.num_items,
    ks=(1, 2),
    filter_history=hide,
  )
  if ranked:
    assert again.metrics["hr@2"] == recall["served"]["recall@2"]
  assert kept.columns["test/users"].tolist() == [row[0] for row in rows]
  text = evaluator.text(section)
  assert "recall@2" in text and "whose hits" in text and "c alone" in text


def _check_hits(section, rows):
  want, both = {}, {}
  for _, target, _, lists, _, final in rows:
    has = tuple(name for name, ids in lists.items() if target in ids)
    for a in has:
      for b in has:
        both[a, b] = both.get((a, b), 0) + 1
    if has or target in final[: max(_KS)]:
      row = want.setdefault(has, [0] * (1 + len(_KS)))
      row[0] += bool(has)
      for place, k in enumerate(_KS, 1):
        row[place] += target in final[:k]
  found = {
    tuple(row["members"]): [row["proposed"], *row["served"].values()]
    for row in section["hits"]
  }
  assert found == want and len(want) > 2
  for a in _LONGEST:
    for b in _LONGEST:
      assert section["overlap"][a][b] == both.get((a, b), 0)


def test_two_lists_are_compared_in_pairs(run, loaded, tmp_path):
  members, found = _members(run), []
  for name in ("ours", "theirs"):
    some = members if name == "ours" else {"a": members["a"]}
    evaluator = ServedList(ks=(2, 8), ensemble={"members": some})
    section, kept = evaluator.measure(run, loaded)
    (tmp_path / name).mkdir()
    kept.save(tmp_path / name / evaluator.file)
    found.append(section["recall"]["served"]["recall@2"])
  difference = evaluator.differences(tmp_path / "ours", tmp_path / "theirs")
  mean, low, high = difference["test"]["hr@2"]
  assert mean == pytest.approx(found[0] - found[1]) and low <= mean <= high
  against = {"workdir": "theirs", "differences": difference}
  assert "recall@2" in evaluator.comparison_text(against)


def test_it_may_be_asked_as_of_the_last_event(run, loaded):
  times, gap = [], run.histories.manifest.median_gap_seconds

  def search(requests, k, allowed=None):
    last = [int(r["time"][-1]) for r in requests.history]
    times.extend(requests.query_time - np.array(last))
    return np.ones((len(requests), k), np.int32), None, {}

  ensemble = {"members": {"a": search}, "num_results": 50}
  ServedList(ensemble=ensemble, request_time="last").measure(run, loaded)
  assert set(times) == {gap}
  times.clear()
  ServedList(ensemble=ensemble).measure(run, loaded)
  assert len(set(times)) > 3


def test_what_cannot_be_measured_is_refused(run):
  few = {"members": {"a": "item_knn"}, "num_results": 9}
  with pytest.raises(ValueError, match=r"joins 9 candidates, .* need 50"):
    ServedList(ensemble=few).check(run)
  ServedList(ensemble=few, ks=(2, 9)).check(run)
  with pytest.raises(ValueError, match="assume='likely', which is of a ranker"):
    ServedList((5,), assume="likely")
  with pytest.raises(ValueError, match="request_time='now' is unknown"):
    ServedList(request_time="now")
  with pytest.raises(ValueError, match="unknown key 'x' in evaluation.Served"):
    ServedList(ensemble={"members": {"a": "item_knn"}, "x": 1})
  # A run that ranks may measure others, but is no member itself.
  ServedList(ensemble={"members": {"a": "item_knn"}}).check(run)
  with pytest.raises(ValueError, match="lacks request_batch"):
    ServedList().check(run)


def test_stages_of_a_few_requests_by_hand():
  served = results.Served(
    users_R=np.array([0, 0, 1, 2, 2, 3]),
    events_R=np.arange(6),
    targets_R=np.arange(1, 7),
    hidden_R=np.array([False] * 5 + [True]),
    served_R=np.array([1, 3, 0, 0, 2, 0]),
    candidate_R=np.array([4, 1, 0, 0, 5, 0]),
    members={
      "a": np.array([1, 0, 7, 0, 0, 0]),
      "b": np.array([2, 1, 0, 0, 0, 0]),
    },
    union_R=np.array([4, 5, 6, 7, 8, 6]),
  )
  found = results.section(served, (2, 3), 5, 8)
  shares = [6 * x for x in found["stages"]["2"].values()]
  assert shares == pytest.approx([2, 1, 1, 1, 1])
  shares = [6 * x for x in found["stages"]["3"].values()]
  assert shares == pytest.approx([3, 0, 1, 1, 1])
  assert found["recall"]["served"] == pytest.approx(
    {"recall@2": 1 / 3, "recall@3": 1 / 2}
  )
  assert found["recall"]["union"] == pytest.approx(
    {"recall": 1 / 2, "items": 6}
  )
  assert found["recall"]["members"]["a"] == pytest.approx(
    {"recall@2": 1 / 6, "recall@3": 1 / 6, "recall@8": 1 / 3}
  )
  low, high = found["intervals"]["recall@2"]
  assert 0 <= low < 1 / 3 < high <= 1
  # Target 5 was served and proposed by nobody.
  assert found["hits"] == [
    {"members": ["b"], "proposed": 1, "served": {"2": 0, "3": 1}},
    {"members": ["a", "b"], "proposed": 1, "served": {"2": 1, "3": 1}},
    {"members": [], "proposed": 0, "served": {"2": 1, "3": 1}},
    {"members": ["a"], "proposed": 1, "served": {"2": 0, "3": 0}},
  ]
  assert results.said(["a"]) == "a alone"
  assert results.said(["a", "b", "c"]) == "a, b and c"
