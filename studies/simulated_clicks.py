# SPDX-License-Identifier: Apache-2.0
"""Clicks whose cause is known, and rankers trained on them.

    Counted    P(click) = sigmoid(1.5 (events in the item's category) - b)
    Rare       the same, of items so many that each is seldom met
    Drifting   P(click) = sigmoid(what the item is liked today); a walk by day
    Crossed    P(click) = sigmoid(1.5 sum of products of signs of two features)

A world's `draw` gives a batch of data/layouts/pointwise.py's arrays with the
features that are asked for, and `fit` trains models/feature_ranker.py on fresh
ones by the train step and returns the AUC on 10,000 more.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genrec_jax.metrics.auc import area
from genrec_jax.models.feature_ranker import FeatureRanker
from genrec_jax.objectives.pointwise import BinaryCrossEntropy
from genrec_jax.train.optimizers import adamw
from genrec_jax.train.state import init_params, init_state
from genrec_jax.train.step import make_train_step

_ROW = 32
_TRAINED, _TESTED = 256, 10_000
_WIDTH = 8

Draw = Callable[[np.random.Generator, int], "Clicks"]


@dataclasses.dataclass(frozen=True)
class Clicks:
  """Impressions with the features that a model may be given.

  Attributes:
    features: (N,) by name, from 0.
    history: (N, H) by name, of the events before; -1 = no event.
    click: (N,) bool.
  """

  features: Mapping[str, np.ndarray]
  history: Mapping[str, np.ndarray]
  click: np.ndarray

  def batch(
    self, features: Sequence[str], history: Sequence[str]
  ) -> dict[str, np.ndarray]:
    """Arrays of rows of 32 impressions; history names are features too."""
    count = len(self.click) // _ROW

    def rows(x):
      kept = np.asarray(x)[: count * _ROW].astype(np.int32)
      return kept.reshape(count, _ROW, *kept.shape[1:])

    events = np.stack([self.history[name] for name in history], axis=-1)
    there = events[..., 0] >= 0
    ones = np.ones(len(self.click))
    return {
      "features_BLF": rows(
        np.stack([self.features[name] for name in features], axis=-1)
      ),
      "history_features_BLHG": rows(np.maximum(events, 0)),
      "history_item_BLH": rows(there),
      "history_action_BLH": rows(there),
      "label_BL": rows(self.click),
      "labelled_BL": rows(ones),
      "segment_ids_BL": rows(ones),
    }


@dataclasses.dataclass(frozen=True)
class Counted:
  """Events of the same category make a click.

  Attributes:
    categories: of items, drawn evenly.
    events: of a history at most; its length is even from 1.
    shown: of them the last that a model sees; counts are of all.
    items: of a category; an item is as good as its category.
  """

  categories: int = 10
  events: int = 40
  shown: int = 40
  items: int = 1

  @property
  def rows(self) -> dict[str, int]:
    """Values of each feature."""
    return {
      "category": self.categories,
      "item": self.categories * self.items,
      "length": self.events + 1,
      "count": self.events + 1,
    }

  def __call__(self, rng: np.random.Generator, count: int) -> Clicks:
    """Draws impressions."""
    category = rng.integers(0, self.categories, count)
    length = rng.integers(1, self.events + 1, count)
    # Users have tastes: shares of categories differ.
    taste = rng.dirichlet(np.full(self.categories, 0.5), count)
    place = rng.random((count, self.events))
    past = (place[..., None] > np.cumsum(taste, axis=1)[:, None]).sum(-1)
    past = np.minimum(past, self.categories - 1)
    there = np.arange(self.events)[None, :] < length[:, None]
    same = ((past == category[:, None]) & there).sum(axis=1)
    click = rng.random(count) < 1 / (1 + np.exp(4.5 - 1.5 * same))
    # Of an item nothing is known but its category.
    own = category * self.items + rng.integers(0, self.items, count)
    past_item = past * self.items + rng.integers(0, self.items, past.shape)

    def seen(x):
      return np.where(there, x, -1)[:, : self.shown]

    return Clicks(
      {"category": category, "item": own, "length": length, "count": same},
      {"category": seen(past), "item": seen(past_item)},
      click,
    )


@dataclasses.dataclass(frozen=True)
class Drifting:
  """What an item is liked walks from day to day; so does its click rate.

  Attributes:
    items: their number.
    days: of the log.
    step: standard deviation of a day's change of the logit.
    views: impressions of an item on a day, of which rates are known.
    seed: of the walk.
  """

  items: int = 300
  days: int = 60
  step: float = 0.5
  views: int = 40
  seed: int = 0

  @property
  def rows(self) -> dict[str, int]:
    """Values of each feature."""
    return {"item": self.items, "static": 50, "window": 50, "category": 10}

  def __call__(self, rng: np.random.Generator, count: int) -> Clicks:
    """Draws impressions, each with rates of before its day."""
    liked, clicks = self._log()
    item = rng.integers(0, self.items, count)
    day = rng.integers(self.days // 2, self.days, count)
    total = np.cumsum(clicks, axis=0)
    # All of the past, as a table made by hand has it, or three days.
    static = total[self.days // 2 - 1] / (self.views * self.days // 2)
    window = (total[day - 1, item] - total[day - 4, item]) / (3 * self.views)
    rate = 1 / (1 + np.exp(-liked[day, item]))
    category = rng.integers(0, 10, (count, 5))
    return Clicks(
      {
        "item": item,
        "static": np.minimum(50 * static[item], 49).astype(int),
        "window": np.minimum(50 * window, 49).astype(int),
        "category": category[:, 0],
      },
      {"category": category},
      rng.random(count) < rate,
    )

  def _log(self) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([self.seed, 7])
    steps = self.step * rng.normal(size=(self.days, self.items))
    steps[0] = rng.normal(size=self.items) - 1
    liked = np.zeros_like(steps)
    for day in range(self.days):
      # It forgets a little, so that it stays within bounds.
      liked[day] = (0.95 * liked[day - 1] if day else 0) + steps[day]
    clicks = rng.binomial(self.views, 1 / (1 + np.exp(-liked)))
    return liked, clicks


# Of Crossed: which features a product is of.
_PAIRS = (("user", "item"), ("user", "hour"), ("item", "past"))


@dataclasses.dataclass(frozen=True)
class Crossed:
  """No feature alone says anything; two together do.

  A value of a feature has a sign, drawn once, of which half are positive. The
  feature "past" is that of the one event of a history.

  Attributes:
    values: of a feature, an even number.
    seed: of the signs.
  """

  values: int = 50
  seed: int = 0

  @property
  def rows(self) -> dict[str, int]:
    """Values of each feature."""
    return dict.fromkeys(("user", "item", "hour"), self.values)

  def __call__(self, rng: np.random.Generator, count: int) -> Clicks:
    """Draws impressions."""
    names = ("user", "item", "hour", "past")
    drawn = {n: rng.integers(0, self.values, count) for n in names}
    click = rng.random(count) < 1 / (1 + np.exp(-self.logit(drawn)))
    # An event is an item of the same table, with signs of its own.
    past = drawn.pop("past")
    return Clicks(drawn, {"item": past[:, None]}, click)

  def logit(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """The true one, of values of all four features."""
    rng = np.random.default_rng([self.seed, 8])
    half = np.repeat([-1, 1], self.values // 2)
    sign = {n: rng.permutation(half)[x] for n, x in sorted(values.items())}
    return 1.5 * sum(sign[a] * sign[b] for a, b in _PAIRS)


def fit(
  world: Any,
  pooling: nn.Module,
  interactions: nn.Module,
  features: Sequence[str],
  history: Sequence[str],
  *,
  seeds: Sequence[int],
  steps: int = 500,
  fresh: bool = True,
  samples: int = 0,
  learning_rate: float = 5e-3,
  tower_widths: tuple[int, ...] = (32, 16),
) -> list[float]:
  """AUC on new impressions of a ranker per seed.

  Args:
    world: see the module docstring.
    pooling, interactions: of the ranker.
    features: that it reads of an impression.
    history: names that it reads of events; among the features.
    seeds: one training each, of parameters and data.
    steps: of 256 impressions.
    fresh: new ones in every step; else the same `samples`, again and again.
    samples: see fresh.
    learning_rate: of AdamW.
    tower_widths: of the MLP after the interactions; () = a linear head alone.
  """
  system = FeatureRanker(
    num_items=1,
    num_tasks=1,
    num_actions=1,
    feature_rows=tuple(world.rows[name] for name in features),
    history_columns=tuple(features.index(name) for name in history),
    width=_WIDTH,
    pooling=pooling,
    interactions=interactions,
    tower_widths=tower_widths,
    embedding_init_std=0.1,
  )
  optimizer = adamw(learning_rate)
  step = jax.jit(
    make_train_step(
      system, BinaryCrossEntropy(("click",)), optimizer, jax.random.key(0)
    )
  )
  score = jax.jit(
    lambda params, batch: system.apply(
      {"params": params}, batch, method="score"
    )
  )
  return [
    _fit_one(
      (system, optimizer, step, score),
      lambda rng, n: world(rng, n).batch(features, history),
      seed,
      steps,
      0 if fresh else samples,
    )
    for seed in seeds
  ]


def _fit_one(parts, draw, seed: int, steps: int, samples: int) -> float:
  system, optimizer, step, score = parts
  rng = np.random.default_rng(seed)
  kept = draw(rng, samples) if samples else None
  batch = draw(rng, _TRAINED)
  params = init_params(system, batch, jax.random.key(seed))
  state = init_state(params, optimizer)
  rows = _TRAINED // _ROW
  for number in range(steps):
    if kept is None:
      batch = draw(rng, _TRAINED)
    else:
      start = number * rows % (len(kept["label_BL"]) - rows + 1)
      batch = {k: v[start : start + rows] for k, v in kept.items()}
    state, _ = step(state, batch)
  # Apart from whatever was drawn above.
  test = draw(np.random.default_rng([seed, 1]), _TESTED)
  logits = [
    np.asarray(score(state.params, jax.tree.map(jnp.asarray, part)))
    for part in _parts(test, rows)
  ]
  return area(
    np.concatenate(logits).reshape(-1),
    test["label_BL"][: len(logits) * rows].reshape(-1) > 0,
  )


def _parts(batch: dict[str, np.ndarray], rows: int):
  for start in range(0, len(batch["label_BL"]) - rows + 1, rows):
    yield {k: v[start : start + rows] for k, v in batch.items()}
