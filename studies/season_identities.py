# SPDX-License-Identifier: Apache-2.0
"""Claims about times that arithmetic answers: computed, nothing is trained.

    info_nce     the sampled softmax against InfoNCE in float64
    moved        what models say when a log and its requests are moved in time
    slow_pairs   angles of a slow pair half a year and a year apart
    grid         the ratio of 64 frequencies from 1 to 1e-7

studies/seasons.py says what the claims are.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from configs import commerce_synthetic
from genrec_jax.core.build import build, to_plain
from genrec_jax.core.types import Items, Outputs
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.layouts.next_item import NextItem
from genrec_jax.data.local_time import LocalTime
from genrec_jax.objectives.negatives import Positions, UniformShared
from genrec_jax.objectives.own_events import OwnEvents
from genrec_jax.objectives.softmax import SampledSoftmax
from studies.verdicts import Result

_DAY = 86_400
_YEAR = 31_556_952
_TEMPERATURE, _NEGATIVES, _ITEMS, _WIDTH = 0.05, 64, 200, 16


def info_nce(*, correct_log_q: bool = False) -> float:
  """Relative difference of the library's loss to InfoNCE by hand.

  Args:
    correct_log_q: take the chances of draws off their scores.
  """
  rng = np.random.default_rng(0)
  table = _unit(rng.normal(size=(_ITEMS + 1, _WIDTH)))
  query = _unit(rng.normal(size=(4, 8, _WIDTH)))
  labels = rng.integers(1, _ITEMS + 1, (4, 8))
  items = Items(_ITEMS, lambda ids: table if ids is None else table[ids])
  batch = {"label_BL": jnp.asarray(labels, jnp.int32)}
  negatives = UniformShared(_NEGATIVES)
  objective = SampledSoftmax(
    negatives, _TEMPERATURE, correct_log_q=correct_log_q
  )
  key = jax.random.key(0)
  loss, _ = objective(Outputs(query=query), batch, rng=key, items=items)
  flat = batch["label_BL"].reshape(-1)
  own = OwnEvents.of(batch, "label_BL", past=False)
  query_TD = query.reshape(-1, _WIDTH)
  positions = Positions(query_TD, flat, flat > 0, items, own, batch)
  (drawn,) = negatives.draw(key, positions)
  score_TV = np.asarray(query_TD, np.float64) @ np.asarray(table, np.float64).T
  losses = []
  for score_V, label in zip(
    score_TV / _TEMPERATURE, flat.tolist(), strict=True
  ):
    others = [i for i in np.asarray(drawn.ids).tolist() if i != label]
    e_N = np.exp(score_V[[label, *others]] - score_V[label])
    losses.append(np.log(e_N.sum()))
  return abs(float(loss) / float(np.mean(losses)) - 1)


def moved(form: str, days: int) -> float:
  """By how much queries change where all times are days later.

  Args:
    form: variants of configs/commerce_synthetic.py.
    days: between the two.
  """
  c = commerce_synthetic.get_config(form)
  system = build(to_plain(c.system), where="config.system", num_items=50)
  layout = NextItem(16, calendar=True, local_time=LocalTime(1_672_531_200))
  rng = np.random.default_rng(0)
  record = {
    "user": np.array(0, np.int32),
    "item": rng.integers(1, 51, 16).astype(np.int32),
    "time": np.sort(rng.integers(0, 400 * _DAY, 16)).astype(np.int32),
  }
  one = np.zeros(1, np.int32)
  asked = Requests(one, one, [record], one + 410 * _DAY, one)
  then = dataclasses.replace(
    asked,
    history=[record | {"time": record["time"] + days * _DAY}],
    query_time=asked.query_time + days * _DAY,
  )
  batches = [
    jax.tree.map(jnp.asarray, layout.request_batch(x)) for x in (asked, then)
  ]
  init = jax.jit(lambda key: system.init(key, batches[0], deterministic=True))
  # Large enough to matter.
  params = jax.tree.map(lambda x: 3 * x, init(jax.random.key(0)))
  query = jax.jit(lambda x: system.apply(params, x, method="query"))
  a, b = (np.asarray(query(x)) for x in batches)
  return float(np.abs(a - b).max())


def slow_pairs(frequency: float) -> dict[str, float]:
  """Degrees that a pair of this frequency (rad/s) turns, and the cosines."""
  found = {}
  for name, days in (("half a year", 180), ("a year", 365)):
    angle = frequency * days * _DAY
    found[f"degrees, {name}"] = round(float(np.degrees(angle)) % 360, 1)
    found[f"cosine, {name}"] = round(float(np.cos(angle)), 3)
  return found


def grid(pairs: int = 64, fastest: float = 1.0, slowest: float = 1e-7) -> float:
  """The ratio of neighbouring frequencies in equal ratios."""
  return (fastest / slowest) ** (1 / (pairs - 1))


def claims() -> dict[str, Result]:
  """5, 6, 10 and 11, and what 8 says of a shift."""
  equal, corrected = info_nce(), info_nce(correct_log_q=True)
  shifts = {
    form: moved(form, 182) for form in ("bias", "rotary-year", "calendar")
  }
  listed, own = slow_pairs(1e-7), slow_pairs(2 * np.pi / _YEAR)
  ratio = grid()
  return {
    "5": _exact(equal < 1e-6, relative_difference=equal, with_log_q=corrected),
    "6": _exact(
      shifts["rotary-year"] < 1e-5 < shifts["calendar"],
      query_moves_by_after_182_days=shifts,
    ),
    "10": _exact(
      listed["cosine, half a year"] < -0.9 and listed["cosine, a year"] > 0.9,
      slowest_listed=listed,
      of_a_year=own,
    ),
    "11": _exact(abs(ratio - 10) < 0.5, ratio=round(ratio, 4)),
  }


def _exact(holds: bool, **figures: Any) -> Result:
  said = "holds" if holds else "fails"
  return {"verdict": said, "rests_on": "arithmetic", **figures}


def _unit(x):
  x = x / np.linalg.norm(x, axis=-1, keepdims=True)
  return jnp.asarray(x, jnp.float32)
