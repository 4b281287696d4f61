# SPDX-License-Identifier: Apache-2.0
"""Two tokens an event or one: what a training step and a request cost.

    interleaved                item and action in turn, learned biases
    interleaved, slopes        place, request and gap as vectors, ALiBi
    action_oriented            one token an event, learned biases
    action_oriented, slopes    both

Width 512, 3 layers of 4 heads of 128, loss on the items of a request. One data
set of the simulator, users of more events than are read; every variant's batch
is of the same users' same events, and the step is scripts/train.py's. Steps
are timed in turns, after two each. Published for action-oriented tokens
+78.7 %, for slopes and vectors +25.0 %, for both +94.8 % training speed
(GenRank, arXiv 2505.04180, on GPUs with fused kernels).
"""

from collections.abc import Iterator
import itertools
import pathlib
import statistics
import tempfile
import time
from typing import Any

import jax
import numpy as np

from genrec_jax.core import sharding
from genrec_jax.data.dataset.impressions import iter_impressions
from genrec_jax.experiment.experiment import Run
from genrec_jax.ops.attention_flops import attention_flops, causal_pairs

_WIDTH, _HEADS = 512, 4
_KEYS = _WIDTH // _HEADS
_TASKS = ("cart", "purchase")
_CANDIDATES = 4
_WARM_UP = 2
# Products of one token in one layer: u, v, q, k and the output.
_LINEAR_FLOPS = 2 * 5 * _WIDTH * _WIDTH
VARIANTS = tuple(
  itertools.product(("interleaved", "action_oriented"), ("learned", "slopes"))
)
_KINDS = {"interleaved": "Interleaved", "action_oriented": "ActionOriented"}
_TOKENS = {"interleaved": 2, "action_oriented": 1}


def time_layouts(
  *,
  events: int,
  batch_size: int,
  num_items: int,
  steps: int,
  layers: int = 3,
) -> dict[str, Any]:
  """Medians of seconds of steps and of requests, by variant, and ratios.

  Args:
    events: of a history.
    batch_size: histories of a step.
    num_items: items of the simulator.
    steps: timed, of each variant.
    layers: of the stack.
  """
  with tempfile.TemporaryDirectory() as folder:
    cases = _cases(pathlib.Path(folder), events, batch_size, num_items, layers)
    for name in _in_turns(cases, steps):
      cases[name].step()
    for name in _in_turns(cases, steps):
      cases[name].score()
  variants = {name: case.facts() for name, case in cases.items()}
  return {
    "variants": variants,
    "analytic": analytic(events),
    "training_speed": _faster(variants, "step_seconds"),
    "requests_speed": _faster(variants, "score_seconds"),
    "events": events,
    "rows": batch_size,
    "steps": steps,
    "num_items": num_items,
    "layers": layers,
  }


def analytic(events: int) -> dict[str, float]:
  """Tokens, attention and other products of a history, one per two tokens."""
  pairs = [causal_pairs(events * n) for n in _TOKENS.values()]
  attention = [attention_flops(p, _HEADS, _KEYS, _KEYS) for p in pairs]
  linear = [_LINEAR_FLOPS * events * n for n in _TOKENS.values()]
  return {
    "tokens": 0.5,
    "attention_flops": attention[1] / attention[0],
    "linear_flops": linear[1] / linear[0],
    "all_flops": (attention[1] + linear[1]) / (attention[0] + linear[0]),
  }


def _faster(variants: dict[str, Any], name: str) -> dict[str, float]:
  """How many percent more per second than interleaved, learned."""
  base, *others = variants
  return {
    other: round(100 * (variants[base][name] / variants[other][name] - 1), 1)
    for other in others
  }


def _in_turns(cases: dict[str, Any], steps: int) -> Iterator[str]:
  for _ in range(steps + _WARM_UP):
    yield from cases


