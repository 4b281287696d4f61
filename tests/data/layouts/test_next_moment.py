# SPDX-License-Identifier: Apache-2.0
"""Baskets: nothing of a moment is asked for by the rest of it."""

import numpy as np
import pytest

from configs import commerce_retail
from genrec_jax.core.build import build
from genrec_jax.data.dataset.requests import Requests, iter_requests
from genrec_jax.data.dataset.retriever_lists import Arrays, RetrieverLists
from genrec_jax.data.layouts.event_lists import EventLists
from genrec_jax.data.layouts.next_item import NextItem
from genrec_jax.experiment.experiment import Run
from tests.data.layouts.parts_by_hand import ArtifactsByHand

_TIMES = [0, 0, 5, 5, 5, 9, 12, 12]


def _record(times=_TIMES):
  items = np.arange(1, len(times) + 1, dtype=np.int32)
  time = np.array(times, np.int32)
  return {"user": np.array(0, np.int32), "item": items, "time": time}


def _by_hand(times, place):
  """The next time after an event's, and the items of that time."""
  later = [t for t in times if t > times[place]]
  if not later:
    return None
  moment = min(later)
  return moment, {i + 1 for i, t in enumerate(times) if t == moment}


@pytest.mark.parametrize("max_length", [20, 4, 1])
@pytest.mark.parametrize("drawn", [False, True])
def test_a_label_is_of_the_next_moment(max_length, drawn):
  layout = NextItem(max_length, next_moment=True)
  met = {}
  for seed in range(40 if drawn else 1):
    rng = np.random.default_rng(seed) if drawn else None
    rows = layout.example(_record(), len(_TIMES), rng)
    # The last basket has no next one: its events are no inputs.
    places = range(max(0, 6 - max_length), 6)
    assert rows[:, 0].tolist() == [i + 1 for i in places]
    for place, (_, label, time, query_time, _) in zip(
      places, rows.tolist(), strict=True
    ):
      moment, items = _by_hand(_TIMES, place)
      assert label in items and query_time == moment
      assert time == _TIMES[place]
      met.setdefault(place, set()).add(label)
  if drawn:
    assert all(met[p] == _by_hand(_TIMES, p)[1] for p in met)
  elif max_length == 20:
    # In turn: three events of one basket, and the first two of the next.
    assert met[0] | met[1] == {3, 4}


@pytest.mark.parametrize("end", [0, 1, 2])
def test_one_moment_is_no_example(end):
  layout = NextItem(8, next_moment=True)
  assert layout.example(_record(), end).shape == (0, 5)
  assert layout.example(_record(), 3).shape == (2, 5)


def test_lists_are_those_known_before_the_basket():
  # What was asked for before event i is item i alone.
  events = np.arange(1, 8)
  arrays = Arrays(
    events[:, None, None], np.zeros((7, 1), int), events, np.array([0, 7])
  )
  found = RetrieverLists(arrays, "", {"names": ["a"]})
  artifacts = ArtifactsByHand(None, lists=found)
  lists = EventLists(negatives=1).bind(artifacts)
  rows = NextItem(20, next_moment=True, lists=lists).example(_record(), 8)
  assert rows[:, 5].tolist() == [2, 2, 5, 5, 5, 6]
  rows = NextItem(4, lists=lists).example(_record(), 8)
  assert rows[:, 5].tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize("next_moment", [False, True])
def test_a_request_reads_its_history_as_training_did(next_moment):
  layout = NextItem(5, next_moment=next_moment)
  one = np.zeros(1, np.int32)
  history = {k: v if k == "user" else v[:6] for k, v in _record().items()}
  asked = Requests(one, one, [history], one + 12, one)
  batch = layout.request_batch(asked)
  rows = layout.example(_record(), 7)
  assert rows[:, 3].tolist() == batch["query_time_BL"][0].tolist()
  assert rows[:, 0].tolist() == batch["item_BL"][0].tolist()
  expected = [5, 9, 9, 9, 12] if next_moment else [5, 5, 5, 9, 12]
  assert batch["query_time_BL"][0].tolist() == expected


def test_data_without_times_have_no_moments():
  record = {k: v for k, v in _record().items() if k != "time"}
  with pytest.raises(ValueError, match="next_moment=True reads times"):
    NextItem(8, next_moment=True).example(record, 8)


def test_the_retail_config_asks_for_baskets_of_a_log(tmp_path):
  """History and basket do not overlap; the usual gap is one of baskets."""
  lines = ["user,item,timestamp"]
  lines += [
    f"{user},{(user + basket + item) % 9},{1_300_000_000 + 100 * basket + user}"
    for user in range(4)
    for basket in range(12)
    for item in range(3)
  ]
  path = tmp_path / "log.csv"
  path.write_text("\n".join(lines) + "\n")
  config = commerce_retail.get_config("quicktest")
  config.data = {"name": "sources.Files", "path": str(path)}
  run = Run.start(config, tmp_path / "run")
  assert run.histories.manifest.median_gap_seconds == 100
  assert build(run.config["split"]).once_a_moment
  for part in ("validation", "test"):
    (requests,) = iter_requests(run.histories, part, 100)
    assert len(requests) >= 4
    for history, asked in zip(
      requests.history, requests.query_time, strict=True
    ):
      assert history["time"][-1] < asked and len(history["time"]) % 3 == 0
  with pytest.raises(ValueError, match="exclude each other"):
    commerce_retail.get_config("no_time-bias")
  with pytest.raises(ValueError, match="exclude each other"):
    commerce_retail.get_config("calendar-calendar_token")
