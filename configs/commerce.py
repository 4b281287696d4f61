# SPDX-License-Identifier: Apache-2.0
"""What configs of a shop share: levers, each a variant.

Ways to read times; a config says which are on where none is named:

    bias            how long ago, by a learned bias of time buckets
    rotary          how long ago, by turns of periods from a minute to two years
    year            likewise modulo a year, a half, a third and a quarter of it
    calendar        hour, weekday, month, day of the year that is asked about
    calendar_token  the same, as a token behind the history and not added to it
    no_time         none of them

What the right item is compared with, of which there is one kind:

    per_position    items drawn evenly at each position
    shared          items drawn evenly for the batch
    in_batch        labels of the batch, less the log of their frequency
    mixed           a half each of the two before
    hard            of CANDIDATES that are drawn evenly, the best for the batch
    aware           those of them that score below .95 of what is right
    k1 .. k4096     how many

What other retrievers of the shop find, item-kNN and popularity as they were at
each event; any of these watches what the model adds to them, and goes with
those before:

    listed          trained as if there were none
    weights         what they find counts half
    misses          a quarter of the negatives, 64 at most, is what they return
    segments        slices in which they find little count more

A control, of configs that name it:

    shuffled        the gaps between a user's events change places, in training
                    and where it is asked (data/layouts/shuffled_gaps.py); of a
                    time bias where nothing else is named

A title says what is on.
"""

from collections.abc import Sequence, Set

from ml_collections import ConfigDict

from configs import common

LEVERS = {
  "no_time": "no time",
  "bias": "time bias",
  "rotary": "rotary time",
  "year": "rotary year",
  "calendar": "calendar",
  "calendar_token": "calendar token",
}
BOTH = ("bias", "calendar")
NEGATIVES = {
  "per_position": "own negatives",
  "shared": "shared negatives",
  "in_batch": "in-batch negatives",
  "mixed": "mixed negatives",
  "hard": "hard negatives",
  "aware": "positive-aware negatives",
}
COUNTS = {f"k{count}": count for count in (1, 16, 128, 1024, 4096)}
_COUNTED = {
  name: "1 negative" if count == 1 else f"{count} negatives"
  for name, count in COUNTS.items()
}
ENSEMBLE = {
  "listed": "beside others",
  "weights": "weights of an ensemble",
  "misses": "negatives of an ensemble",
  "segments": "weights of segments",
}
CONTROLS = {"shuffled": "shuffled gaps"}
# What sets negatives.
COMPARES = frozenset({*NEGATIVES, *COUNTS, "misses"})
ALL = (*LEVERS, *NEGATIVES, *COUNTS, *ENSEMBLE)
K = 128
CANDIDATES = 2048
_YEAR = 31_556_952


def check_levers(variants: Set[str]) -> None:
  """Raises a ValueError for levers that exclude each other."""
  calendars = ("calendar", "calendar_token")
  common.exclusive(variants, calendars)
  common.exclusive(variants, tuple(NEGATIVES), tuple(COUNTS))
  # Nobody knows how likely a list is to have an item.
  common.exclusive(variants, ("in_batch", "mixed", "misses"))
  common.exclusive(variants, ("k1", "mixed"), ("k1", "misses"))
  common.exclusive(variants, ("k4096", "hard", "aware"))
  for timeless in (*calendars, "no_time"):
    common.exclusive(variants, ("shuffled", timeless))
  for none, group in (("no_time", LEVERS), ("listed", ENSEMBLE)):
    for lever in group:
      if lever != none:
        common.exclusive(variants, (none, lever))


