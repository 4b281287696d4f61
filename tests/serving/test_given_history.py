# SPDX-License-Identifier: Apache-2.0
"""A history that is given back is the record it was read from."""

import types

import numpy as np
import pandas as pd
import polars as pl
import pytest

from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.impressions import request_numbers
from genrec_jax.data.prepare.preparation import prepare
from genrec_jax.data.schema import RawLog
from genrec_jax.data.splits import LeaveOneOut
from genrec_jax.ranking.candidates import CandidateScorer
from genrec_jax.serving.given_history import GivenHistory
from genrec_jax.serving.ranker import Ranker
from tests.serving.formula_ranker import FEEDBACK, formula_ranker

_START = 1_600_000_000


class _Untimed:
  """Three users; a list of items without times, then a log with actions."""

  def read(self) -> RawLog:
    actions = ["untimed", "click|untimed", "like|click", "skip", "click"]
    rows = [
      (f"u{u}", f"i{(u + step) % 6}", _START + max(step - 1, 0) * 60, action)
      for u in range(3)
      for step, action in enumerate(actions)
    ]
    names = ["user", "item", "timestamp", "action"]
    return RawLog(events=pl.DataFrame(rows, names, orient="row"))


def _same(given, record, timed):
  assert given.keys() == record.keys()
  assert given["time"][timed].tolist() == record["time"][timed].tolist()
  numbers = request_numbers(given).tolist()
  assert numbers == request_numbers(record).tolist()
  for name, array in record.items():
    assert given[name].dtype == array.dtype
    if name not in ("user", "time"):
      np.testing.assert_array_equal(given[name], array, err_msg=name)


def _ranker_untimed(directory):
  options = {"min_user_events": 1, "min_item_events": 1}
  prepare(_Untimed(), LeaveOneOut(), directory, **options)
  layout = types.SimpleNamespace(feedback=FEEDBACK)
  scorer = CandidateScorer(layout, lambda batch: batch, None, None, 1)
  return Ranker(scorer, FEEDBACK.tasks, Histories(directory))


@pytest.mark.parametrize("form", ["polars", "pandas", "csv", "jsonl"])
def test_what_history_returns_is_the_record_when_given_back(
  make_ranker, tmp_path, form
):
  for ranker in (make_ranker(), _ranker_untimed(tmp_path / "data")):
    for user in ranker.users.ids[:3]:
      record, table = ranker.record(user), ranker.history(user)
      given = table
      if form == "pandas":
        given = pd.DataFrame(table.to_dict(as_series=False))
      elif form != "polars":
        path = tmp_path / f"history.{form}"
        write = table.write_csv if form == "csv" else table.write_ndjson
        write(path)
        given = GivenHistory.read(path)
      timed = table["time"].is_not_null().to_numpy()
      _same(ranker.record(user, given), record, timed)
      assert ranker.record(user, given)["user"] == record["user"]
      assert ranker.record(history=given)["user"] == -1


def test_scores_are_those_of_the_stored_user(make_ranker):
  ranker = make_ranker()
  user, ids = ranker.users.ids[2], ranker.catalog.ids[1:9]
  stored = ranker.rank(ids, user)
  history = ranker.history(user)
  assert ranker.rank(ids, user, history=history).equals(stored)
  assert ranker.rank(ids, history=history).equals(stored)
  asked = ranker.scorer.score_fn.seen
  # The last event decides here, and its action only where it is told.
  other = ranker.rank(ids, history=history[::-1].drop("time"))
  assert asked[-1]["item"].tolist() == asked[0]["item"][::-1].tolist()
  bought = ranker.history(user)["action"][0] == "purchase"
  assert (other["purchase"][0] > 0.5) == bought
  ranker.rank(ids, history=history["item_id"])
  assert not asked[-1]["action"].any() and np.isnan(asked[-1]["value"]).all()
  table = ranker.what_if(ids, None, "-1=purchase", history=history)
  assert table["purchase_if"].to_list() == pytest.approx([0.6] * len(ids))


def test_a_list_without_times_ends_where_the_data_do(make_ranker):
  ranker = make_ranker()
  manifest, ids = ranker.histories.manifest, ranker.catalog.ids
  ends = [ranker.histories[u]["time"][-1] for u in range(20)]
  record = ranker._asking.record(history=ids[1:4], strict=True)
  gap = manifest.median_gap_seconds
  expected = [max(ends) - 2 * gap, max(ends) - gap, max(ends)]
  assert record["time"].tolist() == expected
  assert ranker._asking.requests([record]).query_time == max(ends) + gap
  at = manifest.epoch_seconds + 10**6
  record = ranker._asking.record(history=ids[1:3], strict=True, request_time=at)
  assert record["time"].tolist() == [10**6 - 2 * gap, 10**6 - gap]


