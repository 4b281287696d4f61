# SPDX-License-Identifier: Apache-2.0
"""Draws samples of a trained run and keeps the best and the worst of each.

    make_pairs(rollout, run, loaded.params, steps=20, directory=DIR, ...)

Self-hard pairs (arXiv 2502.18965): of one request the sample of the highest
reward is chosen, that of the lowest rejected. Requests are those that training
on samples would ask for at these steps. A request whose samples are all worth
the same, or that has fewer than two different ones, is dropped and counted.
"""

from collections.abc import Mapping
import dataclasses
import os
from typing import Any

import jax
import numpy as np

from genrec_jax.core import artifact, rng
from genrec_jax.data.dataset.preference_pairs import PairArrays, PreferencePairs
from genrec_jax.objectives.sampled_preference import best_and_worst
from genrec_jax.rollout.held_samples import HeldSamples, first_of_kind
from genrec_jax.rollout.training_requests import TrainingRequests


def reward_version(rollout: HeldSamples) -> str:
  """What names a reward: its version, or its class where it has none."""
  return rollout.versions.get("reward") or type(rollout.reward).__name__


def make_pairs(
  rollout: HeldSamples,
  run: Any,
  params: Any,
  *,
  steps: int,
  versions: Mapping[str, str],
  directory: str | os.PathLike,
) -> PreferencePairs:
  """Writes the pairs of `steps` batches of requests.

  Args:
    rollout: bound to the data; says how samples are drawn, and their reward.
    run: whose model generates (experiment.Run).
    params: its parameters, on this process's devices.
    steps: batches of rollout.requests.
    versions: of data, tokens and generator.
    directory: of the artifact, not there yet.

  Raises:
    ValueError: rewards out of their range, or no pair at all.
  """
  asked = TrainingRequests(
    run.histories, rollout.requests, run.seed, rollout.moments
  )
  program = run.program()
  kept, counts = [], dict.fromkeys(("asked", "constant", "alone"), 0)

  @jax.jit
  def draw(params, batch, constants, key):
    ask = program.ask_of(params)
    drawn = rollout.samples(ask, batch, constants, key)
    reward_GK = rollout.worth(drawn, batch, constants)
    kind_GK = first_of_kind(drawn.codes_GKT, drawn.where_GK)
    found = {**drawn._asdict(), "reward_GK": reward_GK}
    places = best_and_worst(reward_GK, drawn.where_GK)
    return found, rollout.faults(found), kind_GK, places

  for step in range(steps):
    requests = asked.at(step)
    key = rng.stream(run.key, "pairs", step)
    batch = rollout.laid_out(requests)
    with program.in_force():
      out = draw(params, batch, rollout.constants, key)
    found, faults, kind_GK, (best_G, worst_G, varied_G) = jax.device_get(out)
    for what, count in faults.items():
      if int(count):
        raise ValueError(f"{int(count)} {what}.")
    alone_G = kind_GK.sum(axis=1) < 2
    good_G = varied_G & ~alone_G
    rows = np.arange(len(good_G))
    places_2G = np.stack([best_G, worst_G])
    kept.append(
      PairArrays(
        requests.user[good_G],
        requests.event[good_G],
        found["item_GKN"][rows, places_2G].swapaxes(0, 1)[good_G],
        found["reward_GK"][rows, places_2G].T[good_G],
      )
    )
    counts["asked"] += len(good_G)
    counts["alone"] += int(alone_G.sum())
    counts["constant"] += int((~varied_G & ~alone_G).sum())
  arrays = PairArrays(
    *(
      np.concatenate([vars(part)[field.name] for part in kept])
      for field in dataclasses.fields(PairArrays)
    )
  )
  facts = {
    **versions,
    "reward": reward_version(rollout),
    "drawer": artifact.describe(rollout.drawer),
    "steps": steps,
    **counts,
  }
  return PreferencePairs.make(arrays, facts, directory)
