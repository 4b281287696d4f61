# SPDX-License-Identifier: Apache-2.0
"""The trainings of the growing-catalogue study, each of them run.

    world     births       items are born and die, users stay
              fixed        nobody is born: items are as bounded as users
              user_births  users come and go as well
              drift        births, and tastes that change from day to day
    arm       what a model reads (studies/growing_inputs.py)
    width     of a token's vector, D

A stream is read once, in order of time. Of each period all rows are scored
first and learnt from then, so every figure is of rows that no training has
seen; a period has as many rows as a day has on average. Its excess error is

    mean over rows of KL(p || q)     p the true chance of a click, q the model's

the expected log loss above the best possible one, without the noise of clicks.
What an arm measured is one JSON file in WORKDIR/arms, and it is not run again.
"""

from collections.abc import Sequence
import dataclasses
import functools
import json
import pathlib
import sys
import time
from typing import Any

import jax
from jaxtyping import Float, Int
import numpy as np
from tqdm import tqdm

from genrec_jax.core import atomic
from genrec_jax.data.dataset.event_index import EventIndex
from genrec_jax.data.simulator.growing_catalog import GrowingCatalog, Stream
from genrec_jax.objectives.pointwise import BinaryCrossEntropy
from genrec_jax.train.optimizers import adamw
from genrec_jax.train.rowwise import DenseAndRowwise, RowwiseAdamW
from genrec_jax.train.state import init_params, init_state
from genrec_jax.train.step import make_train_step
from genrec_jax.train.tables import Tables
from studies.growing_inputs import Inputs

WORLDS = {
  "births": {},
  "fixed": {"items_stay": True},
  "user_births": {"user_life_days": 10.0},
  "drift": {"drift": 0.2},
}
WIDTH, WIDTHS = 16, (4, 16, 64)
_QUICK = {"num_users": 30, "births_per_day": 8, "visits": 5, "days": 6}
# Rows of a step, events of a list; and those of a quick run.
_STEP, _LENGTH = 50, 32
_QUICK_STEP, _QUICK_LENGTH = 20, 4
_RATES = {"dense": 3e-3, "rows": 1e-2}
# A rate is shrunk to that of all rows as if so many more had been shown.
_SHRINKAGE = 5.0
Measured = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Arm:
  """One training."""

  world: str
  arm: str
  width: int
  seed: int

  @property
  def name(self) -> str:
    """Names what was measured."""
    return f"{self.world}-{self.arm}-{self.width}-{self.seed}"


def arms(seeds: int) -> list[Arm]:
  """All of the study, seed by seed: 1, 2, ...

  Seed 0 is left out: by its figures the world and the rates were chosen.

  Raises:
    ValueError: no seed.
  """
  if seeds < 1:
    raise ValueError(f"--seeds={seeds}: a study needs one or more.")
  wanted = [
    *(("births", arm, width) for width in WIDTHS for arm in ("icr", "ucr")),
    *(("births", arm, WIDTH) for arm in ("both", "content")),
    *(("births", f"{arm}-counts", WIDTH) for arm in ("icr", "ucr")),
    *(
      (world, arm, WIDTH)
      for world in ("fixed", "user_births", "drift")
      for arm in ("icr", "ucr")
    ),
    ("drift", "content", WIDTH),
  ]
  return [Arm(*one, seed) for seed in range(1, seeds + 1) for one in wanted]


def config_of(arm: Arm, *, quick: bool) -> dict[str, Any]:
  """All that an arm depends on, as JSON has it."""
  options = {"seed": arm.seed, **WORLDS[arm.world], **(_QUICK if quick else {})}
  found = {
    **dataclasses.asdict(arm),
    "catalog": dataclasses.asdict(GrowingCatalog(**options)),
    "step": _QUICK_STEP if quick else _STEP,
    "length": _QUICK_LENGTH if quick else _LENGTH,
    "rates": _RATES,
  }
  return json.loads(json.dumps(found))


def measured(
  arm: Arm, workdir: pathlib.Path, *, quick: bool
) -> Measured | None:
  """What a finished arm says; None of one that is not.

  Raises:
    ValueError: it was run with another config.
  """
  path = _path(arm, workdir)
  if not path.is_file():
    return None
  found = json.loads(path.read_text())
  if found["config"] != config_of(arm, quick=quick):
    raise ValueError(
      f"{path} is of another config (--quick, or another version): give another"
      " --workdir, or delete it."
    )
  return found


def measure(
  wanted: Sequence[Arm], workdir: pathlib.Path, *, quick: bool
) -> dict[Arm, Measured]:
  """Runs the arms that are not finished, with a bar.

  Raises:
    ValueError: an arm of another config.
  """
  found = {}
  with tqdm(total=len(wanted), unit="arm", file=sys.stderr) as bar:
    for arm in wanted:
      bar.set_description(arm.name)
      one = measured(arm, workdir, quick=quick)
      found[arm] = run(arm, workdir, quick=quick) if one is None else one
      bar.update()
  return found


