# SPDX-License-Identifier: Apache-2.0
"""Users per second of decoding: with a trie, with masks, without either.

    constrained   beam search through the trie
    masked        the same with an item mask per request
    unconstrained beam search over all codes, what a model does by itself
    peer          another program that decodes as many users, one batch a line

The model of a config with untrained parameters reads full random histories, so
no data is needed; its codes are drawn with a skew that gives a trie the shape
of real ones (few first codes, almost one child from the third on). Batches of
all of them take turns: a busy machine slows all alike, and ratios are medians
over turns.
"""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import dataclasses
import json
import statistics
import subprocess
import time
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Int
import numpy as np

from genrec_jax.core.build import build_options
from genrec_jax.core.sharding import MeshOptions
from genrec_jax.data.dataset.requests import Requests
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.decoding.trie import Trie
from genrec_jax.decoding.unconstrained import unconstrained_search
from genrec_jax.experiment.program import Program
from genrec_jax.retrieval.generative import Beam
from genrec_jax.retrieval.strategy import SearchItems
from genrec_jax.train.state import num_parameters

SEARCHES = ("constrained", "masked", "unconstrained")
_WARM_UP = 1


@dataclasses.dataclass(frozen=True)
class _Unconstrained:
  """Lists of codes and scores alone: nothing looks at the trie."""

  num_beams: int

  def __call__(self, decoder, items, allowed_BW):
    found = unconstrained_search(decoder, items.trie, self.num_beams)
    return found.codes_BKM, found.scores_BK


def skewed_codes(
  num_items: int, level_sizes: Sequence[int]
) -> Int[np.ndarray, "V1 M"]:
  """Random codes, row 0 = padding; weights of a level's codes are log-normal.

  The last level numbers the items that share the codes before, as far as it
  goes; 12,101 items of 4 x 256 have about 230, 7,200 and 11,900 prefixes.
  """
  rng = np.random.default_rng(0)
  codes = np.zeros((num_items + 1, len(level_sizes)), np.int32)
  for level, size in enumerate(level_sizes[:-1]):
    weights = rng.lognormal(0.0, 1.2, size)
    codes[1:, level] = rng.choice(size, num_items, p=weights / weights.sum())
  groups: dict[bytes, int] = {}
  for row in codes[1:]:
    key = row.tobytes()
    groups[key] = groups.get(key, -1) + 1
    row[-1] = groups[key] % level_sizes[-1]
  return codes


