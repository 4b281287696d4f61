# SPDX-License-Identifier: Apache-2.0
"""Calls of genrec_jax.fit that cannot be: what is said, and nothing is left.

Everything is checked before a model is trained, so no test here trains one.
"""

import datetime
import decimal
import importlib

import numpy as np
import polars as pl
import pytest

import genrec_jax
from tests.bad_inputs.answers import SECRET, refused

_ROWS = 40
_LOG = pl.DataFrame(
  {
    "user": np.repeat([f"{SECRET}-{u}" for u in range(8)], 5),
    "item": [f"i{n % 7}" for n in range(_ROWS)],
    "timestamp": 1_700_000_000 + np.arange(_ROWS),
  }
)
_ITEMS = pl.DataFrame({"item": ["i1", "i2"], "title": ["One", "Two"]})


def _with(**columns):
  return _LOG.with_columns(**{n: pl.lit(v) for n, v in columns.items()})


# What is no table of events; what is said.
_EVENTS = [
  (None, "events: a builtins.NoneType is no table"),
  (7, "builtins.int is no table"),
  ([("u", "i")], "builtins.list is no table"),
  ({"user": ["u"]}, "builtins.dict is no table"),
  (np.zeros((2, 2)), "numpy.ndarray is no table"),
  (_LOG["user"], "Series is no table"),
  (b"log.csv", "builtins.bytes is no table"),
  (pl.DataFrame(), "events: the table has no rows"),
  (_LOG.head(0), "events: the table has no rows"),
  (_LOG.head(0).lazy(), "events: the table has no rows"),
  (_LOG.lazy().select("nobody"), "LazyFrame cannot be collected"),
  (pl.scan_csv("nowhere.csv"), "LazyFrame cannot be collected"),
  ("nowhere.csv", "no file 'nowhere.csv'"),
  ("", "no path is given"),
  (_LOG.rename({"user": "a", "item": "b"}), "looks like the user .looked for"),
  (_LOG.drop("item"), "looks like the item .looked for item, item_id.*Choices"),
  (_with(user=True), "'user' has the type Boolean"),
  (_with(user=1.5), "cannot read 1.5 as user in row 1"),
  (_with(user=None), "of 40 events none remains: 40 no user id"),
  (_with(user="None"), "none remains: 40 user id is a word for none"),
  (_with(item=float("nan")), "none remains: 40 no item id"),
  (_with(user=b"u"), "'user' has the type Binary"),
  (_with(user=decimal.Decimal("1")), "'user' has the type Decimal"),
  (_with(item=[1, 2]), "'item' has the type List"),
  (_LOG.with_columns(item=pl.struct("user")), "'item' has the type Struct"),
  (_with(timestamp="soon"), "cannot read 'soon' as timestamp in row 1"),
  (_with(timestamp=None), "40 of 40 events have no timestamp"),
  (_with(timestamp=True), "'timestamp' has the type Boolean"),
  (_with(timestamp=datetime.time(1)), "'timestamp' has the type Time"),
  (_with(timestamp=datetime.timedelta(1)), "has the type Duration"),
  (_with(event_type=[1]), "'action' has the type List"),
  (
    pl.DataFrame({"user": [object()], "item": ["i"]}),
    "column 'user' holds obj",
  ),
]

# Tables of items.
_OF_ITEMS = [
  (7, "items: a builtins.int is no table"),
  (_ITEMS.head(0), "items: the table has no rows"),
  (_ITEMS.select("title"), "looks like the item .*Choices: title"),
  ("nowhere.csv", "no file 'nowhere.csv'"),
  (_ITEMS.with_columns(count=1), "item_id, count are taken: rename count"),
  (_ITEMS.with_columns(index=1), "are taken: rename index"),
  (_ITEMS.with_columns(item=1.5), "ids that are not whole numbers"),
  (_ITEMS.with_columns(item=pl.lit([1])), "'item' has the type List"),
  (
    _ITEMS.with_columns(title=pl.lit(["a"])),
    "items.*the column 'title' holds lists",
  ),
  (
    _ITEMS.with_columns(title=pl.struct("item")),
    "items.*the column 'title' holds objects",
  ),
]

