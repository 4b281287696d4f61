# SPDX-License-Identifier: Apache-2.0
"""What the arms of the growing-catalogue study read of a stream.

    icr       the item, and the items that the user clicked before
    ucr       the user, and the users who clicked the item before
    both      both
    content   the item's contents, of bounded vocabulary, and those of the items
              that the user clicked before
    counts    (behind -) how often item and user were shown before, and clicked

Lists are joined at the time of each row (data/dataset/event_index.py). Contents
are read in buckets of equal mass of a standard normal, an entry a feature.
"""

from collections.abc import Mapping
import dataclasses
import functools

from jaxtyping import Int
import numpy as np
from scipy import stats

from genrec_jax.data.dataset.event_index import EventIndex
from genrec_jax.data.simulator.growing_catalog import Stream
from genrec_jax.layers.history_pooling import SumPooling
from genrec_jax.layers.interactions import DotInteraction
from genrec_jax.models.feature_ranker import FeatureRanker

_BUCKETS = 8
_MOST_COUNT_BITS = 12
_SIDES = ("item", "user")
_COUNTS = tuple(f"{s}_{what}" for s in _SIDES for what in ("shown", "clicks"))
# Arm: whether it reads ids of items, ids of users, contents.
_READS = {
  "icr": (True, False, False),
  "ucr": (False, True, False),
  "both": (True, True, False),
  "content": (False, False, True),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Inputs:
  """Rows of a stream as batches of one arm.

  Attributes:
    stream: the log.
    arm: see the module docstring.
    length: events of a list.
  """

  stream: Stream
  arm: str
  length: int

  @property
  def tokens(self) -> tuple[str, ...]:
    """What is asked about: names of features, in their order."""
    items, users, contents = _READS[self.arm.partition("-")[0]]
    names = ("item",) * items + ("user",) * users
    return names + self._contents * contents

  @property
  def features(self) -> tuple[str, ...]:
    """All of them."""
    return self.tokens + _COUNTS * self.arm.endswith("-counts")

  @property
  def history(self) -> tuple[str, ...]:
    """Features of the items of a user's list."""
    return tuple(name for name in self.tokens if name != "user")

  @property
  def audience(self) -> tuple[str, ...]:
    """Features of the users of an item's list."""
    return tuple(name for name in self.tokens if name == "user")

  @property
  def _contents(self) -> tuple[str, ...]:
    width = self.stream.content_VW.shape[1]
    return tuple(f"content_{w}" for w in range(width))

  def system(self, width: int) -> FeatureRanker:
    """The model of the arm; all are alike but for what they read."""
    sizes = {"item": self.stream.num_items, "user": self.stream.num_users}
    sizes |= dict.fromkeys(self._contents, _BUCKETS)
    sizes |= dict.fromkeys(_COUNTS, _MOST_COUNT_BITS + 1)
    return FeatureRanker(
      num_items=self.stream.num_items,
      num_tasks=1,
      num_actions=1,
      feature_rows=tuple(sizes[name] for name in self.features),
      history_columns=tuple(map(self.features.index, self.history)),
      width=width,
      pooling=SumPooling(),
      interactions=DotInteraction(),
      tower_widths=(32,),
      embedding_init_std=0.1,
      audience_columns=tuple(map(self.features.index, self.audience)),
      audience_pooling=SumPooling() if self.audience else None,
    )

  def batch(self, rows: slice) -> dict[str, np.ndarray]:
    """One row of consecutive impressions, with all that was known of each."""
    stream = self.stream
    who = {"item": stream.item_E[rows], "user": stream.user_E[rows]}
    time_n = stream.time_E[rows]
    values = dict(who)
    values |= self._of_items(who["item"])
    for name in set(_COUNTS) & set(self.features):
      side, _, what = name.partition("_")
      index = self._indices[side, what]
      count_n = index.counts(who[side], time_n)
      bits_n = np.ceil(np.log2(count_n + 1)).astype(np.int32)
      values[name] = np.minimum(bits_n, _MOST_COUNT_BITS)
    found = {"features_BLF": np.stack([values[n] for n in self.features], -1)}
    for of, names, side in (
      ("history", self.history, "user"),
      ("audience", self.audience, "item"),
    ):
      if names:
        found |= self._list(of, names, side, who[side], time_n)
    ones = np.ones(len(time_n), np.int32)
    found |= {
      "label_BL": stream.click_E[rows],
      "labelled_BL": ones,
      "segment_ids_BL": ones,
    }
    return {k: v[None].astype(np.int32) for k, v in found.items()}

  def _list(
    self,
    of: str,
    names: tuple[str, ...],
    side: str,
    who_n: Int[np.ndarray, "n"],
    time_n: Int[np.ndarray, "n"],
  ) -> dict[str, np.ndarray]:
    """A list of every row: those of the other side, by the names of a batch."""
    index = self._indices[side, "clicks"]
    place_nH = index.last(who_n, time_n, self.length)
    other = "item" if side == "user" else "user"
    other_nH = index.columns[other][place_nH]
    values = {other: other_nH} | self._of_items(other_nH)
    there = (place_nH >= 0).astype(np.int32)
    return {
      f"{of}_{other}_BLH": there,
      f"{of}_action_BLH": there,
      f"{of}_features_BLHG": np.stack([values[n] for n in names], axis=-1),
    }

  def _of_items(self, item: np.ndarray) -> Mapping[str, np.ndarray]:
    """Contents of items by name, where the arm reads them."""
    if not set(self._contents) & set(self.tokens):
      return {}
    return dict(
      zip(self._contents, np.moveaxis(self._buckets[item], -1, 0), strict=True)
    )

  @functools.cached_property
  def _buckets(self) -> Int[np.ndarray, "V W"]:
    content_VW = self.stream.content_VW
    spread = content_VW / content_VW.std(axis=0)
    mass_VW = stats.norm.cdf(spread)
    return np.minimum((_BUCKETS * mass_VW).astype(np.int32), _BUCKETS - 1)

  @functools.cached_property
  def _indices(self) -> dict[tuple[str, str], EventIndex]:
    """By side and what counts: the events of items or of users."""
    stream = self.stream
    columns = {"item": stream.item_E, "user": stream.user_E}
    found = {}
    for side in _SIDES:
      for what, keep in (
        ("shown", np.ones(len(stream), bool)),
        ("clicks", stream.click_E > 0),
      ):
        mine = {name: column[keep] for name, column in columns.items()}
        found[side, what] = EventIndex.of(
          mine[side], stream.time_E[keep], **mine
        )
    return found
