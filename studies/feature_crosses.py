# SPDX-License-Identifier: Apache-2.0
"""Measures whether tokens of features that are mixed do what attention does.

    python studies/feature_crosses.py [--seeds=3] [--out=FILE]

130  mixing without parameters takes the place of attention between tokens:
     -.03 % of AUC for self-attention, -.50 % without either (arXiv 2507.15551)

Clicks of which no feature alone says anything and products of two of them
everything (studies/simulated_clicks.py: Crossed): user, item and hour of an
impression, and the item of an event before it. Four tokens of one feature each
go through two layers; arms differ in what lets tokens meet, and in nothing
else. No tower follows, but a linear head on the mean over tokens: where tokens
never meet, the logit is a sum of functions of one feature each.

"close" asks that mixing is within .01 of attention's AUC on either side, "above
none" that it is .1 above the model whose tokens never meet; both by t intervals
over seeds, of new parameters, new signs and new impressions, corrected together
(Holm). About a minute of a CPU core for each seed.
"""

import json

from absl import app, flags, logging
import numpy as np

from genrec_jax.core import atomic
from genrec_jax.layers.feature_tokens import FeatureGroups, SlicedTokens
from genrec_jax.layers.history_pooling import SumPooling
from genrec_jax.layers.mixing_blocks import HeadMixing, MixBlock, SlotAttention
from genrec_jax.layers.mixing_stack import MixingStack
from genrec_jax.layers.slot_feed_forward import SlotFeedForward
from genrec_jax.metrics.auc import area
from studies.simulated_clicks import Crossed, fit
from studies.verdicts import Result, correct, over_seeds

# Tests import several studies, and each has these.
_SEEDS = flags.DEFINE_integer(
  "seeds", 3, "Trainings of each arm.", allow_override=True
)
_STEPS = flags.DEFINE_integer(
  "steps", 600, "Of a training.", allow_override=True
)
_OUT = flags.DEFINE_string(
  "out", None, "JSON file to write.", allow_override=True
)

FEATURES, HISTORY = ("user", "item", "hour"), ("item",)
_WIDTH, _HIDDEN, _LAYERS, _HEADS = 32, 64, 2, 4
MIXERS = {
  "none": None,
  "mixing": HeadMixing(),
  "attention": SlotAttention(num_heads=_HEADS),
}
_CLOSE, _FAR = 0.01, 0.1


def stack(arm: str) -> MixingStack:
  """Tokens of one feature each, through two layers.

  Args:
    arm: a name in MIXERS.
  """
  names = (*FEATURES, *(f"history.{name}" for name in HISTORY))
  groups = FeatureGroups(names, tuple((name, (name,)) for name in names))
  return MixingStack(
    tokens=SlicedTokens(groups, len(names), _WIDTH),
    block=MixBlock(ffn=SlotFeedForward(_HIDDEN), mixer=MIXERS[arm]),
    num_layers=_LAYERS,
  )


def best(seed: int, count: int = 10_000) -> float:
  """AUC of the true chances."""
  world, rng = Crossed(seed=seed), np.random.default_rng([seed, 1])
  drawn = world(rng, count)
  past = drawn.history["item"][:, 0]
  return area(world.logit({**drawn.features, "past": past}), drawn.click)


def measure(seeds: int, steps: int) -> dict[str, list[float]]:
  """AUC on new impressions, by arm and seed."""

  def auc(arm, seed):
    (found,) = fit(
      Crossed(seed=seed),
      SumPooling(),
      stack(arm),
      FEATURES,
      HISTORY,
      seeds=(seed,),
      steps=steps,
      tower_widths=(),
    )
    return found

  return {arm: [auc(arm, s) for s in range(seeds)] for arm in MIXERS}


def claims(aucs: dict[str, list[float]]) -> dict[str, Result]:
  """What seeds say, of AUCs by arm and seed."""
  none, mixing, attention = (np.array(aucs[arm]) for arm in MIXERS)
  apart = mixing - attention
  figures = {arm: round(float(np.mean(v)), 4) for arm, v in aucs.items()}
  found = {
    "130 close to attention": over_seeds(
      "holds",
      [list(_CLOSE - apart), list(_CLOSE + apart)],
      margin=_CLOSE,
      auc=figures,
      mixing_less_attention=round(float(apart.mean()), 4),
    ),
    "130 far above none": over_seeds(
      "holds", [list(mixing - none - _FAR)], margin=_FAR, auc=figures
    ),
  }
  correct(found)
  return found


def main(argv: list[str]) -> None:
  """Entry point."""
  if len(argv) > 1:
    raise app.UsageError(f"unknown arguments: {argv[1:]}")
  logging.set_verbosity(logging.WARNING)
  aucs = measure(_SEEDS.value, _STEPS.value)
  found = claims(aucs)
  true = [best(seed) for seed in range(_SEEDS.value)]
  print(f"AUC of the true chances: {np.mean(true):.4f}")
  for name, row in found.items():
    print(f"{name}: {json.dumps(row)}")
  if _OUT.value:
    document = {"claims": found, "auc": {**aucs, "true": true}}
    atomic.write_text(_OUT.value, json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
  app.run(main)
