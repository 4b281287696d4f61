# SPDX-License-Identifier: Apache-2.0
"""Train steps, decoding and ranking of configs on the device that is there.

Batches are random, in the config's own shapes (bench/batches.py); parameters
are untrained. Rows are as many as the config says, or that many per device
where they cannot be shared out. Rankers are asked behind histories of one
length (bench/served_rankers.py), and what crosses their features is measured by
itself (bench/utilisation.py).
"""

import dataclasses
from typing import Any

import jax

from genrec_jax.bench.accelerator_job import Job
from genrec_jax.bench.accelerator_record import Record
from genrec_jax.bench.decoding import time_decoding
from genrec_jax.bench.served_rankers import time_served_rankers
from genrec_jax.bench.train_step import time_train_step
from genrec_jax.bench.utilisation import FEW, MANY, PASSES, time_utilisation

_STEPS, _TURNS = 10, 5
_DECODED = "tiger_amazon"


@dataclasses.dataclass(frozen=True)
class _Trained:
  """A config and the data set that its batches are like.

  Attributes:
    config: name of the file in configs/.
    num_items: V.
    events: of a user; see bench/batches.py.
    quick_events: the same of the config's quick form.
  """

  config: str
  num_items: int
  events: int
  quick_events: int


_TRAINED = (
  _Trained("hstu_long", 100_000, events=16_384, quick_events=32),
  # Prefixes of 15 events are 6.5 items on average, those of Beauty 6.7.
  _Trained("tiger_amazon", 12_101, events=15, quick_events=6),
  # Whole histories of 64 events, and all shorter ones before.
  _Trained("genrank_kuairand", 7_583, events=67, quick_events=14),
)
# Requests of a batch, and which searches take turns on it.
_SEARCHED = (
  (256, ("constrained",)),
  (1024, ("constrained",)),
  (64, ("constrained", "unconstrained")),
)
_QUICK_SEARCHED = ((4, ("constrained",)),)
# Rankers that keep a history, and how many candidates are asked behind it.
_SERVED = ("longer_kuairand", "linkedin_kuairand", "hstu_ranking_kuairand")
_SERVED_EVENTS, _SERVED_CANDIDATES = 1024, (64, 512)
# RankMixer's published smaller size, and rows of a batch.
_TOKEN_WIDTH, _CROSSED_ROWS = 768, (4_096, 16_384, 65_536)
_TOWERS = 40
_QUICK_ITEMS = 50
_WIDTH_OF_QUICK = 16


def measure_train_steps(job: Job, record: Record) -> None:
  """Writes a case per config."""
  for case in _TRAINED:
    record.measure(
      case.config, lambda case=case: _train_step(job, case, record.deadline)
    )


def _train_step(
  job: Job, case: _Trained, deadline: int | float
) -> dict[str, Any]:
  config = job.config(case.config)
  rows, devices = config["pipeline"]["batch_size"], jax.device_count()
  if rows % devices:
    config["pipeline"]["batch_size"] = rows * devices
  quick = job.quicktest
  return time_train_step(
    config,
    num_items=_QUICK_ITEMS if quick else case.num_items,
    events=case.quick_events if quick else case.events,
    steps=1 if quick else _STEPS,
    deadline=deadline,
  )


def measure_decoding(job: Job, record: Record) -> None:
  """Writes a case per number of requests of a batch."""
  config = job.config(_DECODED)
  beams = config["retrieval"]["num_beams"]
  items = config["pipeline"]["layout"]["max_items"]
  for requests, searches in _QUICK_SEARCHED if job.quicktest else _SEARCHED:
    record.measure(
      f"{_DECODED} {' and '.join(searches)} {requests}",
      lambda requests=requests, searches=searches: time_decoding(
        config,
        num_items=_QUICK_ITEMS if job.quicktest else 12_101,
        num_beams=beams,
        batch_size=requests,
        history=items,
        turns=1 if job.quicktest else _TURNS,
        searches=searches,
      ),
    )


def measure_served_rankers(job: Job, record: Record) -> None:
  """Writes a case per ranker and number of candidates."""
  quick = job.quicktest
  for name in _SERVED[:1] if quick else _SERVED:
    for count in (2,) if quick else _SERVED_CANDIDATES:
      record.measure(
        f"{name} {count}",
        lambda name=name, count=count: _served(job, name, count),
      )


def _served(job: Job, name: str, count: int) -> dict[str, Any]:
  quick = job.quicktest
  found = time_served_rankers(
    {name: job.config(name)},
    events=8 if quick else _SERVED_EVENTS,
    candidates=(count,),
    num_items=_QUICK_ITEMS if quick else 7_583,
    repeats=1 if quick else _STEPS,
  )
  ranker = found["rankers"][name]
  (row,) = ranker.pop("candidates").values()
  return {**ranker, **row, "events": found["events"]}


def measure_utilisation(job: Job, record: Record) -> None:
  """Writes a case per rows of a batch, model and pass."""
  quick = job.quicktest
  for rows in (4,) if quick else _CROSSED_ROWS:
    record.measure(f"{rows} rows", lambda rows=rows: _crossed(quick, rows))


def _crossed(quick: bool, rows: int) -> dict[str, Any]:
  found = time_utilisation(
    rows=(rows,),
    width=_WIDTH_OF_QUICK if quick else _TOKEN_WIDTH,
    dtype="float32" if quick else "bfloat16",
    repeats=1 if quick else _STEPS,
    towers=2 if quick else _TOWERS,
  )
  facts: dict[str, Any] = {"token_width": found["token_width"]}
  for name, key in ((FEW, "mixed"), (MANY, "towers")):
    for what in PASSES:
      row = found["models"][name]["passes"][f"{what} {rows}"]
      facts |= {f"{key}_{what}_{fact}": x for fact, x in row.items()}
  ratios = found["rate_of_mixed_tokens_over_small_towers"]
  facts |= {f"{what}_ratio": ratios[f"{what} {rows}"] for what in PASSES}
  return facts
