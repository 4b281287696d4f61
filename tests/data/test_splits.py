# SPDX-License-Identifier: Apache-2.0
"""Splits: targets follow the training part, and nothing is in two parts."""

import dataclasses

from hypothesis import given, strategies as st
import numpy as np
import pytest

from genrec_jax.data import splits
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.requests import iter_requests
from genrec_jax.data.prepare import prepare
from genrec_jax.data.sources import Files
from genrec_jax.experiment.made_lists import Retriever, Returned, make_lists


def _record(times):
  times = np.array(sorted(times), np.int32)
  return {"item": np.ones(len(times), np.int32), "time": times}


@pytest.mark.parametrize(
  ("length", "train", "validation", "test"),
  [
    (0, 0, [], []),
    (1, 1, [], []),
    (2, 2, [], []),
    (3, 1, [1], [2]),
    (9, 7, [7], [8]),
  ],
)
def test_leave_one_out(length, train, validation, test):
  split = splits.load(splits.LeaveOneOut().resolve(None, None))
  record = _record(range(length))
  assert split.train_end(record) == train
  assert split.targets(record, "validation").tolist() == validation
  assert split.targets(record, "test").tolist() == test


@pytest.mark.slow
@given(
  st.lists(
    st.lists(st.integers(0, 1000), min_size=1, max_size=20),
    min_size=20,
    max_size=40,
  )
)
def test_global_time_gives_each_event_to_one_part_by_its_time(histories):
  times = np.concatenate([np.array(h, np.int32) for h in histories])
  if len(set(times.tolist())) < 100:
    return
  split = splits.load(splits.GlobalTime().resolve(times, 5))
  cuts = (split.validation_start_seconds, split.test_start_seconds)
  sizes = np.zeros(3, int)
  for history in histories:
    record = _record(history)
    train_end = split.train_end(record)
    validation = split.targets(record, "validation")
    test = split.targets(record, "test")
    together = [*range(train_end), *validation.tolist(), *test.tolist()]
    assert together == list(range(len(history)))
    time = record["time"]
    assert (time[:train_end] < cuts[0]).all()
    assert ((time[validation] >= cuts[0]) & (time[validation] < cuts[1])).all()
    assert (time[test] >= cuts[1]).all()
    sizes += [train_end, len(validation), len(test)]
  # Ties at a cut go to the later part, which can only grow by them.
  assert sizes[2] >= 0.1 * len(times)
  assert sizes[1] + sizes[2] >= 0.2 * len(times)
  assert sizes[0] > 0


def test_global_time_takes_dates_and_seconds():
  times, epoch = np.arange(0, 10 * 86_400, 3600, dtype=np.int32), 1_420_070_400
  by_date = splits.GlobalTime(
    validation_start="2015-01-05", test_start="2015-01-08T12:00:00"
  ).resolve(times, epoch)
  by_seconds = splits.GlobalTime(
    validation_start=epoch + 4 * 86_400, test_start=epoch + 7 * 86_400 + 43_200
  ).resolve(times, epoch)
  assert by_date == by_seconds
  assert by_date["validation_start_seconds"] == 4 * 86_400
  assert by_date["test_start"] == "2015-01-08T12:00:00"


def test_of_a_basket_the_first_is_a_target_and_nothing_from_the_end_on():
  times = [0, 5, 5, 10, 10, 10, 19, 20, 20, 25, 30, 30, 31]
  cuts = {"validation_start": 10, "test_start": 20, "test_end": 30}
  of_all = np.array(times, np.int32)
  resolved = splits.GlobalTime(**cuts, once_a_moment=True).resolve(of_all, 0)
  split, record = splits.load(resolved), _record(times)
  assert split.train_end(record) == 3
  assert split.targets(record, "validation").tolist() == [3, 6]
  assert split.targets(record, "test").tolist() == [7, 9]
  every = splits.load(splits.GlobalTime(**cuts).resolve(of_all, 0))
  assert every.targets(record, "validation").tolist() == [3, 4, 5, 6]
  assert every.targets(record, "test").tolist() == [7, 8, 9]
  assert not len(split.targets(_record([]), "test"))
  with pytest.raises(ValueError, match="0 to test.* until 1970-01-01T00:00:20"):
    splits.GlobalTime(**cuts | {"test_end": 20}).resolve(of_all, 0)


_ACTIONS = ["", "buy", "return", "buy|return", "return|later:buy", "skip"]


@pytest.mark.parametrize("once", [False, True])
def test_what_is_skipped_is_no_target_and_a_basket_is_still_one(once):
  rng = np.random.default_rng(0)
  times = np.sort(rng.integers(0, 30, 90)).astype(np.int32)
  action = rng.integers(0, len(_ACTIONS), 90).astype(np.int32)
  cut = splits.GlobalTime(
    validation_start=10,
    test_start=20,
    once_a_moment=once,
    skip_actions=["return"],
  )
  split = splits.load(cut.resolve(times, 0, _ACTIONS))
  record = {"item": np.ones(90, np.int32), "time": times, "action": action}
  asked = set()
  for part, start, end in (("validation", 10, 20), ("test", 20, 99)):
    wanted = []
    for place, (time, did) in enumerate(zip(times, action, strict=True)):
      # Of these texts two say of an event that it was returned, and no more.
      if not start <= time < end or int(did) in (2, 4):
        continue
      if once and wanted and times[wanted[-1]] == time:
        continue
      wanted.append(place)
    assert split.targets(record, part).tolist() == wanted
    for target in wanted:
      before = int((times[:target] < times[target]).sum()) if once else target
      assert split.known(record, target) == before
      asked.add(target - before)
  # Some basket began with what is skipped.
  assert len(asked) > 1 if once else asked == {0}


