# SPDX-License-Identifier: Apache-2.0
"""What a model says of users, asked at some moments: an artifact.

    made = UserVectors.make(UserAnswers(...), facts, DIR)
    vectors = UserVectors.load(DIR)
    rows = vectors.rows_at("u7", times, events)    the latest that were made by
    vectors.answers.vectors_RQE[rows]              then, of no more events

    DIR/  manifest.json  users.arrow  items.arrow

`users.arrow` (Arrow IPC) has a row per user and moment: `user`, `until` (unix
seconds: it was made of the user's events before that), `events` (how many these
are), `model` (the version of the model that was asked), and a column
"query/NAME" per query with its vector. `items.arrow` has the vector of every
item, by the same model: `item`, `vector`. A later row of a user is there where
more was known of them. `version` names the contents.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import os
import pathlib
from typing import Any

from jaxtyping import Float, Int
import numpy as np
import polars as pl

from genrec_jax.core import artifact
from genrec_jax.core.suggest import choices_hint
from genrec_jax.data import times

_KIND = "user_vectors"
_USERS, _ITEMS = "users.arrow", "items.arrow"
_QUERY = "query/"


@dataclasses.dataclass(frozen=True)
class UserAnswers:
  """The contents of an artifact; R rows, those of a user side by side.

  Attributes:
    users: id of every row's user.
    until_R: unix seconds, ascending within a user.
    events_R: events of the user before that.
    vectors_RQE: what each query found.
    items: ids.
    items_VE: their vectors.
  """

  users: Sequence[str]
  until_R: Int[np.ndarray, "R"]
  events_R: Int[np.ndarray, "R"]
  vectors_RQE: Float[np.ndarray, "R Q E"]
  items: Sequence[str]
  items_VE: Float[np.ndarray, "V E"]


@dataclasses.dataclass(frozen=True, eq=False)
class UserVectors:
  """Vectors of users by moment and query, and of items.

  Attributes:
    answers: see UserAnswers.
    version: names the contents.
    manifest: the whole manifest.
  """

  answers: UserAnswers
  version: str
  manifest: dict[str, Any]

  @classmethod
  def make(
    cls,
    answers: UserAnswers,
    facts: Mapping[str, Any],
    directory: str | os.PathLike,
  ) -> "UserVectors":
    """Writes an artifact.

    Args:
      answers: see UserAnswers.
      facts: "queries", names of the Q queries; "model", the version of the
        model; "fingerprint" of the data set; "trained_until", unix seconds of
        the latest event that the model was trained on; and whatever else says
        how the vectors were made.
      directory: its folder; ValueError where it is there.

    Raises:
      ValueError: vectors that are not finite, or made before the model was.
    """
    for array in (answers.vectors_RQE, answers.items_VE):
      if not np.isfinite(array).all():
        raise ValueError("a vector of a user or an item is not finite.")
    check_made_after(answers.until_R, facts["trained_until"])
    users, items = _tables(answers, facts["queries"], facts["model"])
    version = artifact.content_hash(
      *(facts[name] for name in ("model", "fingerprint", "queries")),
      *(list(answers.users), list(answers.items)),
      *(answers.until_R.astype(np.int64), answers.events_R.astype(np.int32)),
      *(x.astype(np.float32) for x in (answers.vectors_RQE, answers.items_VE)),
    )
    values = {
      "version": version,
      **facts,
      "queries": list(facts["queries"]),
      "rows": len(users),
      "width": answers.items_VE.shape[1],
    }
    with artifact.new_folder(directory) as folder:
      users.write_ipc(folder / _USERS)
      items.write_ipc(folder / _ITEMS)
      artifact.save_manifest(folder, _KIND, values, [_USERS, _ITEMS])
    return cls.load(directory)

  @classmethod
  def load(cls, directory: str | os.PathLike) -> "UserVectors":
    """Reads an artifact.

    Raises:
      ValueError: none there, damaged, or with rows of another model than it
        says (names both versions).
    """
    directory = pathlib.Path(directory)
    if not directory.exists():
      raise ValueError(
        f"{directory} holds no vectors of users.\nHave a trained model asked"
        " (config.user_vectors; genrec users with this --config and --workdir),"
        " or name the folder in config.user_vectors.directory."
      )
    manifest = artifact.load_manifest(directory, _KIND)
    users, items = _read(directory / _USERS), _read(directory / _ITEMS)
    models = set(users["model"].cast(pl.String).unique()) - {manifest["model"]}
    if models:
      raise ValueError(
        f"{directory / _USERS} has rows of the model {min(models)}, and"
        f" its manifest says {manifest['model']}: vectors of two models mean"
        " different things. Export those of one, into a folder of their own."
      )
    vectors = [
      users[f"{_QUERY}{name}"].to_numpy() for name in manifest["queries"]
    ]
    answers = UserAnswers(
      users=users["user"].to_list(),
      until_R=users["until"].to_numpy(),
      events_R=users["events"].to_numpy(),
      vectors_RQE=np.stack(vectors, axis=1),
      items=items["item"].to_list(),
      items_VE=items["vector"].to_numpy(),
    )
    return cls(answers, manifest["version"], manifest)

  @property
  def queries(self) -> tuple[str, ...]:
    """Names of the queries, in their order."""
    return tuple(self.manifest["queries"])

  @property
  def width(self) -> int:
    """E."""
    return self.answers.items_VE.shape[1]

  def check(self, fingerprint: str, directory: str | os.PathLike) -> None:
    """Raises a ValueError where the vectors are of another data set."""
    theirs = self.manifest["fingerprint"]
    if theirs != fingerprint:
      raise ValueError(
        f"the vectors of users in {directory} (version {self.version}) are of"
        f" another data set (fingerprints {theirs} and {fingerprint}): export"
        " them again on this one, into another folder."
      )

  def columns(self, names: Sequence[str], where: str) -> Int[np.ndarray, "C"]:
    """Places of some queries among all.

    Args:
      names: of queries.
      where: option that names them, for the error.

    Raises:
      ValueError: one that was not asked.
    """
    for name in names:
      if name not in self.queries:
        raise ValueError(
          f"{where} names the query {name!r}, which the model {self.model} was"
          f" not asked.{choices_hint(name, self.queries)}"
        )
    return np.array([self.queries.index(name) for name in names], np.int64)

  @property
  def model(self) -> str:
    """Version of the model that was asked."""
    return self.manifest["model"]

  def rows_at(
    self,
    user: str,
    times_n: Int[np.ndarray, "n"],
    events_n: Int[np.ndarray, "n"],
  ) -> Int[np.ndarray, "n"]:
    """The latest rows of a user that know no more than given moments; -1 where
    there is none.

    Args:
      user: id.
      times_n: unix seconds; what was made of events before it is known.
      events_n: events of the user that are known.
    """
    start, end = self._places.get(user, (0, 0))
    until, events = (
      x[start:end] for x in (self.answers.until_R, self.answers.events_R)
    )
    found = np.minimum(
      np.searchsorted(until, times_n, side="right"),
      np.searchsorted(events, events_n, side="right"),
    )
    return np.where(found > 0, start + found - 1, -1)

  def why_none(self, user: str, time: int, events: int) -> str:
    """What a user's vectors know that a moment does not, in words."""
    said = f"vectors of users (version {self.version}, model {self.model})"
    if user not in self._places:
      return f"the {said} have none of user {user!r}."
    first = self._places[user][0]
    until = int(self.answers.until_R[first])
    if until > time:
      return (
        f"the {said} were first made of user {user!r} at {times.iso(until)},"
        f" and are asked for at {times.iso(time)}: they know what came after."
      )
    return (
      f"the {said} were first made of user {user!r} at {times.iso(until)}, of"
      f" {int(self.answers.events_R[first])} events, and at {times.iso(time)}"
      f" {events} are told: they know what came after."
    )

  @functools.cached_property
  def _places(self) -> dict[str, tuple[int, int]]:
    """Where the rows of each user begin and end."""
    users = np.array(self.answers.users, dtype=object)
    new = np.append(True, users[1:] != users[:-1])[: len(users)]
    starts = np.flatnonzero(new)
    ends = np.append(starts[1:], len(users))
    pairs = zip(starts.tolist(), ends.tolist(), strict=True)
    return dict(zip(users[starts].tolist(), pairs, strict=True))


