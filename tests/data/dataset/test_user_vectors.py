# SPDX-License-Identifier: Apache-2.0
"""Vectors of users on disk: read back equal, joined point in time, refused."""

import json

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from genrec_jax.core import artifact
from genrec_jax.data.dataset.user_vectors import UserAnswers, UserVectors

_USERS, _Q, _E, _V = ("u1", "u2", "u 3"), 2, 5, 4
_START = 1_650_000_000
_FACTS = {
  "queries": ["scene=1", ""],
  "model": "a-model",
  "fingerprint": "a-data-set",
  "trained_until": _START - 1,
  "made": 1,
}


def _answers(seed=0):
  """Rows of each user at some of six moments, with more events each time."""
  rng = np.random.default_rng(seed)
  users, until, events = [], [], []
  for user in _USERS:
    moments = np.flatnonzero(rng.random(6) < 0.7)
    moments = moments if len(moments) else np.array([2])
    users += [user] * len(moments)
    until.append(_START + 100 * moments)
    events.append(np.cumsum(rng.integers(1, 3, len(moments))) - 1)
  return UserAnswers(
    users=users,
    until_R=np.concatenate(until),
    events_R=np.concatenate(events),
    vectors_RQE=rng.normal(size=(len(users), _Q, _E)).astype(np.float32),
    items=[f"i{n}" for n in range(_V)],
    items_VE=rng.normal(size=(_V, _E)).astype(np.float32),
  )


@pytest.fixture
def made(tmp_path):
  return UserVectors.make(_answers(), _FACTS, tmp_path / "vectors")


def test_what_was_written_is_read(made, tmp_path):
  for loaded in (made, UserVectors.load(tmp_path / "vectors")):
    for name, written in vars(_answers()).items():
      found = getattr(loaded.answers, name)
      np.testing.assert_array_equal(found, written)
      if isinstance(written, np.ndarray):
        assert found.dtype.kind == written.dtype.kind
    assert (loaded.queries, loaded.width) == (("scene=1", ""), _E)
  # Equal contents have equal versions, and others another one.
  again = UserVectors.make(_answers(), _FACTS, tmp_path / "again")
  other = UserVectors.make(_answers(1), _FACTS, tmp_path / "other")
  newer = UserVectors.make(
    _answers(), _FACTS | {"model": "newer"}, tmp_path / "newer"
  )
  assert again.version == made.version
  assert len({made.version, other.version, newer.version}) == 3


def test_the_files_are_arrow(made, tmp_path):
  with pa.ipc.open_file(str(tmp_path / "vectors" / "users.arrow")) as file:
    table = file.read_all()
  assert table.column_names == [
    *("user", "until", "events", "model", "query/scene=1", "query/")
  ]
  assert table.schema.field("query/").type == pa.list_(pa.float32(), _E)
  assert set(table["model"].to_pylist()) == {"a-model"}
  found = np.array(table["query/scene=1"].to_pylist(), np.float32)
  np.testing.assert_array_equal(found, made.answers.vectors_RQE[:, 0])


def _by_loop(answers, user, time, events):
  """The last row that knows neither more time nor more events."""
  found = -1
  for row, name in enumerate(answers.users):
    known = answers.until_R[row] <= time and answers.events_R[row] <= events
    if name == user and known:
      found = row
  return found


def test_the_join_is_that_of_a_loop(made):
  rng = np.random.default_rng(5)
  for user in (*_USERS, "nobody"):
    times = _START + rng.integers(-150, 800, 60)
    times[:12] = _START + 100 * rng.integers(0, 6, 12)
    events = rng.integers(0, 9, 60)
    rows = made.rows_at(user, times, events)
    expected = [
      _by_loop(made.answers, user, t, n)
      for t, n in zip(times.tolist(), events.tolist(), strict=True)
    ]
    assert rows.tolist() == expected
    assert user == "nobody" or len(set(expected)) > 2


def test_it_says_both_times_of_what_is_a_look_ahead(made):
  first = int(made.answers.until_R[made.answers.users.index("u1")])
  said = made.why_none("u1", first - 3600, 9)
  for seconds in (first, first - 3600):
    moment = np.datetime64(seconds, "s").item()
    assert f"at {moment} UTC" in said
  assert made.version in said and "they know what came after" in said
  told = made.why_none("u1", first + 10**6, -1)
  assert "of 0 events" in told or "of 1 events" in told
  assert "none of user 'nobody'" in made.why_none("nobody", first, 9)


def test_an_unknown_query_is_refused_by_name(made):
  columns = made.columns(("", "scene=1"), "config.x")
  assert columns.tolist() == [1, 0]
  with pytest.raises(
    ValueError,
    match="config.x names the query 'scene=2', which the model"
    " a-model was not asked. Did you mean 'scene=1'",
  ):
    made.columns(("scene=2",), "config.x")


def test_other_data_and_other_models_are_refused(made, tmp_path):
  made.check("a-data-set", "there")
  with pytest.raises(ValueError, match="fingerprints a-data-set and other"):
    made.check("other", "there")
  # Rows of a newer model among those of this one.
  folder = tmp_path / "vectors"
  table = pl.read_ipc(folder / "users.arrow")
  mixed = table.with_columns(
    model=pl.when(pl.int_range(pl.len()) == 1)
    .then(pl.lit("newer"))
    .otherwise(pl.col("model").cast(pl.String))
  )
  mixed.write_ipc(folder / "users.arrow")
  with pytest.raises(ValueError, match="is not what the manifest describes"):
    UserVectors.load(folder)
  values = json.loads((folder / "manifest.json").read_text())
  kept = {k: v for k, v in values.items() if k not in ("files", "checksum")}
  artifact.save_manifest(
    folder, kept["kind"], kept, ["users.arrow", "items.arrow"]
  )
  with pytest.raises(
    ValueError, match="rows of the model newer, and its manifest says a-model"
  ):
    UserVectors.load(folder)


def test_a_model_is_not_asked_about_times_that_it_knows(tmp_path):
  answers = _answers()
  first = int(answers.until_R.min())
  facts = _FACTS | {"trained_until": first}
  moment = np.datetime64(first, "s").item()
  with pytest.raises(ValueError, match=f"asked about at {moment} UTC, and"):
    UserVectors.make(answers, facts, tmp_path / "vectors")
  assert not (tmp_path / "vectors").exists()


def test_a_folder_without_any_says_how_to_make_them(tmp_path):
  with pytest.raises(ValueError, match="genrec users"):
    UserVectors.load(tmp_path / "nothing")
