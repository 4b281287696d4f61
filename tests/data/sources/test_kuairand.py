# SPDX-License-Identifier: Apache-2.0
"""KuaiRand's files: signals as actions, lists before the log, side features."""

import numpy as np
import polars as pl
import pytest

from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.impressions import iter_impressions
from genrec_jax.data.prepare.preparation import prepare
from genrec_jax.data.sources.kuairand import SIGNALS, KuaiRand
from genrec_jax.data.splits import GlobalTime

# Midnight of 5 May 2022 in UTC+8.
_VALIDATION = 1_651_680_000_000
_TEST = _VALIDATION + 86_400_000
_SPLIT = GlobalTime(
  validation_start="2022-05-05T00:00:00+08:00",
  test_start="2022-05-06T00:00:00+08:00",
)


def _impression(user, video, time_ms, *signals, play=500, duration=1000, tab=1):
  assert not set(signals) - set(SIGNALS)
  return {
    "user_id": user,
    "video_id": video,
    "time_ms": time_ms,
    "play_time_ms": play,
    "duration_ms": duration,
    "tab": tab,
    **{name: int(name in signals) for name in SIGNALS},
  }


@pytest.fixture
def folder(tmp_path):
  folder = tmp_path / "kuairand"
  folder.mkdir()
  log = [
    _impression(1, 10, _VALIDATION - 5000, "is_like", "is_click"),
    _impression(1, 11, _VALIDATION - 5000, duration=0),
    _impression(2, 10, _VALIDATION - 1, "long_view", tab=10),
    _impression(1, 12, _VALIDATION, "is_hate", "is_profile_enter", play=2500),
    _impression(2, 11, _TEST, "is_click"),
  ]
  pl.DataFrame(log).write_parquet(folder / "log_standard_x.parquet")
  lists = [
    # Video 10 twice; 77 was liked before the list begins.
    (1, _VALIDATION - 9000, [10, 13, 10], [77, 13], [10, 13]),
    # Ends after the user's first impression.
    (2, _VALIDATION + 9000, [12], [], []),
    (3, _VALIDATION - 8000, [13], [], [13]),
  ]
  pl.DataFrame(
    lists,
    ["user_id", "last_time_ms", "watch_seq", "like_seq", "long_watch_seq"],
    orient="row",
  ).write_parquet(folder / "history_before_x.parquet")
  pl.DataFrame(
    {"user_id": [1, 2, 4], "degree": ["full", "low", "x"], "fans": [5, 6, 7]}
  ).write_csv(folder / "user_features_pure.csv")
  pl.DataFrame(
    {"video_id": [10, 11, 12], "tag": ["3,4", None, "5"], "author_id": [1] * 3}
  ).write_csv(folder / "video_features_basic_pure.csv")
  return folder


def _prepared(folder, **options):
  directory = folder.parent / "data"
  prepare(KuaiRand(str(folder), **options), _SPLIT, directory)
  return Histories(directory), Users(directory), Catalog(directory)


def _actions(histories, user):
  names = histories.manifest.actions
  return [names[a] for a in histories[user]["action"]]


def test_lists_come_first_and_signals_are_actions(folder):
  histories, users, catalog = _prepared(folder)
  one, two, three = (users.index_of(name) for name in (1, 2, 3))
  record = histories[one]
  assert [catalog.ids[i] for i in record["item"]] == [
    "10", "13", "10", "10", "11", "12",
  ]  # fmt: skip
  assert _actions(histories, one) == [
    "long_view|untimed",
    "long_view|like|untimed",
    "long_view|untimed",
    "click|like",
    "skip",
    "hate|profile",
  ]
  assert record["request"].tolist() == [0, 0, 0, 1, 1, 2]
  # At the list's last time, and never after the first impression.
  assert (record["time"][3:] - record["time"][2]).tolist() == [4, 4, 9]
  assert _actions(histories, two) == ["untimed", "long_view", "click"]
  assert (histories[two]["time"][1] - histories[two]["time"][0]) <= 1
  assert _actions(histories, three) == ["long_view|untimed"]
  dropped = histories.manifest.counts["dropped"]
  assert dropped == {"like of a video before the list's first": 1}
  assert record["value"][3:].tolist()[::2] == [0.5, 2.5]
  assert str(record["value"][4]) == "nan"


