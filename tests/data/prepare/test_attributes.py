# SPDX-License-Identifier: Apache-2.0
"""The user table: joined by id, counted, and read back by user index."""

import polars as pl
import pytest

from genrec_jax.data import schema
from genrec_jax.data.dataset.catalog import Users
from genrec_jax.data.prepare import attributes
from genrec_jax.data.prepare.preparation import prepare
from genrec_jax.data.splits import LeaveOneOut

_EVENTS = pl.DataFrame({"user": [7, 3, 9], "item": ["a", "a", "b"]})


class _Log:
  def __init__(self, users=None):
    self._users = users

  def read(self):
    return schema.RawLog(events=_EVENTS, users=self._users)

  def checksums(self):
    return {}


def _prepared(tmp_path, users):
  log = _Log(None if users is None else pl.DataFrame(users))
  manifest = prepare(log, LeaveOneOut(), tmp_path / "data")
  return manifest, Users(tmp_path / "data")


def test_rows_follow_user_indices_and_what_does_not_match_is_counted(tmp_path):
  manifest, users = _prepared(
    tmp_path,
    {
      "user": [9.0, 7.0, 7.0, None, 1.0],
      "age": [90, 70, 71, 0, 10],
      "city": ["ix", "vii", "no", "no", "i"],
    },
  )
  assert users.ids == ["7", "3", "9"]
  assert users.attributes.columns == ["user", "age", "city"]
  assert users.attributes["age"].to_list() == [70, None, 90]
  assert users.attributes["city"].to_list() == ["vii", None, "ix"]
  assert manifest.counts["user_table"] == {
    "rows": 5,
    "rows_without_id": 1,
    "duplicate_rows": 1,
    "users_without_row": 1,
    "unseen_users": 1,
  }


def test_without_a_table_there_is_no_attribute_and_no_count(tmp_path):
  manifest, users = _prepared(tmp_path, None)
  assert users.attributes.columns == ["user"]
  assert "user_table" not in manifest.counts


def test_tables_that_cannot_be_joined_are_refused(tmp_path):
  for users, message in (
    ({"name": [7]}, "it needs 'user'"),
    ({"user": [7], "events": [1]}, "rename events"),
    ({"user": [7.5]}, "user table has ids that are not whole"),
  ):
    with pytest.raises(ValueError, match=message):
      _prepared(tmp_path, users)


@pytest.mark.parametrize("title", [["a"], {"en": "a"}])
def test_titles_that_are_no_text_are_refused(title):
  items = pl.DataFrame({"item": ["7"], "title": [title]})
  with pytest.raises(ValueError, match="'title' of the item table has the typ"):
    attributes.of_items(["7"], items, keep_unseen=False)
