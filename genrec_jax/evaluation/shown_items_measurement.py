# SPDX-License-Identifier: Apache-2.0
"""Everything that is measured of one trained ranker, on the same impressions.

    model        its logits for every labelled impression of both parts
    model_frozen the same behind histories that end where the part begins
    base_rate    one probability for all: that of the training part
    item_rate    the item's own, (n+ + k q) / (n + k)
    user_rate    the user's, likewise

n and n+ count the training part's labelled impressions of the item (the user)
and those that the task was done on, q is the base rate. k, the impressions that
q stands for, is the one of _STRENGTHS with the lowest log loss on validation,
for every task by itself: nothing is chosen on test.

A model that reads the part's own earlier events is at a disadvantage within
users (GAUC): whoever likes one item is expected to like more, so that the items
before it, which could not know of it, are placed below those after it. Of
frozen histories there is no such order. Parts that ask nobody twice have none.
"""

from collections.abc import Mapping
import dataclasses
import time
from typing import Any

import jax
from jaxtyping import Float, Int
import numpy as np
from tqdm import tqdm

from genrec_jax.core.sharding import MeshOptions
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.histories import Histories
from genrec_jax.data.dataset.impressions import iter_impressions
from genrec_jax.data.splits import PARTS
from genrec_jax.evaluation.scored import Scored, score_all, scorer
from genrec_jax.experiment.experiment import Run
from genrec_jax.hlo import text as hlo
from genrec_jax.hlo.cost import program_cost
from genrec_jax.metrics.pointwise import log_losses

MODEL, FROZEN = "model", "model_frozen"
_STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
# A task nobody did (or everybody) in training is at least one event away from
# certain.
_LEAST = 1.0


@dataclasses.dataclass(frozen=True)
class Counts:
  """Labelled impressions of the training part by item and by user.

  Attributes:
    item_V1T, user_UT: those that a task was done on.
    item_V1, user_U: all.
  """

  item_V1T: Int[np.ndarray, "V1 T"]
  user_UT: Int[np.ndarray, "U T"]
  item_V1: Int[np.ndarray, "V1"]
  user_U: Int[np.ndarray, "U"]

  @classmethod
  def of(cls, histories: Histories, feedback: Feedback) -> "Counts":
    """Reads all histories once."""
    bound = feedback.bind(histories.manifest.actions)
    items, users, masks = [], [], []
    for user in tqdm(
      range(len(histories)), desc="count", unit=" users", delay=2, leave=False
    ):
      record = histories[user]
      asked = bound.asked(record)
      asked[histories.split.train_end(record) :] = False
      items.append(record["item"][asked])
      masks.append(bound.bits(record)[asked])
      users.append(np.full(len(items[-1]), user))
    item, user, mask = map(np.concatenate, (items, users, masks))
    bits = mask[:, None] >> np.arange(feedback.num_tasks)[None, :] & 1

    def both(place, rows):
      per_task = [
        np.bincount(place, weights=bits[:, t], minlength=rows)
        for t in range(feedback.num_tasks)
      ]
      every = np.bincount(place, minlength=rows).astype(np.int64)
      return np.stack(per_task, axis=1).astype(np.int64), every

    item_V1T, item_V1 = both(item, histories.manifest.num_items + 1)
    user_UT, user_U = both(user, len(histories))
    return cls(item_V1T, user_UT, item_V1, user_U)

  @property
  def base_rate_T(self) -> Float[np.ndarray, "T"]:
    """Shares of all impressions, a little away from 0 and 1."""
    total = self.user_U.sum()
    return (self.user_UT.sum(axis=0) + _LEAST) / (total + 2 * _LEAST)


@dataclasses.dataclass(frozen=True)
class ImpressionMeasurement:
  """Scores of all rankers, by part and by name.

  Attributes:
    tasks: what is predicted.
    scored: {"validation" | "test": {NAME: Scored}}, where NAME is "model",
      "model_frozen" or a baseline.
    seconds: wall time of the model's scores, compilation included.
    flops_per_request: matrix products for a request of one item, and of two.
    notes: sentences that must stand next to the numbers.
  """

  tasks: tuple[str, ...]
  scored: Mapping[str, Mapping[str, Scored]]
  seconds: Mapping[str, float]
  flops_per_request: tuple[float, float]
  notes: tuple[str, ...]

  @property
  def parts(self) -> tuple[str, ...]:
    return tuple(self.scored)

  @property
  def baselines(self) -> tuple[str, ...]:
    """The rankers that are not the model."""
    return tuple(n for n in self.scored["test"] if n not in (MODEL, FROZEN))

  def flops_per_impression(self, part: str) -> float:
    """Products for a request of the part's mean size, over that size.

    A history costs the same however many items are asked about, and each of
    these the same; places of a row that hold no item are not counted.
    """
    scored = self.scored[part][MODEL]
    size = len(scored.users_R) / scored.num_requests
    one, two = self.flops_per_request
    return (one + (size - 1) * (two - one)) / size


