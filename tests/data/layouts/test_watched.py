# SPDX-License-Identifier: Apache-2.0
"""What layouts of codes tell of their targets, against loops over records."""

import dataclasses
import math

import numpy as np
import pytest

from genrec_jax.data.dataset import Feedback
from genrec_jax.data.dataset.requests import make_requests
from genrec_jax.data.features import WatchPercentiles
from genrec_jax.data.features.watch_percentiles import FittedPercentiles
from genrec_jax.data.layouts.semantic_id_prefixes import TokenPrefixes
from genrec_jax.data.layouts.semantic_ids import TokenHistory
from genrec_jax.data.layouts.token_targets import TokenTargets
from genrec_jax.data.layouts.watched import Watched

_SIZES, _SEEN = (5, 6), 4
_CODES = np.stack([np.arange(40) % 5, np.arange(40) % 6], 1).astype(np.int32)
_CODES[0] = 0
_ACTIONS = ["", "skip", "click", "hate", "click|hate", "untimed"]


class _Split:
  def train_end(self, record):
    return len(record["item"]) - 2


class _Histories:
  split = _Split()

  def __init__(self):
    rng = np.random.default_rng(5)
    self.records = []
    for user in range(4):
      size = 3 + 4 * user
      # Of some requests several events, up to five.
      self.records.append(
        {
          "user": np.array(user, np.int32),
          "item": rng.integers(1, 40, size).astype(np.int32),
          "action": rng.choice([1, 1, 2, 2, 3, 4, 5, 0], size).astype(np.int32),
          "request": np.cumsum(rng.random(size) < 0.6).astype(np.int32),
        }
      )

  def __len__(self):
    return len(self.records)

  def __getitem__(self, user):
    return self.records[user]


_HISTORIES = _Histories()


def _watched(**options):
  rng = np.random.default_rng(6)
  lengths = [len(r["item"]) for r in _HISTORIES.records]
  q = rng.random(sum(lengths)).astype(np.float32)
  seconds = rng.integers(0, 9, sum(lengths)).astype(np.float32)
  unknown = rng.random(sum(lengths)) < 0.2
  q[unknown] = seconds[unknown] = np.nan
  watched = Watched(
    WatchPercentiles("seconds"),
    **{"taken": ("click",), "refused": ("hate",), "skip_below": 4.0} | options,
  )
  return dataclasses.replace(
    watched,
    fitted=FittedPercentiles(np.cumsum([0, *lengths]), q, seconds),
    feedback=Feedback(("click", "hate")).bind(_ACTIONS),
  )


def _by_hand(watched, only_taken, seen=_SEEN):
  """(user, items seen, target, q, seconds, taken, refused) of all targets."""
  found = set()
  start = 0
  for user, record in enumerate(_HISTORIES.records):
    request = record["request"].tolist()
    for i in range(len(request) - 2):
      action = _ACTIONS[record["action"][i]].split("|")
      first = request.index(request[i])
      taken = "click" in action
      asked = action != [""] and "untimed" not in action and first > 0
      if not asked or (only_taken and not taken):
        continue
      q = float(watched.fitted.percentile_E[start + i])
      seconds = float(watched.fitted.watched_E[start + i])
      refused = "hate" in action or (seconds < 4 and not taken)
      context = record["item"][:first][-seen:]
      found.add(
        (
          *(user, tuple(context.tolist()), int(record["item"][i])),
          *(-1.0 if math.isnan(q) else q, 0.0 if math.isnan(q) else seconds),
          *(int(taken), int(refused)),
        )
      )
    start += len(request)
  return found


def _row(layout, record):
  """An example in a batch of one row."""
  rows = layout.example(record, layout_end(record))
  size = max(len(rows), 2)
  columns = np.zeros((1, size, layout.num_columns), np.int32)
  columns[0, : len(rows)] = rows
  segments = (np.arange(size)[None] < len(rows)).astype(np.int32)
  positions = np.arange(size, dtype=np.int32)[None] * segments
  return layout.batch(columns, segments, positions)


def layout_end(record):
  return int(record["end"]) + 1 if "end" in record else len(record["item"]) - 2


def _told(batch, user, s, context):
  return (
    *(user, tuple(context), int(batch["target_item_BS"][0, s])),
    float(batch["target_percentile_BS"][0, s]),
    float(batch["target_watched_BS"][0, s]),
    int(batch["target_taken_BS"][0, s]),
    int(batch["target_refused_BS"][0, s]),
  )


@pytest.mark.parametrize("only_taken", [True, False])
def test_prefixes_are_the_targets_with_what_was_before_their_request(
  only_taken,
):
  watched = _watched(only_taken=only_taken)
  layout = TokenPrefixes(
    _SEEN, _SIZES, codes=_CODES, with_items=True, watched=watched
  )
  source = layout.source(_HISTORIES)
  found = set()
  for i in range(len(source)):
    batch = _row(layout, source[i])
    user = int(source[i]["user"])
    found.add(_told(batch, user, 0, batch["item_BL"][0, ::2].tolist()))
  assert found == _by_hand(watched, only_taken)
  assert len(found) == len(source) > 5


