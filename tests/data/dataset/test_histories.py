# SPDX-License-Identifier: Apache-2.0
"""Histories, items and users of a prepared data set, whole or refused."""

import json
import pickle

import grain
import numpy as np
import polars as pl
import pytest

from genrec_jax.data import LeaveOneOut, RawLog
from genrec_jax.data.dataset import Catalog, Histories, Users
from genrec_jax.data.prepare import prepare


class _Source:
  """Three users of four shops."""

  def read(self) -> RawLog:
    return RawLog(
      events=pl.DataFrame(
        {
          "user": ["ann", "bob", "ann", "ann", "cid"],
          "item": ["tea", "tea", "jam", "oat", "jam"],
          "timestamp": [10, 20, 30, 40, 50],
        }
      ),
      items=pl.DataFrame(
        {"item": ["tea", "jam"], "title": ["Tea", "Jam"], "price": [3, 4]}
      ),
    )


class _Lists:
  """One user, half of whose events came in a list without times."""

  def read(self) -> RawLog:
    return RawLog(
      events=pl.DataFrame(
        {
          "user": ["ann"] * 4,
          "item": ["tea", "jam", "oat", "tea"],
          "timestamp": [10, 20, 30, 40],
          "action": ["untimed", "like", "like|untimed", None],
        }
      )
    )


@pytest.fixture
def directory(tmp_path):
  prepare(_Source(), LeaveOneOut(), tmp_path / "data")
  return tmp_path / "data"


def test_many_records_are_those_read_one_by_one(tmp_path):
  directory = tmp_path / "data"
  prepare(_Source(), LeaveOneOut(), directory)
  histories = Histories(directory)
  wanted = [2, 0, 0, 1]
  for user, record in zip(wanted, histories.many(wanted), strict=True):
    assert int(record["user"]) == user
    np.testing.assert_array_equal(record["item"], histories[user]["item"])
  for user in (-1, 3):
    with pytest.raises(IndexError, match=f"user index {user} is out of range"):
      histories.many([0, user])


def test_records_come_by_user_index(directory):
  histories = Histories(directory)
  record = histories[0]
  assert record["user"].shape == () and record["user"] == 0
  assert record["item"].tolist() == [1, 2, 3]
  assert record["time"].tolist() == [0, 20, 30]
  assert [histories[i]["item"].tolist() for i in (1, 2)] == [[1], [2]]
  assert histories.split == LeaveOneOut()
  for index in (3, -1):
    with pytest.raises(IndexError, match="there are 3 users"):
      histories[index]


def test_times_are_null_where_they_are_not_known(directory, tmp_path):
  histories = Histories(directory)
  times = histories.times(histories[0])
  assert times.dt.epoch("s").to_list() == [10, 30, 40]
  prepare(_Lists(), LeaveOneOut(), tmp_path / "lists")
  histories = Histories(tmp_path / "lists")
  assert histories.times(histories[0]).dt.epoch("s").to_list() == [
    None,
    20,
    None,
    40,
  ]
  untimed = {n: x for n, x in histories[0].items() if n != "time"}
  assert histories.times(untimed) is None


def test_histories_are_a_source_for_grain(directory):
  histories = Histories(directory)
  dataset = grain.MapDataset.source(histories).shuffle(seed=1)
  users = [int(dataset[i]["user"]) for i in range(3)]
  assert sorted(users) == [0, 1, 2]
  copy = pickle.loads(pickle.dumps(histories))
  np.testing.assert_array_equal(copy[0]["item"], histories[0]["item"])
  assert repr(copy) == repr(histories)


def test_items_and_users_by_index_and_id(directory):
  catalog, users = Catalog(directory), Users(directory)
  assert catalog.ids == ["", "tea", "jam", "oat"]
  assert catalog.titles == ["", "Tea", "Jam", ""]
  # tea: ann's first and bob's only event; jam: cid's only event.
  assert catalog.count.tolist() == [0, 2, 1, 0]
  assert catalog.attributes["price"].to_list() == [3, 4, None]
  assert catalog.attributes["index"].to_list() == [1, 2, 3]
  assert [catalog.index_of(i) for i in ("tea", "oat")] == [1, 3]
  assert users.ids == ["ann", "bob", "cid"]
  assert users.events.tolist() == [3, 1, 1]
  assert users.index_of("cid") == 2