def test_what_is_not_known_is_said(make_ranker):
  ranker = make_ranker()
  ids = ranker.catalog.ids[1:5]
  with pytest.warns(UserWarning, match="no user 'new'.*there is no history"):
    stranger = ranker.rank(ids, "new")
  assert stranger.equals(ranker.rank(ids))
  with pytest.warns(UserWarning, match="beside the history given"):
    given = ranker.rank(ids, "new", history=ids[:2])
  assert given.equals(ranker.rank(ids, history=ids[:2]))
  with pytest.warns(UserWarning, match="1 of 3 items .* skipped: 'gone'"):
    part = ranker.rank(ids, history=[*ids[:2], "gone"])
  assert part.equals(given)
  for wrong in ({"user": "new"}, {"history": ["gone"]}):
    with pytest.raises(ValueError, match="no (user 'new'|item 'gone')"):
      ranker.rank(ids, **wrong, strict=True)


def test_times_are_read_as_those_of_a_log(make_ranker):
  ranker = make_ranker()
  text = ["2023-11-14 22:13:20 UTC", "2023-11-15T00:13:21+02:00"]
  numbers = [1_700_000_000, 1_700_000_001]
  ids = ranker.catalog.ids[1:3]
  records = [
    ranker.record(history=pl.DataFrame({"item_id": ids, "time": times}))
    for times in (text, numbers)
  ]
  assert records[0]["time"].tolist() == records[1]["time"].tolist()


@pytest.mark.parametrize(
  ("table", "message"),
  [
    ({"item": ["a"]}, "no column 'item'. Did you mean 'item_id'"),
    ({"action": ["view"]}, "needs a column item_id"),
    ({"item_id": [0], "action": ["veiw"]}, "no action 'veiw'.*mean 'view'"),
    ({"item_id": [0], "time": [_START * 1000]}, "must be unix SECONDS"),
    ({"item_id": [0], "time": ["noon"]}, "unix seconds or ISO dates"),
    ({"item_id": [0, 0], "time": [_START + 9, _START]}, "event 1 .*oldest"),
    ({"item_id": [0], "time": [-_START]}, "outside the 68 years"),
    ({"item_id": [0], "value": ["much"]}, "value .* must be numbers"),
    ({"item_id": [0, 0], "request": [1, None]}, "some events alone"),
    ({"item_id": [0, 0], "time": [None, _START]}, "event 0 .*no time"),
  ],
)
def test_what_no_history_is(make_ranker, table, message):
  ranker = make_ranker()
  ids = ranker.catalog.ids[1]
  frame = pl.DataFrame(table, strict=False)
  if "item_id" in table:
    frame = frame.with_columns(item_id=pl.lit(ids))
  with pytest.raises(ValueError, match=message):
    ranker.rank([ids], history=frame)


def test_fields_that_the_data_do_not_have(tmp_path):
  ranker = _ranker_untimed(tmp_path / "data")
  table = {"item_id": ["i1"], "value": [3.0]}
  with pytest.raises(ValueError, match="says value, and events of this data"):
    ranker.record(history=pl.DataFrame(table))
  for wrong in ("i1", b"i1", 3):
    with pytest.raises(ValueError, match="must be a list of item ids"):
      ranker.record(history=wrong)


def test_numbers_are_actions_where_a_value_is_the_task(histories):
  ranker = formula_ranker(histories)
  given = GivenHistory.of(
    pl.DataFrame({"item_id": ranker.catalog.ids[1:3], "action": ["4.5", ""]})
  )
  record = given.record(
    histories.manifest, ranker.catalog, values_as_actions=True
  )
  np.testing.assert_array_equal(record["value"], np.float32([4.5, np.nan]))
  assert not record["action"].any()


@pytest.mark.parametrize(
  ("content", "said"),
  [
    (b"item_id,action\na,view,more\n", "line 2 of .*h.csv has"),
    ("item_id\nb\u00fccher\n".encode("latin-1"), "UTF-8"),
  ],
)
def test_damaged_files_are_explained(tmp_path, content, said):
  path = tmp_path / "h.csv"
  path.write_bytes(content)
  with pytest.raises(ValueError, match=said):
    GivenHistory.read(path)


@pytest.mark.parametrize(
  ("options", "said"),
  [
    ({"weights": [1, 2]}, r"weights=\[1, 2\] must be text such as"),
    ({"weights": 3}, "weights=3 must be text such as"),
    ({"policy": None}, "policy=None must be the name of one"),
    ({"policy": 7}, "policy=7 must be the name of one"),
    ({"strict": "yes"}, "strict='yes' must be True or False"),
  ],
)
def test_options_of_another_kind_are_refused(make_ranker, options, said):
  ranker = make_ranker()
  with pytest.raises(ValueError, match=said):
    ranker.rank(ranker.catalog.ids[1:3], **options)


def test_more_places_than_candidates(make_ranker):
  ranker = make_ranker()
  ids = ranker.catalog.ids[1:3]
  for k in (3, 10**30):
    with pytest.warns(UserWarning, match=f"2 of k={k:,} items: there are no m"):
      assert ranker.rank(ids, k=k).equals(ranker.rank(ids, k=2))
