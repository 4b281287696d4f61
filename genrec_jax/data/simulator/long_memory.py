# SPDX-License-Identifier: Apache-2.0
"""A simulated task that only a long memory solves.

    history   item_1 .. item_L       each liked or skipped, evenly
    asked     N items of it at once, each of which it has exactly once
    label     what was done with that one event, or with probability `noise`
              the opposite

Where in the history the event lies is all that makes the task hard: depth d (0
= the newest) is drawn with weight (1 + d)^-recency, evenly for recency 0.
Nothing else tells a label: items are drawn evenly, users are alike, and both
answers are as likely. Whoever reads the last w of L events, evenly drawn, and
no others, knows a share w / L of the answers and guesses the rest:

    AUC = 1 - (1 - w / L)^2 / 2          noise 0; .593 for 50 of 512

A user asks once, at a time of his own, so that a cut in time makes parts of
different users. Events of histories are marked "unasked".
"""

import dataclasses

from jaxtyping import Float
import numpy as np
import polars as pl

from genrec_jax.core.option_checks import check_counts, check_scales
from genrec_jax.data import schema
from genrec_jax.data.action_text import SEPARATOR, SKIP, UNASKED

LIKE = "like"
_DONE = (SKIP, LIKE)
_START = 1_672_531_200  # 2023-01-01 00:00:00 UTC
_DAY = 86_400


@dataclasses.dataclass(frozen=True)
class LongMemory:
  """See the module docstring.

  Attributes:
    num_users: each asks once.
    num_items: drawn evenly.
    length: L.
    asked: N, of one request.
    recency: exponent of the depths' weights; 0 = evenly.
    noise: share of labels that are the opposite.
    days: within which users ask.
    gap_seconds: between events of a history, and before the request.
  """

  seed: int = 0
  num_users: int = 2_000
  num_items: int = 200
  length: int = 512
  asked: int = 8
  recency: float = 0.0
  noise: float = 0.0
  days: int = 60
  gap_seconds: int = 300

  def __post_init__(self):
    names = ("num_users", "num_items", "length", "asked", "days")
    check_counts(self, "config.data", *names, "gap_seconds")
    check_scales(self, "config.data", "recency", "noise")
    if self.noise > 0.5:
      raise ValueError(
        f"config.data.noise={self.noise} must be at most .5, where nothing is"
        " known."
      )
    most = min(self.length, self.num_items - 1)
    if self.asked > most:
      raise ValueError(
        f"config.data.asked={self.asked} of num_items={self.num_items} and"
        f" length={self.length}: there must be an event for each, and an item"
        f" that is not asked about, so {most} at most."
      )

  def depth_weights(self) -> Float[np.ndarray, "L"]:
    """Of every depth, the newest event first; they sum to 1."""
    weights = (1.0 + np.arange(self.length)) ** -self.recency
    return weights / weights.sum()

  def read(self) -> schema.RawLog:
    """Simulates; the log is in order of time, user by user at one time."""
    rng = np.random.default_rng(self.seed)
    users = range(self.num_users)
    drawn = [self._user(rng) for _ in users]
    item_E = np.concatenate([x for x, _ in drawn])
    done_E = np.concatenate([x for _, x in drawn])
    asked_at_U = _START + rng.integers(self.days * _DAY, size=self.num_users)
    ago = np.maximum(self.length - np.arange(self.length + self.asked), 0)
    time_E = (asked_at_U[:, None] - self.gap_seconds * ago).reshape(-1)
    each = self.length + self.asked
    request = np.minimum(np.arange(each), self.length)
    is_asked = np.tile(np.arange(each) >= self.length, self.num_users)
    ids = _names("i", self.num_items)
    # Of histories, then of what is asked about.
    words = np.array([f"{w}{SEPARATOR}{UNASKED}" for w in _DONE] + [*_DONE])
    events = pl.DataFrame(
      {
        "user": np.repeat(_names("u", self.num_users), each),
        "item": ids[item_E],
        "timestamp": time_E,
        "action": words[done_E + len(_DONE) * is_asked],
        "request": np.tile(request, self.num_users),
      }
    )
    return schema.RawLog(
      events=events.sort("timestamp", maintain_order=True),
      items=pl.DataFrame({"item": ids, "title": ids}),
      actions=words.tolist(),
      timestamp_unit="s",
    )

  def _user(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Items and answers of a history and of what is asked behind it."""
    asked = rng.choice(self.num_items, self.asked, replace=False)
    others = np.setdiff1d(np.arange(self.num_items), asked)
    item = others[rng.integers(len(others), size=self.length)]
    depth = rng.choice(
      self.length, self.asked, replace=False, p=self.depth_weights()
    )
    place = self.length - 1 - depth
    item[place] = asked
    done = rng.integers(2, size=self.length)
    turned = rng.random(self.asked) < self.noise
    return np.append(item, asked), np.append(done, done[place] ^ turned)


def _names(letter: str, count: int) -> np.ndarray:
  width = len(str(count))
  return np.array([f"{letter}{number:0{width}d}" for number in range(count)])