def read_times(
  c: ConfigDict,
  name: str,
  variants: Set[str],
  default: Sequence[str] = BOTH,
) -> None:
  """Gives a config of models.NextItem on HSTU the levers, and its title.

  Args:
    c: of which the model, the layout and the title change.
    name: of the model, as published.
    variants: those asked for.
    default: levers that are on where none is named.
  """
  usual = ("bias",) if "shuffled" in variants else default
  levers = variants & {*LEVERS} or {*usual}
  said = {**LEVERS, **NEGATIVES, **_COUNTED, **ENSEMBLE, **CONTROLS}
  c.title = common.title(name, levers | variants & {*said}, said)
  c.system.backbone.time_bias = "bias" in levers
  exact = tuple(_YEAR // part for part in (1, 2, 3, 4))
  rotary = common.rotary_time() | {
    "periods": exact if "year" in levers else (),
    "geometric": 12 if "rotary" in levers else 0,
  }
  if levers & {"rotary", "year"}:
    c.system.backbone.rotary = rotary
  if levers & {"calendar", "calendar_token"}:
    c.system.calendar = c.pipeline.layout.calendar = True
  if "calendar_token" in levers:
    c.system.calendar_as = "token"
  if "shuffled" in variants:
    c.pipeline.layout.shuffled_gaps = 0


def both_ways(c: ConfigDict) -> None:
  """Histories stay among the candidates: what was bought is bought again.

  Results have the other way beside it, as test_filtered.
  """
  c.evals.next_item.filter_history = False


def compare(
  c: ConfigDict, variants: Set[str], kind: str = "per_position", count: int = K
) -> None:
  """Gives a config of objectives.SampledSoftmax the negatives that are named.

  Args:
    c: of which the loss changes, and for `misses` the layout.
    variants: those asked for; without one of these the loss stays.
    kind: of NEGATIVES where none is named.
    count: likewise.
  """
  if not variants & COMPARES:
    return
  kind = next((name for name in NEGATIVES if name in variants), kind)
  count = next((n for name, n in COUNTS.items() if name in variants), count)
  returned = _returned(count) if "misses" in variants else 0
  c.objective.negatives = _negatives(kind, count - returned)
  c.objective.correct_log_q = kind in ("in_batch", "mixed")
  if returned:
    c.objective.negatives = {
      "name": "objectives.Mixed",
      "parts": (
        c.objective.negatives.to_dict(),
        {"name": "objectives.FromLists", "count": returned, "shared": False},
      ),
    }
    c.pipeline.layout.lists = _event_lists(negatives=returned)


def beside_others(c: ConfigDict, variants: Set[str]) -> None:
  """Lists of other retrievers, weights by them, and what is added to them."""
  named = variants & {*ENSEMBLE}
  if not named:
    return
  c.lists = _lists()
  c.evals.incremental = _incremental_recall(c.evals.next_item.filter_history)
  c.train.monitor = "r_inc@10"
  if not named & {"weights", "segments"}:
    return
  layout = c.pipeline.layout
  if "lists" not in layout:
    layout.lists = _event_lists(negatives=0)
  layout.lists.coverage = tuple(c.lists.retrievers)
  if "segments" in named:
    layout.lists.segments = {
      "name": "layouts.SegmentWeights",
      "kinds": ("freshness", "activity"),
      "attribute": "",
      "k": 10,
      "bound": 3.0,
    }
  c.objective = {
    "name": "objectives.CoverageWeights",
    "beta": 0.5 if "weights" in named else 1.0,
    "k": 10,
    "by_count": False,
    "segments": "segments" in named,
    "loss": c.objective.to_dict(),
  }


def _negatives(kind: str, count: int) -> dict:
  """`count` of a kind of NEGATIVES."""

  def one(name: str, count: int) -> dict:
    return {"name": f"objectives.{name}", "count": count}

  if kind == "mixed":
    half = count // 2
    parts = one("UniformShared", count - half), one("InBatchNegatives", half)
    return {"name": "objectives.Mixed", "parts": parts}
  if kind in ("hard", "aware"):
    candidates = one("UniformShared", CANDIDATES)
    hard = one("HardBlock", count) | {"candidates": candidates}
    aware = {"name": "objectives.PositiveAware", "ratio": 0.95}
    return hard if kind == "hard" else aware | {"negatives": hard}
  names = {
    "per_position": "UniformPerPosition",
    "shared": "UniformShared",
    "in_batch": "InBatchNegatives",
  }
  return one(names[kind], count)


def _returned(count: int) -> int:
  """Of so many negatives, those of lists."""
  return min(max(1, count // 4), 64)


def _event_lists(negatives: int) -> dict:
  return {
    "name": "layouts.EventLists",
    "negatives": negatives,
    "coverage": (),
  }


def _lists() -> dict:
  """Item-kNN and popularity, as they were at each event."""
  return {
    "directory": "",
    "count": 50,
    "parts": ("train", "validation", "test"),
    "exclude_seen": False,
    "hindsight": False,
    "retrievers": {
      "item_knn": {"name": "experiment.ItemKnnLists", "snapshots": 12},
      "recently_popular": {"name": "experiment.PopularLists"},
    },
  }


def _incremental_recall(filter_history: bool) -> dict:
  """What is found that those retrievers do not find."""
  return {
    "name": "evaluation.IncrementalRecall",
    "ks": (10, 50),
    "replaced": 0.2,
    "retrievers": (),
    "filter_history": filter_history,
    "kinds": ("freshness", "activity"),
    "attribute": "",
  }
