# SPDX-License-Identifier: Apache-2.0
"""Rows of actions become impressions with labels, as told by enumeration."""

import itertools

import numpy as np
import polars as pl
import pytest

from genrec_jax.data import GlobalTime, LeaveOneOut
from genrec_jax.data.dataset import Catalog, Histories
from genrec_jax.data.dataset.catalog import Users
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.impressions import iter_impressions
from genrec_jax.data.features.moments import Clock, Moments, context_functions
from genrec_jax.data.prepare import encode, prepare
from genrec_jax.data.sources import Files

_MINUTE, _HOUR = 60, 3600
_START = 1_700_000_000
# user, item, seconds, action
LOG = [
  ("u", "a", 0, "view"),
  ("u", "b", 1 * _MINUTE, "view"),
  # The same visit: one impression.
  ("u", "a", 2 * _MINUTE, "view"),
  ("u", "a", 3 * _MINUTE, "cart"),
  ("u", "c", 4 * _MINUTE, "search"),
  # 23 hours later: within the window of a's impression, beyond b's buy.
  ("u", "a", 23 * _HOUR, "buy"),
  ("u", "a", 23 * _HOUR + 1, "view"),
  ("u", "b", 24 * _HOUR + 1 * _MINUTE, "cart"),
  ("u", "b", 24 * _HOUR + 1 * _MINUTE + 1, "buy"),
  # Another user's, and one without an impression.
  ("v", "a", 5, "buy"),
  ("v", "b", 6, "view"),
  ("v", "b", 6, "buy"),
  # The earlier action is no label of a later impression.
  ("w", "b", 7, "cart"),
  ("w", "b", 8, "view"),
  ("w", "b", 8 + 40 * _HOUR, None),
]
# user, item, seconds -> labels
EXPECTED = {
  ("u", "a", 0): {"cart", "buy"},
  ("u", "b", 1 * _MINUTE): {"cart"},
  ("u", "a", 23 * _HOUR + 1): set(),
  ("v", "b", 6): {"buy"},
  ("w", "b", 8): set(),
}
_TASKS = ("cart", "buy")


def _source(tmp_path, rows, name="log.csv", **options):
  table = pl.DataFrame(rows, ["user", "item", "timestamp", "did"], orient="row")
  table = table.with_columns(pl.col("timestamp") + _START)
  table.write_csv(tmp_path / name)
  rule = {"impressions": ("view", *_TASKS), **options}
  return Files(str(tmp_path / name), action="did", **rule)


def _asked(directory):
  """(user, item, seconds) -> labels, and the history that each is asked by."""
  histories = Histories(directory)
  catalog, users = Catalog(directory), Users(directory)
  zero = histories.manifest.epoch_seconds - _START
  labels, seen = {}, {}
  for batch in iter_impressions(histories, "train", Feedback(_TASKS), 4, 2):
    for row in range(len(batch)):
      user, history = users.ids[batch.user[row]], batch.history[row]
      record = histories[int(batch.user[row])]
      for place in np.flatnonzero(batch.known[row]):
        item = catalog.ids[batch.candidates[row, place]]
        time = int(record["time"][batch.event[row, place]]) + zero
        mask = int(batch.labels[row, place])
        key = (user, item, time)
        assert key not in labels
        labels[key] = {t for i, t in enumerate(_TASKS) if mask >> i & 1}
        done = Feedback(_TASKS).bind(histories.manifest.actions).done(history)
        seen[key] = [
          (catalog.ids[i], int(t) + zero, int(d))
          for i, t, d in zip(
            history["item"], history["time"], done, strict=True
          )
        ]
  return labels, seen


# Of the training part is all but what nobody did years later.
_LATE = GlobalTime(validation_start="2025-01-01", test_start="2026-01-01")
_YEARS = [("z", "z", years * 365 * 24 * _HOUR, "none") for years in (2, 3)]


def _prepared(tmp_path, rows, **options):
  directory = tmp_path / f"data-{len(list(tmp_path.iterdir()))}"
  source = _source(tmp_path, rows + _YEARS, **options)
  manifest = prepare(source, _LATE, directory)
  return manifest, *_asked(directory)


def test_impressions_and_labels_are_those_told_by_hand(tmp_path):
  _, labels, _ = _prepared(tmp_path, LOG)
  assert labels == EXPECTED
  counts = encode(_source(tmp_path, LOG).read()).counts
  assert counts["impressions"] == {
    "rows": 15,
    "impressions": 5,
    "repeated": 1,
    "labels": {"cart": 2, "buy": 2},
    # v's buy of a and w's cart of b, and u's buy of b a second too late.
    "unseen": {"cart": 1, "buy": 2},
    "open": 1,
  }
  # Nothing is left out.
  assert counts["in"] == counts["out"] == 15


def test_a_history_shows_what_had_been_done_and_no_more(tmp_path):
  _, labels, seen = _prepared(tmp_path, LOG)
  for (user, _, time), history in seen.items():
    expected = [
      (item, when, {"cart": 1, "buy": 2}.get(did, 0))
      for who, item, when, did in LOG
      if who == user and when < time
    ]
    assert history == expected
  # a's cart and buy came later, and b is asked about before them.
  assert seen["u", "b", _MINUTE] == [("a", 0, 0)]
  assert labels["u", "a", 0] == {"cart", "buy"}