def test_an_action_that_is_skipped_must_occur():
  times = np.arange(10, dtype=np.int32)
  cut = splits.GlobalTime(skip_actions=("returns",))
  with pytest.raises(ValueError, match="'returns', .* mean 'return'"):
    cut.resolve(times, 0, _ACTIONS)
  with pytest.raises(ValueError, match="no event has. There is none"):
    cut.resolve(times, 0)
  assert splits.GlobalTime(skip_actions=[]) == splits.GlobalTime()
  with pytest.raises(ValueError, match="skip_actions='return' must be a tuple"):
    splits.GlobalTime(skip_actions="return")


def test_a_request_knows_nothing_of_a_basket_that_begins_with_a_return(
  tmp_path,
):
  """From a log to requests and to the lists that others made for them."""
  lines = ["user,item,timestamp,action"]
  for user in range(3):
    for basket in range(10):
      did = ["return", "buy", "buy"] if basket % 2 else ["buy", "buy", "return"]
      did = ["return"] * 3 if basket == 8 else did
      lines += [
        f"{user},{3 * basket + place},{1_300_000_000 + 1_000 * basket},{action}"
        for place, action in enumerate(did)
      ]
  path = tmp_path / "log.csv"
  path.write_text("\n".join(lines) + "\n")
  cut = splits.GlobalTime(
    validation_start=1_300_005_000,
    test_start=1_300_007_000,
    once_a_moment=True,
    skip_actions=("return",),
  )
  prepare(Files(str(path), action="action"), cut, tmp_path / "data")
  histories = Histories(tmp_path / "data")
  found = {}
  for part in ("validation", "test"):
    (requests,) = iter_requests(histories, part, 100)
    found[part] = requests
    assert len(requests) == 6
    for history, event, time in zip(
      requests.history, requests.event, requests.query_time, strict=True
    ):
      assert len(history["item"]) == 3 * (event // 3)
      assert history["time"][-1] < time
  # Baskets 5 and 6, then 7 and 9: the one between is of returns alone.
  assert found["validation"].event.tolist() == [16, 18] * 3
  assert found["test"].event.tolist() == [22, 28] * 3

  @dataclasses.dataclass(frozen=True)
  class Lengths:
    def open(self, histories):
      def ask(requests, k):
        ids = [[len(r["item"])] * k for r in requests.history]
        return Returned(np.array(ids), np.zeros(len(ids), np.int32))

      return Retriever(ask)

  for moments in (False, True):
    made = make_lists(
      histories,
      {"a": Lengths()},
      directory=tmp_path / f"lists{moments}",
      count=1,
      moments=moments,
    )
    of_test = made.of(0, np.array([22, 28]))
    assert of_test[:, 0, 0].tolist() == [21, 27]


def test_without_them_a_split_says_what_it_said():
  times = np.arange(10, dtype=np.int32)
  names = {"name", "validation_start_seconds", "test_start_seconds"}
  names |= {"validation_start", "test_start"}
  assert splits.GlobalTime().resolve(times, 0).keys() == names


def test_global_time_needs_times_and_events_in_every_part():
  with pytest.raises(ValueError, match="this source has none"):
    splits.GlobalTime().resolve(None, None)
  same = np.zeros(100, np.int32)
  with pytest.raises(ValueError, match="0 events to train"):
    splits.GlobalTime().resolve(same, 0)
  late = splits.GlobalTime(validation_start="2030-01-01", test_start=2**31)
  with pytest.raises(ValueError, match="0 to validate"):
    late.resolve(np.arange(10, dtype=np.int32), 0)


@pytest.mark.parametrize(
  "arguments",
  [
    {"validation_fraction": 0.5, "test_fraction": 0.5},
    {"test_fraction": 0.0},
    {"test_start": "2015-01-01"},
    {"test_end": "2015-01-01"},
  ],
)
def test_global_time_refuses_impossible_cuts(arguments):
  with pytest.raises(ValueError, match="GlobalTime"):
    splits.GlobalTime(**arguments)


def test_unknown_parts_dates_and_splits_are_named():
  with pytest.raises(ValueError, match="'train'"):
    splits.LeaveOneOut().targets(_record([1]), "train")
  with pytest.raises(ValueError, match="'soon'"):
    splits.GlobalTime(validation_start="soon", test_start=1).resolve(
      np.arange(3, dtype=np.int32), 0
    )
  with pytest.raises(ValueError, match="data.Other"):
    splits.load({"name": "data.Other"})
