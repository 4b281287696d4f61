# SPDX-License-Identifier: Apache-2.0
"""What another model would have recommended, before each event: an artifact.

    made = NegativeLists.make(lists, first, facts, "WORKDIR/negatives")
    lists = NegativeLists.load("WORKDIR/negatives")
    lists.of_user(u, events)      int32 (events, n), row e = asked after event e

    WORKDIR/negatives/  manifest.json  lists.npy  first.npy

Item indices of the data set whose fingerprint the manifest has, best first, 0
where there are fewer. A list knows what was before its moment and nothing
later, so it may hold what the user took next: a loss leaves that out
(objectives/own_events.py). `version` names the contents; `age` says how long
ago they were found, and facts say by what.
"""

from collections.abc import Mapping
import dataclasses
import os
import pathlib
import time
from typing import Any

from jaxtyping import Int
import numpy as np

from genrec_jax.core import artifact

_KIND = "negative_lists"


@dataclasses.dataclass(frozen=True)
class NegativeLists:
  """Lists by user and event.

  Attributes:
    lists: the lists of all users, one after the other.
    first: row of each user's first list, and behind the last one's last.
    version: names lists and data set.
    manifest: the whole manifest.
  """

  lists: Int[np.ndarray, "rows n"]
  first: Int[np.ndarray, "U1"]
  version: str
  manifest: dict[str, Any]

  @classmethod
  def make(
    cls,
    lists: Int[np.ndarray, "rows n"],
    first: Int[np.ndarray, "U1"],
    facts: Mapping[str, Any],
    directory: str | os.PathLike,
  ) -> "NegativeLists":
    """Writes an artifact.

    Args:
      lists: see the class.
      first: likewise.
      facts: "fingerprint" of the data set, "sources" of the lists, and "made",
        seconds since 1970.
      directory: its folder; ValueError where it is there.
    """
    values = {
      "version": artifact.content_hash(facts["fingerprint"], lists, first),
      **facts,
      "shape": [*lists.shape],
      "num_users": len(first) - 1,
    }
    files = ["lists.npy", "first.npy"]
    with artifact.new_folder(directory) as folder:
      artifact.save_array(folder / files[0], lists.astype(np.int32))
      artifact.save_array(folder / files[1], first.astype(np.int64))
      artifact.save_manifest(folder, _KIND, values, files)
    return cls.load(directory)

  @classmethod
  def load(cls, directory: str | os.PathLike) -> "NegativeLists":
    """Reads an artifact.

    Raises:
      ValueError: none there, or damaged.
    """
    directory = pathlib.Path(directory)
    if not directory.exists():
      raise ValueError(
        f"{directory} holds no {_KIND}: make them with"
        " experiment.mine_negatives, or name their folder in"
        " config.negatives.directory."
      )
    manifest = artifact.load_manifest(directory, _KIND)
    return cls(
      lists=artifact.load_array(directory / "lists.npy"),
      first=artifact.load_array(directory / "first.npy"),
      version=manifest["version"],
      manifest=manifest,
    )

  def check(self, fingerprint: str, directory: str | os.PathLike) -> None:
    """Raises a ValueError where the lists are of another data set.

    Args:
      fingerprint: of the data set that they would be used with.
      directory: where they lie.
    """
    theirs = self.manifest["fingerprint"]
    if theirs != fingerprint:
      raise ValueError(
        f"the lists in {directory} (version {self.version}) are of another"
        f" data set (fingerprints {theirs} and {fingerprint}), where the same"
        " numbers are other items and users. Mine them again on this one."
      )

  def age(self, now: int | float | None = None) -> float:
    """Days since the lists were found; `now` in seconds since 1970."""
    now = time.time() if now is None else now
    return (now - self.manifest["made"]) / 86_400

  def of_user(self, user: int, events: int) -> Int[np.ndarray, "events n"]:
    """The user's lists after each of the first `events` events.

    Zeros behind the events that lists were made of.
    """
    start, end = int(self.first[user]), int(self.first[user + 1])
    found = self.lists[start : min(end, start + events)]
    return np.pad(found, ((0, events - len(found)), (0, 0)))