@pytest.mark.parametrize("max_targets", [0, 20])
@pytest.mark.parametrize("only_taken", [True, False])
def test_targets_behind_one_reading_are_those_of_prefixes(
  only_taken, max_targets
):
  watched = _watched(only_taken=only_taken)
  layout = TokenTargets(
    _SEEN, _SIZES, codes=_CODES, with_items=True, watched=watched,
    max_events=30, max_targets=max_targets,
  )  # fmt: skip
  found = set()
  for user, record in enumerate(_HISTORIES.records):
    batch = _row(layout, record)
    if max_targets:
      assert batch["target_item_BS"].shape == (1, max_targets)
    for s in np.flatnonzero(batch["target_item_BS"][0]):
      first, end = (batch[f"target_{n}_BS"][0, s] for n in ("first", "end"))
      assert batch["target_segment_BS"][0, s] == 1
      codes = batch["target_codes_BSM"][0, s]
      np.testing.assert_array_equal(
        codes, _CODES[batch["target_item_BS"][0, s]]
      )
      items = batch["item_BL"][0, first:end:2].tolist()
      found.add(_told(batch, user, s, items))
  assert found == _by_hand(watched, only_taken)


def test_of_more_targets_than_places_the_last_are_taken():
  options = {"codes": _CODES, "watched": _watched(), "max_events": 30}
  wide = TokenTargets(_SEEN, _SIZES, **options)
  record = _HISTORIES.records[3]
  every = _row(wide, record)
  there = np.flatnonzero(every["target_item_BS"][0])
  few = _row(TokenTargets(_SEEN, _SIZES, max_targets=3, **options), record)
  assert len(there) > 3
  for name in few:
    if name.startswith("target_"):
      np.testing.assert_array_equal(few[name][0], every[name][0, there[-3:]])


def test_of_a_long_history_targets_are_those_that_see_all_of_their_window():
  watched = _watched()
  layout = TokenTargets(
    _SEEN, _SIZES, codes=_CODES, with_items=True, watched=watched, max_events=6
  )
  record = _HISTORIES.records[3]
  batch = _row(layout, record)
  start, request = 13 - 1 - 6, record["request"].tolist()
  expected = {
    int(record["item"][i])
    for i in np.flatnonzero(watched.targets(record)[:13])
    if request.index(request[i]) >= start + _SEEN
  }
  there = batch["target_item_BS"][0]
  assert set(there[there > 0].tolist()) == expected and expected
  for s in np.flatnonzero(there):
    first, end = (batch[f"target_{n}_BS"][0, s] for n in ("first", "end"))
    items = tuple(batch["item_BL"][0, first:end:2].tolist())
    assert _told(batch, 3, s, items) in _by_hand(watched, False)


def test_a_user_that_is_read_once_is_told_of_the_same_events():
  watched = _watched()
  layout = TokenHistory(30, 2, codes=_CODES, watched=watched)
  found = set()
  for user, record in enumerate(_HISTORIES.records):
    batch = _row(layout, record)
    found |= {
      _told(batch, user, s, ())
      for s in np.flatnonzero(batch["target_item_BS"][0])
    }
    none = batch["target_item_BS"] == 0
    assert (batch["target_percentile_BS"][none] == -1).all()
    assert not batch["target_taken_BS"][none].any()
  assert found == {(u, (), *rest) for u, _, *rest in _by_hand(watched, False)}


@pytest.mark.parametrize("kind", [TokenPrefixes, TokenTargets, TokenHistory])
def test_a_request_asks_for_nothing_and_is_told_nothing(kind):
  options = {"codes": _CODES, "watched": _watched()}
  if kind is TokenHistory:
    layout = TokenHistory(8, 2, **options)
  else:
    more = {"max_events": 8} if kind is TokenTargets else {}
    layout = kind(_SEEN, _SIZES, **options, **more)
  record = _HISTORIES.records[2]
  batch = layout.request_batch(make_requests([(record, 7)]))
  assert not batch["target_item_BS"].any()
  assert (batch["target_percentile_BS"] == -1).all()
  plain = dataclasses.replace(layout, watched=None)
  for name, value in plain.request_batch(make_requests([(record, 7)])).items():
    if name != "target_item_BS":
      np.testing.assert_array_equal(batch[name], value)


def test_a_share_of_the_skipped_is_drawn_anew():
  watched = _watched(skip_share=0.5)
  record = _HISTORIES.records[3]
  whole = watched.rows(record, None)[:, 3] & 2 > 0
  rng = np.random.default_rng(0)
  drawn = np.array(
    [watched.rows(record, rng)[:, 3] & 2 > 0 for _ in range(400)]
  )
  hated = np.isin(record["action"], [3, 4])
  assert drawn[:, hated].all() and not drawn[:, ~whole].any()
  skipped = whole & ~hated
  assert skipped.sum() >= 3
  np.testing.assert_allclose(drawn[:, skipped].mean(axis=0), 0.5, atol=0.1)


def test_options_that_cannot_be_name_themselves():
  percentiles = WatchPercentiles("seconds")
  for options, message in (
    ({"taken": ()}, "names one action or more"),
    ({"taken": ("a", "b"), "refused": ("b",)}, "none of"),
    ({"taken": ("a",), "skip_share": 1.5}, "skip_share=1.5 is above 1"),
    ({"taken": ("a",), "skip_below": -1.0}, "skip_below=-1.0 must be"),
  ):
    with pytest.raises(ValueError, match=message):
      Watched(percentiles, **options)
