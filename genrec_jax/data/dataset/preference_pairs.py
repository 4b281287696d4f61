# SPDX-License-Identifier: Apache-2.0
"""Of two samples of a request one is better: an artifact.

    made = PreferencePairs.make(PairArrays(...), facts, DIR)
    pairs = PreferencePairs.load(DIR)
    pairs.check("data", fingerprint, DIR)      ValueError where it is another

    DIR/  manifest.json  user.npy  event.npy  items.npy  rewards.npy

A request is an event of a user's training part. The chosen sample is worth more
than the rejected one. The manifest says what the pairs are of, by version, and
how many requests gave none:

    data, tokens, generator, reward      versions
    asked, constant, alone               requests; those whose samples are all
                                         worth the same; those with fewer than
                                         two different samples
"""

from collections.abc import Mapping
import dataclasses
import os
import pathlib
from typing import Any

from jaxtyping import Float, Int
import numpy as np

from genrec_jax.core import artifact

_KIND = "preference_pairs"
_DTYPES = {
  "user": np.int32,
  "event": np.int32,
  "items": np.int32,
  "rewards": np.float32,
}
# Whose versions a manifest has.
OF = ("data", "tokens", "generator", "reward")


@dataclasses.dataclass(frozen=True)
class PairArrays:
  """The arrays of an artifact; a row is a pair.

  Attributes:
    user: index of the user.
    event: place of the request's event in the user's history.
    items: of the chosen and of the rejected sample.
    rewards: of both.
  """

  user: Int[np.ndarray, "P"]
  event: Int[np.ndarray, "P"]
  items: Int[np.ndarray, "P 2 N"]
  rewards: Float[np.ndarray, "P 2"]


@dataclasses.dataclass(frozen=True)
class PreferencePairs:
  """Pairs of samples.

  Attributes:
    arrays: see PairArrays.
    version: names the pairs and what they are of.
    manifest: the whole manifest.
  """

  arrays: PairArrays
  version: str
  manifest: dict[str, Any]

  @classmethod
  def make(
    cls,
    arrays: PairArrays,
    facts: Mapping[str, Any],
    directory: str | os.PathLike,
  ) -> "PreferencePairs":
    """Writes an artifact.

    Args:
      arrays: see PairArrays.
      facts: versions by OF, the counts, and whatever else says how the pairs
        were made.
      directory: its folder; ValueError where it is there.

    Raises:
      ValueError: no pair, or one whose chosen sample is not worth more.
    """
    kept = {k: vars(arrays)[k].astype(t) for k, t in _DTYPES.items()}
    _check_pairs(kept, facts)
    versions = [facts[name] for name in OF]
    values = {
      "version": artifact.content_hash(versions, *kept.values()),
      **facts,
      "pairs": len(arrays.user),
    }
    with artifact.new_folder(directory) as folder:
      for name, array in kept.items():
        artifact.save_array(folder / f"{name}.npy", array)
      files = [f"{name}.npy" for name in kept]
      artifact.save_manifest(folder, _KIND, values, files)
    return cls.load(directory)

  @classmethod
  def load(cls, directory: str | os.PathLike) -> "PreferencePairs":
    """Reads an artifact.

    Raises:
      ValueError: none there, or damaged.
    """
    directory = pathlib.Path(directory)
    if not directory.exists():
      raise ValueError(
        f"{directory} holds no preference pairs: they are made when a run of"
        " rollout.StoredPairs starts, or by rollout.make_pairs."
      )
    manifest = artifact.load_manifest(directory, _KIND)
    arrays = PairArrays(
      *(artifact.load_array(directory / f"{name}.npy") for name in _DTYPES)
    )
    return cls(arrays, manifest["version"], manifest)

  def __len__(self) -> int:
    return len(self.arrays.user)

  def check(self, what: str, wanted: str, directory: str | os.PathLike) -> None:
    """Raises a ValueError where the pairs are of something else.

    Args:
      what: one of OF.
      wanted: its version where the pairs would be used; "" = nobody knows.
      directory: where they lie.
    """
    theirs = self.manifest[what]
    if wanted and theirs != wanted:
      raise ValueError(
        f"the preference pairs in {directory} (version {self.version}) are of"
        f" the {what} {theirs}, and this run is of {wanted}: make them again in"
        " another folder."
      )


def _check_pairs(
  kept: Mapping[str, np.ndarray], facts: Mapping[str, Any]
) -> None:
  rewards_P2 = kept["rewards"]
  if not len(rewards_P2):
    raise ValueError(
      f"none of {facts['asked']:,} requests gives a pair: the samples of"
      f" {facts['constant']:,} are all worth the same, and {facts['alone']:,}"
      " have fewer than two different ones. Draw more samples, or take another"
      " reward."
    )
  if not (rewards_P2[:, 0] > rewards_P2[:, 1]).all():
    raise ValueError("a chosen sample must be worth more than the rejected.")