# Other arguments, and values of the config by name.
_ARGUMENTS = [
  (
    {"config": "hstu_smal"},
    "'hstu_smal' is unknown. Did you mean 'hstu_small'",
  ),
  ({"config": "h" * 5000}, "config='hhh.*is unknown. Choices"),
  ({"config": None}, "config=None is unknown"),
  ({"config": 7}, "config=7 is unknown"),
  ({"config": ["hstu"]}, "is unknown"),
  ({"workdir": 7}, "workdir=7 must be a path"),
  ({"columns": ["user"]}, "must be roles and their columns"),
  ({"columns": "user"}, "must be roles and their columns"),
  ({"columns": {"user": "who"}}, "user='who', which is no column.*Choices"),
  ({"columns": {"user": 3}}, "user=3, which is no column"),
  ({"columns": {"user": None}}, "user=None, which is no column"),
  ({"columns": {"users": "user"}}, "role 'users'; roles are user, item"),
  ({"columns": {3: "user"}}, "role 3; roles are"),
  ({"columns": {"user": "item", "item": "item"}}, "two roles to 'item'"),
  ({"columns": {"user": "item"}}, "looks like the item"),
  ({"item_columns": {"title": "name"}}, "title='name', which is no column"),
  ({"train.stepz": 3}, "config.train has no 'stepz'. Did you mean 'steps'"),
  ({"trane": {"steps": 3}}, "config has no 'trane'. Did you mean 'train'"),
  ({"train": 5}, "train=5: train is a section of the config with the keys"),
  ({"train.steps.more": 5}, "config.train.steps has no keys"),
  ({"train.steps": "many"}, "train.steps='many' must be a whole number"),
  ({"train.steps": 1.5}, "train.steps=1.5 must be a whole number"),
  ({"train.steps": True}, "train.steps=True must be a whole number"),
  ({"train.steps": None}, "train.steps=None must be a whole number"),
  ({"system.dtype": "float99"}, "must be float32, bfloat16 or float16, got"),
  ({"train.steps": 0}, "train.steps must be at least 1"),
  ({"train.steps": -1}, "train.steps must be at least 1"),
  ({"optimizer.learning_rate": "fast"}, "='fast' must be a number"),
  ({"optimizer.learning_rate": None}, "=None must be a number"),
  ({"filter.deduplicate": "no"}, "='no' must be True or False"),
  ({"filter.deduplicate": 0}, "=0 must be True or False"),
  ({"data.quote": 3}, "data.quote=3 must be a text"),
  ({"data.attributes": "brand"}, "'brand' must be a list"),
  ({"data.attributes": None}, "attributes=None must be a list"),
  ({"data.attributes": [7]}, r"attributes=\[7\]: 7 must be str"),
  ({"data.columns": [1, 2]}, r"columns=\[1, 2\]: 1 must be str"),
  ({"data.value": "stars"}, "no column 'stars'"),
  ({"data.unit": "minutes"}, "unit must be 's', 'ms'"),
  ({"data.name": "sources.File"}, "offers no 'File'"),
  ({"split.name": "data.Random"}, "data offers no 'Random'"),
  ({"filter.min_user_events": 0}, "min_user_events must be at least 1"),
  ({"filter.min_item_events": 99}, "of 40 events none remains"),
  ({"filter.last_events": 0}, "last_events must be at least 1"),
  ({"filter.hold_out_items": 2.0}, "hold_out_items must lie in"),
]


@pytest.fixture(autouse=True)
def _trains_nothing(monkeypatch):
  module = importlib.import_module("genrec_jax.serving.fit")

  def train(*_):
    raise AssertionError("nothing was refused before the training")

  monkeypatch.setattr(module, "train", train)


def _refused(tmp_path, words, **given):
  workdir = tmp_path / "run"
  call = {"events": _LOG, "config": "hstu_small", "workdir": workdir}
  refused(words, genrec_jax.fit, **(call | given))
  assert not workdir.exists()


@pytest.mark.parametrize(("events", "words"), _EVENTS)
def test_events(tmp_path, events, words):
  _refused(tmp_path, words, events=events)


@pytest.mark.parametrize(("items", "words"), _OF_ITEMS)
def test_items(tmp_path, items, words):
  _refused(tmp_path, words, items=items)


@pytest.mark.parametrize(("given", "words"), _ARGUMENTS)
def test_arguments(tmp_path, given, words):
  _refused(tmp_path, words, **({"items": _ITEMS} | given))


def test_pandas(tmp_path):
  pandas = pytest.importorskip("pandas")
  rows = {"user": [SECRET, 1], "item": ["i", "j"]}
  for frame, words in (
    (pandas.DataFrame(rows), "column 'user' holds objects of several types"),
    (pandas.DataFrame({"user": [{1}], "item": ["i"]}), "has the type List"),
    (pandas.DataFrame([[1, 2]], columns=["user", "user"]), "there twice"),
    (pandas.DataFrame({"user": [], "item": []}), "has no rows"),
    (pandas.DataFrame({"user": [pandas.NA], "item": ["i"]}), "1 no user id"),
    (pandas.DataFrame({"user": [None], "item": ["i"]}), "1 no user id"),
    (pandas.DataFrame({"user": [float("nan")], "item": [1]}), "1 no user id"),
    (pandas.DataFrame({"user": [1 + 2j], "item": [1]}), "column 'user'"),
    (
      pandas.DataFrame({"user": pandas.period_range("2020", periods=1)}),
      "column 'user' holds objects of several types, or of none that a file",
    ),
    (pandas.Series([1]), "pandas.Series is no table"),
  ):
    _refused(tmp_path, words, events=frame)


def test_a_file_that_needs_other_options(tmp_path):
  path = tmp_path / "log.csv"
  path.write_text(f'user,item\n{SECRET},7"x\n')
  _refused(tmp_path, r"line 2 .*set quote='' \(--config", events=str(path))
  path.write_text(f"user,item\n{SECRET},i\n")
  other = {"data.separator": ";"}
  _refused(tmp_path, "looks like the user", events=str(path), **other)
