# SPDX-License-Identifier: Apache-2.0
"""Train steps and decoding of configs on the device that is there.

Batches are random, in the config's own shapes (bench/batches.py); parameters
are untrained. Rows are as many as the config says, or that many per device
where they cannot be shared out.
"""

import dataclasses
from typing import Any

import jax

from genrec_jax.bench.accelerator_job import Job
from genrec_jax.bench.accelerator_record import Record
from genrec_jax.bench.decoding import time_decoding
from genrec_jax.bench.train_step import time_train_step

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
_QUICK_ITEMS = 50


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