def test_unknown_ids_name_close_ones(directory):
  with pytest.raises(ValueError, match="no item 'teaa' among 3.*'tea'"):
    Catalog(directory).index_of("teaa")
  with pytest.raises(ValueError, match="no user 'annn' among 3.*'ann'"):
    Users(directory).index_of("annn")
  with pytest.raises(ValueError, match="no item ''"):
    Catalog(directory).index_of("")


@pytest.mark.parametrize("opener", [Histories, Catalog, Users])
def test_folders_that_are_no_data_set_are_refused(directory, opener):
  with pytest.raises(ValueError, match="no prepared data set.*genrec prepare"):
    opener(directory.parent)
  path = directory / "manifest.json"
  values = json.loads(path.read_text())
  path.write_text(json.dumps({**values, "schema_version": 0}))
  with pytest.raises(ValueError, match="schema version 0"):
    opener(directory)


def test_files_that_are_missing_or_do_not_fit_are_refused(directory):
  path = directory / "manifest.json"
  text = path.read_text()
  values = json.loads(text)
  del values["checksum"]
  path.write_text(json.dumps({**values, "num_users": 4, "num_items": 9}))
  with pytest.raises(ValueError, match="holds 3 records, its manifest says 4"):
    Histories(directory)
  with pytest.raises(ValueError, match="3 rows, the manifest says 9"):
    Catalog(directory)
  path.write_text(text)
  (directory / "users.parquet").unlink()
  with pytest.raises(ValueError, match="users.parquet is missing"):
    Users(directory)
  next(directory.glob("histories-*")).unlink()
  with pytest.raises(ValueError, match="lacks histories-00000-of-00001"):
    Histories(directory)


def _read_all(directory):
  """Everything that a prepared data set says."""
  histories = Histories(directory)
  histories.verify()
  records = [histories[user] for user in range(len(histories))]
  catalog, users = Catalog(directory), Users(directory)
  return repr([records, catalog.ids, catalog.count, users.ids, users.events])


def test_a_flipped_bit_or_a_cut_in_any_file_is_named(directory):
  _read_all(directory)
  for path in directory.iterdir():
    written = path.read_bytes()
    flipped = bytearray(written)
    flipped[len(written) // 3] ^= 4
    for damage in (bytes(flipped), written[: len(written) // 2], b""):
      path.write_bytes(damage)
      with pytest.raises(ValueError) as found:
        _read_all(directory)
      said = str(found.value)
      assert str(path) in said and "\n" not in said
      assert f"Delete {directory} and run genrec prepare" in said
    path.write_bytes(written)


def test_a_flipped_bit_of_a_record_is_named_when_it_is_read(directory):
  want = [Histories(directory)[user]["item"].tolist() for user in range(3)]
  (path,) = directory.glob("histories-*")
  written = path.read_bytes()
  refused = 0
  # Most of a small file is padding, which means nothing.
  for place in np.flatnonzero(np.frombuffer(written, np.uint8))[::37]:
    flipped = bytearray(written)
    flipped[place] ^= 1
    path.write_bytes(flipped)
    try:
      histories = Histories(directory)
      found = [histories[user]["item"].tolist() for user in range(3)]
    except ValueError as error:
      assert f"{path} is damaged" in str(error)
      refused += 1
    else:
      assert found == want
  assert refused > 5


def test_a_data_set_of_before_there_were_checksums_is_read(directory):
  path, want = directory / "manifest.json", _read_all(directory)
  values = json.loads(path.read_text())
  assert len(values["files"]) == 3
  path.write_text(
    json.dumps(
      {k: v for k, v in values.items() if k not in ("files", "checksum")}
    )
  )
  assert _read_all(directory) == want
