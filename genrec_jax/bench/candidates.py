# SPDX-License-Identifier: Apache-2.0
"""Seconds of scoring many candidates behind one long history, three ways.

    history     keys and values of the history alone
    one pass    the history, then all candidates in micro-batches against it
    alone       history and one candidate, whole, as often as there are any

The ranker of models/action_ranker.py on HSTU with both learned biases, random
weights, random events: what serving runs (ranking/candidates.py), tokens made
on the host included. Scoring each alone is timed on a few and multiplied.
"""

from collections.abc import Callable
import dataclasses
import statistics
import time
from typing import Any

import jax
import numpy as np

from genrec_jax.backbones.hstu import HSTU
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.impressions import Impressions
from genrec_jax.data.layouts.actions import (
  ActionOriented,
  Interleaved,
)
from genrec_jax.data.layouts.ranking import RequestLayout
from genrec_jax.data.schema import Record
from genrec_jax.layers.action_heads import LinearHead
from genrec_jax.layers.attention import SiluAttention
from genrec_jax.models.action_ranker import ActionRanker
from genrec_jax.ranking.candidates import CandidateScorer, asked_about
from genrec_jax.train.state import init_params

LAYOUTS = {"action_oriented": ActionOriented, "interleaved": Interleaved}
_WIDTH, _LAYERS, _HEADS = 256, 3, 4
_TASKS = ("click", "like")
_ACTIONS = ("", "skip", "click", "click|like")
_YEAR = 365 * 24 * 3600


def time_candidates(
  *,
  layout: str,
  num_items: int,
  events: int,
  candidates: int,
  micro_batch: int,
  repeats: int,
  alone: int,
) -> dict[str, Any]:
  """Medians of seconds, their ratios and how far logits are apart, by the
  largest of them.

  Args:
    layout: a name in LAYOUTS; interleaved has two tokens an event.
    num_items: V.
    events: of the history.
    candidates: m.
    micro_batch: candidates at a time.
    repeats: timed runs of history and of one pass, in turns.
    alone: candidates that are scored whole, one by one.
  """
  bound = _layout(layout, events)
  scorer = _scorer(bound, num_items, micro_batch)
  items = np.random.default_rng(1).integers(1, num_items + 1, candidates)
  request = _request(num_items, events, items.astype(np.int32))

  def history():
    return scorer.start_fn(_history(bound, request))

  def single(item):
    one = _request(num_items, events, np.array([item], np.int32))
    return scorer.score_fn(bound.impression_batch(one))

  packed_NT = _logits(scorer.score(request))
  _seconds(history)
  _seconds(lambda: single(items[0]))
  seconds = {"history": [], "one_pass": []}
  for _ in range(repeats):
    seconds["history"].append(_seconds(history))
    seconds["one_pass"].append(_seconds(lambda: scorer.score(request)))
  each = [_seconds(lambda item=item: single(item)) for item in items[:alone]]
  alone_NT = np.concatenate([single(item)[0] for item in items[:alone]])
  nobody = _request(num_items, 0, items[:alone].astype(np.int32))
  others_NT = _logits(scorer.score(nobody))
  history_s = statistics.median(seconds["history"])
  one_pass_s = statistics.median(seconds["one_pass"])
  one_by_one_s = statistics.median(each) * candidates
  size = float(np.abs(alone_NT).max())
  return {
    "layout": layout,
    "history_events": events,
    "candidates": candidates,
    "micro_batch": micro_batch,
    "history_seconds": round(history_s, 4),
    "one_pass_seconds": round(one_pass_s, 4),
    "one_by_one_seconds": round(one_by_one_s, 1),
    "one_by_one_is": f"{candidates} times the median of {alone} measured",
    "one_pass_per_history": round(one_pass_s / history_s, 2),
    "one_by_one_per_one_pass": round(one_by_one_s / one_pass_s, 1),
    "largest_relative_difference": _largest(packed_NT[:alone], alone_NT) / size,
    "relative_difference_without_history": _largest(others_NT, alone_NT) / size,
    "repeats": repeats,
    "num_items": num_items,
  }


def _layout(name: str, events: int) -> RequestLayout:
  feedback = Feedback(_TASKS)
  bound = feedback.bind(_ACTIONS)
  return dataclasses.replace(
    LAYOUTS[name](feedback, events), bound_feedback=bound, bound_shown=bound
  )


def _scorer(
  layout: RequestLayout, num_items: int, micro_batch: int
) -> CandidateScorer:
  width = _WIDTH // _HEADS
  length = layout.max_length
  system = ActionRanker(
    num_items=num_items,
    width=_WIDTH,
    backbone=HSTU(
      num_layers=_LAYERS,
      num_heads=_HEADS,
      key_width=width,
      value_width=width,
      num_positions=length,
      attention=SiluAttention(normalizer=float(length)),
    ),
    heads=LinearHead(num_tasks=len(_TASKS)),
    num_actions=len(_TASKS),
    unknown_action=True,
  )
  zeros = np.zeros((1, length), np.int32)
  rows = np.zeros((1, length, layout.num_columns), np.int32)
  params = init_params(
    system, layout.batch(rows, zeros, zeros), jax.random.key(0)
  )
  return CandidateScorer.of(system, params, layout, micro_batch)


def _request(num_items: int, events: int, items: np.ndarray) -> Impressions:
  """One user's random events, a request each, and what is asked about."""
  rng = np.random.default_rng(0)
  record: Record = {
    "user": np.array(-1, np.int32),
    "item": rng.integers(1, num_items + 1, events, np.int32),
    "action": rng.integers(1, len(_ACTIONS), events, np.int32),
    "time": np.sort(rng.integers(0, _YEAR, events, np.int32)),
  }
  return asked_about(record, items, _YEAR, num_items)


def _history(layout: RequestLayout, request: Impressions) -> dict[str, Any]:
  """Tokens of the history alone."""
  return layout.apart(layout.impression_batch(request))[0]


def _logits(probabilities: np.ndarray) -> np.ndarray:
  exact = probabilities.astype(np.float64)
  return np.log(exact) - np.log1p(-exact)


def _largest(a: np.ndarray, b: np.ndarray) -> float:
  return float(np.abs(a - b).max())


def _seconds(fn: Callable[[], Any]) -> float:
  started = time.perf_counter()
  jax.block_until_ready(fn())
  return time.perf_counter() - started