def test_tabs_are_read_where_they_are_asked_for(folder):
  assert KuaiRand("a") == KuaiRand("a", scene=False)
  histories, users, _ = _prepared(folder, scene=True)
  assert histories.manifest.scenes == ["", "1", "10"]
  # Of the lists from before the log nobody knows it.
  scenes = [histories[users.index_of(u)]["scene"].tolist() for u in (1, 2, 3)]
  assert scenes == [[0, 0, 0, 1, 1, 1], [0, 2, 1], [0]]
  # All else is as it is without them.
  (folder.parent / "data").rename(folder.parent / "scenes")
  plain, _, _ = _prepared(folder)
  assert plain.manifest.fingerprint != histories.manifest.fingerprint
  scened = Histories(folder.parent / "scenes")
  for user in range(len(plain)):
    assert {*scened[user]} == {*plain[user], "scene"}
    for name, column in plain[user].items():
      np.testing.assert_array_equal(scened[user][name], column)


def test_the_cut_is_in_local_time_and_lists_are_asked_nothing(folder):
  histories, users, catalog = _prepared(folder)
  asked = {}
  for part in ("train", "validation", "test"):
    for batch in iter_impressions(
      histories, part, Feedback(("click", "long_view")), 8, 2
    ):
      asked[part] = [
        (users.ids[u], [catalog.ids[i] for i in row if i])
        for u, row in zip(batch.user, batch.candidates, strict=True)
      ]
  assert asked == {
    "train": [("1", ["10", "11"]), ("2", ["10"])],
    "validation": [("1", ["12"])],
    "test": [("2", ["11"])],
  }


def test_without_history_there_is_the_log_alone(folder):
  histories, users, _ = _prepared(folder, history=False)
  assert users.ids == ["1", "2"]
  assert len(histories[0]["item"]) == 3
  assert not any("untimed" in a for a in histories.manifest.actions)
  assert "history_before_x.parquet" not in histories.manifest.checksums


def test_side_features_have_types_and_nulls(folder):
  histories, users, catalog = _prepared(folder)
  assert users.attributes["fans"].to_list() == [5, 6, None]
  assert users.attributes["degree"].to_list() == ["full", "low", None]
  tags = dict(zip(catalog.ids[1:], catalog.attributes["tag"], strict=True))
  assert tags == {"10": "3,4", "11": None, "12": "5", "13": None}
  assert catalog.attributes["author_id"].dtype == pl.Int64
  counts = histories.manifest.counts["user_table"]
  assert (counts["users_without_row"], counts["unseen_users"]) == (1, 1)
  assert histories.manifest.item_table["items_without_row"] == 1


def test_what_is_missing_is_named(folder):
  with pytest.raises(ValueError, match="needs path="):
    KuaiRand().read()
  (folder / "user_features_pure.csv").rename(folder / "users.csv")
  with pytest.raises(ValueError, match="no file .*user_features"):
    KuaiRand(str(folder)).read()
  log = folder / "log_standard_x.parquet"
  pl.read_parquet(log).drop("is_hate").write_parquet(log)
  with pytest.raises(ValueError, match="no column 'is_hate'"):
    KuaiRand(str(folder)).read()


def test_the_published_log_is_read_whole(shared):
  raw = KuaiRand(str(shared / "data" / "kuairand-pure"), history=False).read()
  assert len(raw.events) == 222_457 and not raw.dropped
  clicks = raw.events["action"].str.split("|").list.contains("click").sum()
  assert clicks == 100_018
  assert raw.events["value"].null_count() == 3_568
  assert (len(raw.items), len(raw.users)) == (7_583, 27_285)
