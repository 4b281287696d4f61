# SPDX-License-Identifier: Apache-2.0
"""Candidates per second behind one user, with what is kept of a history.

    kept         candidates, behind what is kept of the user's history
    recomputed   the history anew, and all candidates behind it: one request
    one by one   the history anew for each candidate

Rankers of configs, untrained, on one random user and random candidates, all at
once, on the device: tokens and features are made beforehand, which
bench/candidates.py times with the rest. Histories are as long for each ranker
as is asked for, in events, whatever its config says. One by one is timed for
one candidate and multiplied.
"""

from collections.abc import Mapping, Sequence
import statistics
from typing import Any

import jax
import numpy as np

from genrec_jax.bench.batches import served_batch
from genrec_jax.bench.timing import seconds_of_calls
from genrec_jax.core import seams
from genrec_jax.core.build import build, build_options
from genrec_jax.data.layouts.ranking import RequestLayout
from genrec_jax.experiment.options import PipelineOptions
from genrec_jax.report.cells import line
from genrec_jax.train.state import init_params, num_parameters

_COLUMNS = ("kept", "recomputed", "one_by_one")


def time_served_rankers(
  configs: Mapping[str, Mapping[str, Any]],
  *,
  events: int,
  candidates: Sequence[int],
  num_items: int,
  repeats: int,
) -> dict[str, Any]:
  """Medians by ranker and number of candidates.

  Args:
    configs: plain and checked, by the name that the table shows.
    events: of the history.
    candidates: numbers of them.
    num_items: V.
    repeats: timed calls of each.

  Raises:
    ValueError: a ranker that keeps nothing of a history.
  """
  rankers = {}
  for name, config in configs.items():
    config = with_history(config, events, max(candidates))
    rankers[name] = _time(config, events, candidates, num_items, repeats)
  return {
    "rankers": rankers,
    "events": events,
    "num_items": num_items,
    "repeats": repeats,
  }


def with_history(
  config: Mapping[str, Any], events: int, candidates: int
) -> dict[str, Any]:
  """The config with another length of histories, and its tables with it.

  Args:
    config: plain and checked, of a layout of requests or of rows of features.
    events: of a history.
    candidates: that have places of their own behind it.
  """
  layout = dict(config["pipeline"]["layout"])
  system = dict(config["system"])
  if "history_length" in layout:
    layout["history_length"] = events
    pooling = dict(system["pooling"])
    if "merge" in pooling:
      pooling["merge"] = {**pooling["merge"], "num_positions": events}
    system["pooling"] = pooling
  else:
    layout["max_events"] = events
    # Two tokens an event at most.
    places = 2 * events + candidates + len(layout.get("context", ()))
    backbone = dict(system["backbone"])
    for node in (system, backbone):
      if node.get("num_positions"):
        node["num_positions"] = places
    system["backbone"] = backbone
  pipeline = {**config["pipeline"], "layout": layout}
  return {**config, "pipeline": pipeline, "system": system}


def table(result: Mapping[str, Any]) -> str:
  """One row a ranker and number of candidates, as Markdown."""
  head = ["ranker", "candidates", "kept: candidates / s", "recomputed"]
  lines = [
    line([*head, "one by one", "kept / recomputed", "kept / one by one"]),
    line(["---"] * 7),
  ]
  for name, found in result["rankers"].items():
    for count, row in found["candidates"].items():
      speeds = [row[f"{column}_per_second"] for column in _COLUMNS]
      gains = (speeds[0] / speed for speed in speeds[1:])
      cells = [f"{speed:,.0f}" for speed in speeds]
      lines.append(line([name, count, *cells, *(f"{x:.1f}" for x in gains)]))
  return "\n".join(lines)


def _time(config, events, candidates, num_items, repeats) -> dict[str, Any]:
  system = build(config["system"], where="config.system", num_items=num_items)
  pipeline = build_options(
    PipelineOptions, config["pipeline"], where="config.pipeline"
  )
  layout = pipeline.layout
  caches = seams.offers(system, seams.CandidateModel)
  if not (caches and system.caches_history):
    raise ValueError(
      f"{config['name']} keeps nothing of a history: name a ranker with `start`"
      " and `candidates`, such as models.LongHistoryRanker."
    )
  seams.require(layout, seams.ApartLayout, "config.pipeline.layout")
  params = _fresh(system, pipeline, config["seed"])

  def method(name):
    return jax.jit(
      lambda params, *args: system.apply({"params": params}, *args, method=name)
    )

  start, behind, score = map(method, ("start", "candidates", "score"))

  def seconds(function, *args):
    taken = seconds_of_calls(lambda: function(params, *args), repeats)
    return statistics.median(taken)

  def request(count):
    whole = served_batch(layout, events, count, num_items)
    return map(jax.device_put, (whole, *layout.apart(whole)))

  alone, history, _ = request(1)
  one = seconds(score, alone)
  found = {}
  for count in candidates:
    whole, history, asked = request(count)
    kept = jax.block_until_ready(start(params, history))
    taken = {
      "kept": seconds(behind, kept, asked),
      "recomputed": seconds(score, whole),
      "one_by_one": one * count,
    }
    logits = score(params, whole)
    apart = np.abs(behind(params, kept, asked) - logits).max()
    found[str(count)] = {
      **{f"{k}_per_second": round(count / s, 1) for k, s in taken.items()},
      **{f"{k}_seconds": float(f"{s:.4g}") for k, s in taken.items()},
      "largest_relative_difference": float(apart / np.abs(logits).max()),
    }
  return {
    "candidates": found,
    "start_seconds": float(f"{seconds(start, history):.4g}"),
    "one_by_one_is": "as many times the median of one",
    "parameters": num_parameters(params),
    "tokens_of_history": _tokens(layout, events),
  }


def _fresh(system: Any, pipeline: PipelineOptions, seed: int) -> Any:
  """Parameters, of a row of padding."""
  layout, length = pipeline.layout, pipeline.row_length
  zeros = np.zeros((1, length), np.int32)
  rows = np.zeros((1, length, layout.num_columns), np.int32)
  return init_params(
    system, layout.batch(rows, zeros, zeros), jax.random.key(seed)
  )


def _tokens(layout: Any, events: int) -> int:
  """That a history has in rows of the layout."""
  if isinstance(layout, RequestLayout):
    return len(layout.context) + layout.tokens_per_event * events
  return events