def check_made_after(until_R: Int[np.ndarray, "R"], trained_until: int) -> None:
  """Raises a ValueError where a model is asked about a time that it knows.

  Args:
    until_R: unix seconds at which it is asked.
    trained_until: of the latest event that it was trained on.
  """
  first = int(until_R.min(initial=np.iinfo(np.int64).max))
  if first <= trained_until:
    raise ValueError(
      f"users are asked about at {times.iso(first)}, and the model was trained"
      f" on events until {times.iso(trained_until)}: it knows what came after."
      " Ask later (config.user_vectors.cuts), or train it on less"
      " (config.pipeline.layout.until of its config)."
    )


def _tables(
  answers: UserAnswers, queries: Sequence[str], model: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
  keys = {
    "user": pl.Series(answers.users, dtype=pl.String),
    "until": answers.until_R.astype(np.int64),
    "events": answers.events_R.astype(np.int32),
    "model": pl.Series([model] * len(answers.users), dtype=pl.Categorical),
  }
  asked = {
    f"{_QUERY}{name}": answers.vectors_RQE[:, place].astype(np.float32)
    for place, name in enumerate(queries)
  }
  items = {
    "item": pl.Series(answers.items, dtype=pl.String),
    "vector": answers.items_VE.astype(np.float32),
  }
  return pl.DataFrame(keys | asked), pl.DataFrame(items)


def _read(path: pathlib.Path) -> pl.DataFrame:
  try:
    return pl.read_ipc(path)
  except (pl.exceptions.PolarsError, OSError) as error:
    raise ValueError(f"{path} is damaged ({str(error)[:80]}).") from error