class Peer:
  """A program that answers each line on stdin with the users it decoded."""

  def __init__(self, command: Sequence[str]):
    """Starts it; it says as one JSON line what it is, once it is ready.

    Raises:
      ValueError: it ended before it was ready.
    """
    self._process = subprocess.Popen(
      command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    self.facts = self._answer()

  def _answer(self) -> dict[str, Any]:
    line = self._process.stdout.readline()
    if not line:
      self.close()
      raise ValueError(
        f"{' '.join(self._process.args)} ended with"
        f" {self._process.returncode}; what it wrote stands above."
      )
    return json.loads(line)

  def decode(self) -> None:
    """Has it decode a batch."""
    self._process.stdin.write("\n")
    self._process.stdin.flush()
    self._answer()

  def close(self) -> None:
    """Ends it."""
    self._process.stdin.close()
    self._process.wait()
    self._process.stdout.close()


def time_decoding(
  config: Mapping[str, Any],
  *,
  num_items: int,
  num_beams: int,
  batch_size: int,
  history: int,
  turns: int,
  peer: Sequence[str] | None = None,
  searches: Sequence[str] = SEARCHES,
) -> dict[str, Any]:
  """Users per second of each, and ratios to the unconstrained search.

  Args:
    config: plain and checked, of a system that generates.
    num_items: V.
    num_beams: K.
    batch_size: requests at a time.
    history: items of each request.
    turns: timed batches of each.
    peer: command of another program to take turns with.
    searches: which of SEARCHES to time.

  Raises:
    ValueError: the config's system does not generate, or the peer fails.
  """
  if not config["retrieval"]:
    raise ValueError(
      f"{config['name']} does not generate items: its config.retrieval is"
      " empty. Take one such as configs/tiger_amazon.py."
    )
  mesh = build_options(MeshOptions, config["mesh"], where="config.mesh")
  config = {**config, "requests": {"batch_size": batch_size}}
  program = Program.from_config(config, num_items, mesh.place())
  codes = skewed_codes(num_items, program.system.level_sizes)
  trie = Trie.build(codes, program.system.level_sizes)
  items = SearchItems(trie, jnp.zeros(num_items + 1, bool))
  layout = dataclasses.replace(program.pipeline.layout, codes=codes)
  batch = layout.request_batch(requests_of(num_items, batch_size, history))
  half = np.random.default_rng(1).random((batch_size, num_items + 1)) < 0.5
  allowed = ItemMask.of(half).words_BW
  with contextlib.ExitStack() as stack:
    stack.enter_context(program.in_force())
    params = program.init_state().params
    constrained = dataclasses.replace(program, retrieval=Beam(num_beams))
    free = dataclasses.replace(program, retrieval=_Unconstrained(num_beams))

    def run(decode, mask):
      return lambda: jax.block_until_ready(decode(params, batch, items, mask))

    contestants = {
      "constrained": run(constrained.decode, None),
      "masked": run(constrained.decode, allowed),
      "unconstrained": run(free.decode, None),
    }
    contestants = {name: contestants[name] for name in searches}
    first = {name: _first_seconds(run) for name, run in contestants.items()}
    facts = {}
    if peer:
      process = Peer(peer)
      stack.callback(process.close)
      contestants["peer"] = process.decode
      facts["peer"] = process.facts
    seconds = take_turns(contestants, turns)
    parameters = num_parameters(params)
  return figures(seconds, batch_size) | {
    "parameters": parameters,
    "first_batch_seconds": first,
    "beams": num_beams,
    "batch_size": batch_size,
    "history_items": history,
    "num_items": num_items,
    "states": trie.sizes.states,
    "branch": trie.sizes.branch,
    **facts,
  }


def requests_of(num_items: int, count: int, length: int) -> Requests:
  rng = np.random.default_rng(0)
  zeros = np.zeros(count, np.int32)
  history = [
    {
      "user": np.array(user, np.int32),
      "item": rng.integers(1, num_items + 1, length, np.int32),
    }
    for user in range(count)
  ]
  return Requests(zeros, zeros, history, zeros, zeros)


def _first_seconds(run: Callable[[], Any]) -> float:
  """Of a first batch: compilation, and one that runs."""
  started = time.perf_counter()
  run()
  return round(time.perf_counter() - started, 2)


def take_turns(
  contestants: Mapping[str, Callable[[], Any]], turns: int
) -> dict[str, list[float]]:
  """Seconds of each batch, after one of each that is not timed."""
  seconds = {name: [] for name in contestants}
  for turn in range(turns + _WARM_UP):
    for name, run in contestants.items():
      started = time.perf_counter()
      run()
      if turn >= _WARM_UP:
        seconds[name].append(time.perf_counter() - started)
  return seconds


def figures(
  seconds: Mapping[str, Sequence[float]], batch_size: int
) -> dict[str, Any]:
  """Medians, and medians of ratios within a turn."""
  rates = {
    f"{name}_users_per_second": round(batch_size / statistics.median(values), 1)
    for name, values in seconds.items()
  }

  def ratio(above, below):
    pairs = zip(seconds[above], seconds[below], strict=True)
    return round(statistics.median(a / b for a, b in pairs), 3)

  ratios = {}
  if "unconstrained" in seconds:
    ratios = {
      f"{name}_per_unconstrained": ratio(name, "unconstrained")
      for name in ("constrained", "masked")
      if name in seconds
    }
  if "peer" in seconds and "constrained" in seconds:
    ratios["times_peer"] = ratio("peer", "constrained")
  return rates | ratios