class _Case:
  """A variant, compiled, on its batch."""

  def __init__(self, run: Run, batch_size: int):
    self._program = program = run.program(sharding.local())
    host = _batch(run, batch_size)
    self._tokens = float((host["segment_ids_BL"] > 0).sum() / batch_size)
    batch = sharding.put(host, program.placement.by_rows)
    request = next(
      iter_impressions(
        run.histories, "test", run.pipeline.layout.feedback, 1, _CANDIDATES
      )
    )
    self._request = sharding.put(
      run.pipeline.layout.impression_batch(request), program.request_sharding
    )
    with program.in_force():
      self._state = program.init_state()
      self._train = program.train_step.lower(self._state, batch).compile()
      self._score = program.score.lower(
        self._state.params, self._request
      ).compile()
    self._batch = batch
    self._seconds: dict[str, list[float]] = {"step": [], "score": []}

  def step(self) -> None:
    """Times a training step."""
    started = time.perf_counter()
    self._state, _ = jax.block_until_ready(
      self._train(self._state, self._batch)
    )
    self._seconds["step"].append(time.perf_counter() - started)

  def score(self) -> None:
    """Times the candidates of one request behind its history."""
    started = time.perf_counter()
    jax.block_until_ready(self._score(self._state.params, self._request))
    self._seconds["score"].append(time.perf_counter() - started)

  def facts(self) -> dict[str, Any]:
    """What was measured."""
    kept = {k: v[_WARM_UP:] for k, v in self._seconds.items()}
    ends = np.quantile(kept["score"], 0.99)
    return {
      "tokens_per_row": self._tokens,
      "step_seconds": round(statistics.median(kept["step"]), 4),
      "score_seconds": round(statistics.median(kept["score"]), 4),
      "score_p99_seconds": round(float(ends), 4),
      "temporary_bytes": self._train.memory_analysis().temp_size_in_bytes,
    }


def _cases(
  folder: pathlib.Path,
  events: int,
  batch_size: int,
  num_items: int,
  layers: int,
) -> dict[str, _Case]:
  cases, prepared = {}, ""
  for layout, bias in VARIANTS:
    config = _config(layout, bias, events, batch_size, num_items, layers)
    run = Run.start(config | {"prepared": prepared}, folder / layout / bias)
    prepared = str(run.histories.directory)
    cases[f"{layout}, {bias}"] = _Case(run, batch_size)
  return cases


def _batch(run: Run, batch_size: int) -> dict[str, np.ndarray]:
  """The last request of each user, one a row."""
  layout, source, length = (
    run.pipeline.layout,
    run.source,
    run.pipeline.row_length,
  )
  rows = np.zeros((batch_size, length, layout.num_columns), np.int32)
  segments = np.zeros((batch_size, length), np.int32)
  for place in range(batch_size):
    record = source[place]
    example = layout.example(record, source.split.train_end(record))
    rows[place, : len(example)], segments[place, : len(example)] = example, 1
  return layout.batch(rows, segments, segments)


def _config(
  layout: str,
  bias: str,
  events: int,
  batch_size: int,
  num_items: int,
  layers: int,
) -> dict[str, Any]:
  """Of one variant; what a config file would say."""
  slopes = bias == "slopes"
  feedback = {"name": "dataset.Feedback", "tasks": _TASKS}
  length = _TOKENS[layout] * events + _CANDIDATES
  # A fifth more than is read: the end of a user's time is for testing.
  more = events * 6 // 5 + 64
  return {
    "name": f"{layout}-{bias}",
    "seed": 0,
    "prepared": "",
    "data": {
      "name": "simulator.Synthetic",
      "num_users": batch_size,
      "num_items": num_items,
      "min_events": more,
      "mean_events": float(more),
    },
    "split": {
      "name": "data.GlobalTime",
      "validation_fraction": 0.05,
      "test_fraction": 0.05,
    },
    "filter": {},
    "pipeline": {
      "layout": {
        "name": f"layouts.{_KINDS[layout]}",
        "feedback": feedback,
        "max_events": events,
        "num_candidates": _CANDIDATES,
        "last_requests": 1,
      },
      "batch_size": batch_size,
      "row_length": length,
      "readers": 1,
    },
    "system": {
      "name": "models.ActionRanker",
      "width": _WIDTH,
      "num_actions": len(_TASKS),
      "unknown_action": layout == "action_oriented",
      "num_positions": length if slopes else 0,
      "num_requests": events if slopes else 0,
      "num_gaps": 56 if slopes else 0,
      "heads": {
        "name": "layers.LinearHead",
        "num_tasks": len(_TASKS),
      },
      "backbone": {
        "name": "backbones.HSTU",
        "num_layers": layers,
        "num_heads": _HEADS,
        "key_width": _KEYS,
        "value_width": _KEYS,
        "num_positions": length,
        "position_bias": not slopes,
        "time_bias": not slopes,
        "alibi": slopes,
        "attention": {
          "name": "layers.SiluAttention",
          "normalizer": float(length),
        },
      },
    },
    "objective": {
      "name": "objectives.BinaryCrossEntropy",
      "tasks": _TASKS,
    },
    "optimizer": {"name": "train.adamw", "learning_rate": 1e-3},
    "train": {"steps": 1, "monitor": "auc"},
    "requests": {"batch_size": 1},
    "evals": {
      "shown_items": {"name": "evaluation.ShownItems", "feedback": feedback}
    },
    "mesh": {},
  }