def test_features_of_a_moment_count_no_later_label(tmp_path):
  directory = tmp_path / "data"
  prepare(_source(tmp_path, LOG + _YEARS), _LATE, directory)
  histories = Histories(directory)
  feedback = Feedback(_TASKS).bind(histories.manifest.actions)
  record = histories[Users(directory).index_of("u")]
  moments = Moments.of_events(record, np.arange(len(record["item"])))
  past = context_functions(feedback)["past_cart"]
  clock = Clock(histories.manifest.epoch_seconds)
  assert past(moments, clock, feedback).tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_order_of_rows_is_irrelevant(tmp_path, seed):
  rows = list(LOG)
  # Ties of time too, before a request that reads them.
  rows += [("x", item, 9, did) for item in "ba" for did in ("buy", "view")]
  rows.append(("x", "c", 20, "view"))
  order = np.random.default_rng(seed).permutation(len(rows))
  manifest, *found = _prepared(tmp_path, rows)
  other, *shuffled = _prepared(tmp_path, [rows[i] for i in order])
  assert found == shuffled
  assert manifest.counts["impressions"] == other.counts["impressions"]


def _by_enumeration(rows, window, gap):
  """Every impression's labels, by the words of the rule."""
  rows = sorted(set(rows), key=lambda row: row[2])
  visits, found = {}, {}
  for user in {row[0] for row in rows}:
    last, number = None, 0
    for who, item, time, did in rows:
      if who != user:
        continue
      number += last is not None and time - last > gap
      last = time
      if did == "view" and (user, number, item) not in visits:
        visits[user, number, item] = (user, item, time)
  for user, item, time in visits.values():
    found[user, item, time] = {
      did
      for who, what, when, did in rows
      if (who, what) == (user, item)
      and did in _TASKS
      and time <= when <= time + window
    }
  return found


@pytest.mark.parametrize("seed", range(4))
def test_random_logs_agree_with_the_words_of_the_rule(tmp_path, seed):
  rng = np.random.default_rng(seed)
  rows = [
    (f"u{rng.integers(3)}", "abc"[rng.integers(3)], int(t), did)
    for t, did in zip(
      rng.integers(6 * _HOUR, size=80),
      rng.choice(["view", "view", "cart", "buy", "other"], size=80),
      strict=True,
    )
  ]
  options = {"window_hours": 1.5, "visit_minutes": 20.0}
  _, labels, _ = _prepared(tmp_path, rows, **options)
  assert labels == _by_enumeration(rows, 5400, 1200)


def test_no_label_looks_past_the_window(tmp_path):
  for hours, found in (
    (23.0, {"cart", "buy"}),
    (22.99, {"cart"}),
    (0.01, set()),
  ):
    _, labels, _ = _prepared(tmp_path, LOG, window_hours=hours)
    assert labels["u", "a", 0] == found


def test_copies_of_a_row_are_one_impression(tmp_path):
  _, labels, _ = _prepared(tmp_path, LOG + LOG)
  assert labels == EXPECTED


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"impressions": ("view",)}, "at least one stronger action"),
    ({"impressions": ("view", "view")}, "each once"),
    ({"impressions": ("view", "byu")}, "'byu', which is no action.*mean 'buy'"),
    ({"impressions": ("view", "skip")}, "'skip', a word of the prepared data"),
    ({"window_hours": 0.0}, "window_hours=0.0 must be above 0"),
    ({"window_hours": float("nan")}, "window_hours=nan must be above 0"),
    ({"visit_minutes": -1.0}, "visit_minutes=-1.0 must be above 0"),
    ({"timestamp": None}, "must name their columns"),
    ({"signals": ("did",)}, "drop one"),
  ],
)
def test_a_rule_that_cannot_be_is_refused(tmp_path, options, message):
  with pytest.raises(ValueError, match=message):
    encode(_source(tmp_path, LOG, **options).read())


def test_columns_of_signals_are_the_labels_of_an_impression(tmp_path):
  rows = itertools.chain(
    ["user,item,timestamp,clicked,bought"],
    [f"u,{i},{i},{c},{b}" for i, c, b in
     ((1, "1", "0"), (2, "true", "2"), (3, "0", ""), (4, "False", "1.0"))],
  )  # fmt: skip
  path = tmp_path / "shown.csv"
  path.write_text("\n".join(rows))
  source = Files(str(path), signals=("clicked", "bought"))
  prepare(source, LeaveOneOut(), tmp_path / "data")
  histories = Histories(tmp_path / "data")
  names = histories.manifest.actions
  assert [names[a] for a in histories[0]["action"]] == [
    "clicked", "clicked|bought", "skip", "bought",
  ]  # fmt: skip
  path.write_text("user,item,timestamp,clicked\nu,1,1,maybe\n")
  with pytest.raises(
    ValueError, match="shown.csv, line 2: column 'clicked'.*'maybe'"
  ):
    encode(Files(str(path), signals=("clicked",)).read())
  with pytest.raises(ValueError, match="no column 'bought'"):
    Files(str(path), signals=("bought",)).read()
