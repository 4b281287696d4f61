# SPDX-License-Identifier: Apache-2.0
"""HSTU on simulated shoppers with a season: what its ways to read times find.

    python scripts/train.py \
        --config=configs/commerce_synthetic.py:bias-calendar \
        --workdir=runs/season

2,000 users, 480 items, of which 40 belong to each month, 48 events a user over
three years; seven of ten events are of an item of their month, and all else of
the simulator that could tell an item is off, so that nothing but the month
does: no oracle is above HR@10 .19. Expected of `bias-calendar`, one seed: HR@10
.1755 after 400 steps; no other form is measured yet. Under a minute a run on
one free CPU core. studies/seasons.py measures it.

Variants, any of which go together: `bias`, `rotary`, `year`, `calendar` or
`calendar_token` switch ways to read times on (configs/commerce.py), `no_time`
all off; none named means bias and calendar. `gap` has histories of 60 days and
asks 90 to 270 days later. `sessions` has the whole simulator instead of the
season: categories, ranges, and sessions that break. `hidden5`, `hidden20` and
`hidden50` leave so many percent of the events out of the log, false negatives
that the simulator knows. `shuffled` is the control of times. Levers of
negatives and of an ensemble are those of configs/commerce.py; without one the
loss is over all items.
"""

from ml_collections import ConfigDict

from configs import commerce, common, hstu_synthetic

# Percent of the events that the log lacks.
_HIDDEN = {f"hidden{percent}": percent / 100 for percent in (5, 20, 50)}
_EXTRAS = (*commerce.CONTROLS, "gap", "sessions", *_HIDDEN)
_VARIANTS = ("quicktest", *commerce.ALL, *_EXTRAS)
_SEASON = {
  "name": "simulator.Synthetic",
  "num_users": 2_000,
  "num_items": 480,
  "num_categories": 4,
  "mean_events": 48.0,
  "min_events": 12,
  "days": 1_095,
  "session_length": 1.0,
  "initial_items": 1.0,
  "mean_life_days": 1e7,
  # Some order, or every list of the oracle's would be one of ties.
  "popularity_exponent": 0.01,
  "follow": 0.0,
  "taste": 0.0,
  "repeat": 1.0,
  "novelty": 0.0,
  "season": 0.7,
  "stay": (0.95, 1.0),
  "gap_days": (),
  "seed": 0,
}
# Of three years.
_SHORT_STAY = 60 / 1_095
_SESSIONS = {
  "name": "simulator.Synthetic",
  "num_users": 2_000,
  "num_items": 480,
  "mean_events": 48.0,
  "min_events": 12,
  "seed": 0,
}


def get_config(arg: str = "") -> ConfigDict:
  """A time bias and a calendar on a season of .7."""
  variants = common.variants(arg, _VARIANTS)
  commerce.check_levers(variants)
  common.exclusive(variants, ("gap", "sessions"), tuple(_HIDDEN))
  c = hstu_synthetic.get_config()
  c.name = "-".join(["commerce_synthetic", *sorted(variants - {"quicktest"})])
  c.data = _SESSIONS if "sessions" in variants else _SEASON
  if "gap" in variants:
    c.data.update(stay=(_SHORT_STAY, _SHORT_STAY), gap_days=(90.0, 270.0))
  for name in variants & {*_HIDDEN}:
    c.data.hidden = _HIDDEN[name]
  commerce.read_times(c, "HSTU", variants)
  commerce.both_ways(c)
  if variants & commerce.COMPARES:
    temperature = c.objective.temperature
    c.objective = {
      "name": "objectives.SampledSoftmax",
      "temperature": temperature,
    }
  commerce.compare(c, variants)
  c.pipeline.batch_size = 32
  steps = 300
  c.optimizer.warmup_steps = 40
  c.optimizer.schedule.steps = steps
  c.train = common.train_options(steps=steps, eval_every_steps=150, patience=0)
  c.train.eval_users = 1_000
  commerce.beside_others(c, variants)
  if "quicktest" in variants:
    common.quicktest(c)
  return c