def run(arm: Arm, workdir: pathlib.Path, *, quick: bool) -> Measured:
  """Trains an arm through its stream and keeps what it says."""
  begun = time.perf_counter()
  config = config_of(arm, quick=quick)
  catalog = GrowingCatalog(**config["catalog"])
  stream = catalog.draw()
  rows = catalog.births_per_day * catalog.visits
  logits_PR = _prequential(
    Inputs(stream, arm.arm, config["length"]), config, rows
  )
  kept = logits_PR.size
  chance_PR = stream.chance_E[:kept].reshape(logits_PR.shape)
  excess_PR = divergence(chance_PR, logits_PR)
  new_PR = first_met(stream.item_E[:kept], rows).reshape(logits_PR.shape)
  found = {
    "config": config,
    "excess": _means(excess_PR, np.ones_like(new_PR)),
    "excess_new_items": _means(excess_PR, new_PR),
    "excess_old_items": _means(excess_PR, ~new_PR),
    "best_log_loss": _means(entropy(chance_PR), np.ones_like(new_PR)),
    "excess_of_rates": _means(
      divergence(chance_PR, _rates(stream)[:kept].reshape(chance_PR.shape)),
      np.ones_like(new_PR),
    ),
    "items_met": _met(stream.item_E[:kept], rows),
    "users_met": _met(stream.user_E[:kept], rows),
    "seconds": round(time.perf_counter() - begun, 1),
  }
  path = _path(arm, workdir)
  path.parent.mkdir(parents=True, exist_ok=True)
  atomic.write_text(path, json.dumps(found, indent=1) + "\n")
  return found


def divergence(
  chance: Float[np.ndarray, "..."], logit: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "..."]:
  """KL(p || sigmoid(z)) of a click, in nats."""
  # -log of sigmoid(z) and of 1 - sigmoid(z).
  click, none = np.logaddexp(0, -logit), np.logaddexp(0, logit)
  return chance * click + (1 - chance) * none - entropy(chance)


def entropy(chance: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
  """Of a click, in nats; chances strictly between 0 and 1."""
  return -chance * np.log(chance) - (1 - chance) * np.log1p(-chance)


def first_met(token_E: Int[np.ndarray, "E"], rows: int) -> np.ndarray:
  """Whether a row's token was in no row of an earlier period."""
  _, first, place_E = np.unique(token_E, return_index=True, return_inverse=True)
  period_E = np.arange(len(token_E)) // rows
  return period_E[first][place_E] == period_E


def _path(arm: Arm, workdir: pathlib.Path) -> pathlib.Path:
  return workdir / "arms" / f"{arm.name}.json"


def _means(values_PR: np.ndarray, where_PR: np.ndarray) -> list[float | None]:
  """Of every period; None where there is nothing."""
  return [
    float(values_R[where_R].mean()) if where_R.any() else None
    for values_R, where_R in zip(values_PR, where_PR > 0, strict=True)
  ]


def _met(token_E: Int[np.ndarray, "E"], rows: int) -> list[int]:
  """Different tokens met by the end of each period."""
  _, first = np.unique(token_E, return_index=True)
  periods = np.arange(1, len(token_E) // rows + 1)
  return np.searchsorted(np.sort(first), periods * rows).tolist()


def _rates(stream: Stream) -> Float[np.ndarray, "E"]:
  """Logits of the items' shrunk click rates before each row."""
  click_E, item_E, time_E = stream.click_E, stream.item_E, stream.time_E
  before_E = np.arange(len(stream))
  overall_E = (np.cumsum(click_E) - click_E + 1) / (before_E + 2)
  index = EventIndex.of(item_E, time_E)
  clicks = EventIndex.of(item_E[click_E > 0], time_E[click_E > 0])
  shown_E, clicks_E = (x.counts(item_E, time_E) for x in (index, clicks))
  rate_E = (clicks_E + _SHRINKAGE * overall_E) / (shown_E + _SHRINKAGE)
  return np.log(rate_E) - np.log1p(-rate_E)


def _prequential(
  inputs: Inputs, config: dict[str, Any], rows: int
) -> Float[np.ndarray, "P R"]:
  """Logits of the rows of each period, before anything was learnt from them."""
  if rows % config["step"]:
    raise ValueError(
      f"a period has {rows} rows, which are no whole steps of {config['step']}."
    )
  system = inputs.system(config["width"])
  key = jax.random.key(config["seed"])
  optimizer = DenseAndRowwise(
    adamw(config["rates"]["dense"]),
    RowwiseAdamW(learning_rate=config["rates"]["rows"]),
  )
  step = make_train_step(system, BinaryCrossEntropy(("click",)), optimizer, key)
  score = functools.partial(system.apply, method="score")

  @jax.jit
  def period(state, whole):
    logits = score({"params": state.params}, whole)[0, :, 0]
    steps = jax.tree.map(
      lambda x: x.reshape(-1, 1, config["step"], *x.shape[2:]), whole
    )
    state, _ = jax.lax.scan(lambda s, b: (step(s, b)[0], None), state, steps)
    return state, logits

  batches = (
    inputs.batch(slice(start, start + rows))
    for start in range(0, len(inputs.stream) - rows + 1, rows)
  )
  state, logits = None, []
  for batch in batches:
    if state is None:
      params = init_params(system, batch, key)
      state = init_state(params, optimizer, Tables(system.logical_axes))
    state, found = period(state, batch)
    logits.append(np.asarray(found, np.float64))
  return np.stack(logits)