def flops_per_request(run: Run) -> tuple[float, float]:
  """FLOPs of a request of one item, and of two, from the compiled steps."""
  # Of one device: what is compiled for several holds a part of the batch.
  program = run.program(MeshOptions().place(jax.local_devices()[:1]))
  with program.in_force():
    params = program.abstract_state().params
    steps = [
      program.score.lower(params, program.abstract_impressions(n)).compile()
      for n in (1, 2)
    ]
  one, two = (program_cost(hlo.parse(s.as_text())).flops for s in steps)
  return one / run.requests.batch_size, two / run.requests.batch_size


def measure_impressions(
  run: Run, params: Any, *, with_baselines: bool = True
) -> ImpressionMeasurement:
  """Scores both parts with the model, and with_baselines by training rates.

  Args:
    run: whose data, layout and options to use.
    params: on this process's devices.
    with_baselines: also base_rate, item_rate and user_rate.
  """
  feedback = run.pipeline.layout.feedback
  score = scorer(run, params)
  scored: dict[str, dict[str, Scored]] = {}
  seconds = {}
  for part in PARTS:

    def of_part(name, part=part):
      batches = iter_impressions(
        run.histories,
        part,
        feedback,
        run.requests.batch_size,
        run.pipeline.layout.num_candidates,
        frozen=name == FROZEN,
      )
      return score_all(score, batches, f"{part} {name}")

    started = time.perf_counter()
    scored[part] = {MODEL: of_part(MODEL)}
    seconds[part] = time.perf_counter() - started
    found = scored[part][MODEL]
    if found.num_requests > len(np.unique(found.users_R)):
      scored[part][FROZEN] = of_part(FROZEN)
  notes: list[str] = []
  if with_baselines:
    counts = Counts.of(run.histories, feedback)
    notes = _add_baselines(scored, counts, feedback.tasks)
  return ImpressionMeasurement(
    tasks=feedback.tasks,
    scored=scored,
    seconds=seconds,
    flops_per_request=flops_per_request(run),
    notes=tuple(notes),
  )


def _add_baselines(
  scored: dict[str, dict[str, Scored]], counts: Counts, tasks: tuple[str, ...]
) -> list[str]:
  """Adds the baselines to every part; returns what was chosen."""
  base_T = counts.base_rate_T
  for by_name in scored.values():
    model = by_name[MODEL]
    rates = np.tile(base_T[None, :], (len(model.users_R), 1))
    by_name["base_rate"] = _with_rates(model, rates)
  notes = []
  for name, done_NT, all_N in (
    ("item_rate", counts.item_V1T, counts.item_V1),
    ("user_rate", counts.user_UT, counts.user_U),
  ):

    def rates_of(model, strength_T, name=name, done_NT=done_NT, all_N=all_N):
      place = model.items_R if name == "item_rate" else model.users_R
      prior_T = base_T * strength_T
      return (done_NT[place] + prior_T[None, :]) / (
        all_N[place][:, None] + strength_T[None, :]
      )

    strength_T = _strengths(scored["validation"][MODEL], rates_of, len(tasks))
    for by_name in scored.values():
      model = by_name[MODEL]
      by_name[name] = _with_rates(model, rates_of(model, strength_T))
    chosen = ", ".join(
      f"{task} {k:g}" for task, k in zip(tasks, strength_T, strict=True)
    )
    notes.append(f"{name}: impressions of the prior, by validation: {chosen}")
  return notes


def _strengths(validation: Scored, rates_of, num_tasks: int) -> np.ndarray:
  """For every task the strength with the lowest log loss."""
  losses_ST = []
  for strength in _STRENGTHS:
    rates = rates_of(validation, np.full(num_tasks, strength))
    logits = np.log(rates) - np.log1p(-rates)
    positive = np.stack(
      [validation.positive(t) for t in range(num_tasks)], axis=1
    )
    losses_ST.append(log_losses(logits, positive).mean(axis=0))
  return np.array(_STRENGTHS)[np.argmin(np.array(losses_ST), axis=0)]


def _with_rates(model: Scored, rates: np.ndarray) -> Scored:
  logits = (np.log(rates) - np.log1p(-rates)).astype(np.float32)
  return dataclasses.replace(model, logits_RT=logits)
