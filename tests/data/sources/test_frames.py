# SPDX-License-Identifier: Apache-2.0
"""Tables of any kind become one; columns are known by usual names or said."""

import datetime
import types

import polars as pl
import pytest

from genrec_jax.data.sources.frames import (
  EVENT_ROLES,
  ITEM_ROLES,
  as_polars,
  guess_columns,
)


@pytest.mark.parametrize(
  ("names", "given", "roles"),
  [
    (
      ["ts", "userId", "Item ID"],
      {},
      {"user": "userId", "item": "Item ID", "timestamp": "ts"},
    ),
    (
      ["who", "sku", "event_type"],
      {"user": "who"},
      {"user": "who", "item": "sku", "action": "event_type"},
    ),
    # The usual order decides, not the table's.
    (["session", "user", "item"], {}, {"user": "user", "item": "item"}),
    (["user", "item", "when"], {"item": "when"}, None),
  ],
)
def test_columns_are_known_by_their_names(names, given, roles):
  found = guess_columns(names, EVENT_ROLES, given)
  if roles is None:
    assert found["item"] == "when"
  else:
    assert found == roles


def test_every_usual_name_is_known():
  for roles in (EVENT_ROLES, ITEM_ROLES):
    for role, names in roles.items():
      for name in names:
        others = {r: n[0] for r, n in roles.items() if r != role}
        given = {r: n for r, n in others.items() if r in ("user", "item")}
        found = guess_columns([name, *given.values()], roles, given)
        assert found[role] == name


@pytest.mark.parametrize(
  ("names", "given", "message"),
  [
    (["a", "item"], {}, "no column looks like the user"),
    (["user", "b"], {}, r"looks like the item \(looked for item, item_id"),
    (["user", "item"], {"item": "sku"}, "item='sku', which is no column"),
    (["user", "item"], {"price": "x"}, "role 'price'; roles are user, item"),
  ],
)
def test_unknown_columns_are_named(names, given, message):
  with pytest.raises(ValueError, match=message):
    guess_columns(names, EVENT_ROLES, given)


def test_kinds_of_columns_that_files_do_not_have():
  zone = datetime.timezone(datetime.timedelta(hours=2))
  table = pl.DataFrame(
    {
      "user": pl.Series(["b", "a"], dtype=pl.Categorical),
      "item": pl.Series(["x", "y"], dtype=pl.Enum(["y", "x"])),
      "time": [datetime.datetime(2024, 5, 1, 14, tzinfo=zone)] * 2,
    }
  )
  for given in (table, table.lazy()):
    found = as_polars(given)
    assert found["user"].to_list() == ["b", "a"]
    assert found["item"].to_list() == ["x", "y"]
    assert found["time"][0] == datetime.datetime(2024, 5, 1, 12)


@pytest.mark.parametrize(
  ("thing", "message"),
  [
    ([1, 2], "builtins.list is no table: give a Polars or pandas"),
    (None, "NoneType is no table"),
    (pl.DataFrame({"user": []}), "has no rows"),
    (types.SimpleNamespace(columns=["a"]), "SimpleNamespace is no table"),
  ],
)
def test_what_is_no_table(thing, message):
  with pytest.raises(ValueError, match=message):
    as_polars(thing)


def test_pandas(tmp_path):
  pandas = pytest.importorskip("pandas")
  frame = pandas.DataFrame({"user": ["u", "v"], "item": [1, 2]}, index=[7, 7])
  found = as_polars(frame)
  assert found.columns == ["user", "item"] and len(found) == 2
  frame["item"] = pandas.Series(["a", "b"], [7, 7]).astype("category")
  assert as_polars(frame)["item"].to_list() == ["a", "b"]
  with pytest.raises(ValueError, match="columns 'user' are there twice"):
    as_polars(pandas.DataFrame([[1, 2]], columns=["user", "user"]))
