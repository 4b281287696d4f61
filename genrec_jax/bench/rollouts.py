# SPDX-License-Identifier: Apache-2.0
"""Lists per second that are drawn to be trained on.

What is timed is all that config.rollout does before anything is learnt: samples
of a batch of requests, their rewards, and their log-probabilities under the
reference. A list is what is drawn for one request: its K samples, of an item
each, or its K lists of several. The reward is what came next, whatever the
config has: a trained run is not there. The model of a config with untrained
parameters reads full random histories, and its codes are drawn with the skew of
genrec_jax/bench/decoding.py, so no data is needed. The median batch counts.
"""

from collections.abc import Mapping
import dataclasses
import statistics
from typing import Any

import jax
import numpy as np

from genrec_jax.bench.decoding import requests_of, skewed_codes, take_turns
from genrec_jax.core.build import build, build_options
from genrec_jax.core.sharding import MeshOptions
from genrec_jax.decoding.trie import Trie
from genrec_jax.experiment.program import Program
from genrec_jax.rollout.list_drawers import OfLists
from genrec_jax.rollout.rewards import TrueNext
from genrec_jax.train.state import num_parameters


def time_rollouts(
  config: Mapping[str, Any],
  *,
  num_items: int,
  num_beams: int,
  requests: int,
  history: int,
  turns: int,
) -> dict[str, Any]:
  """Lists and samples per second of drawing.

  Args:
    config: plain and checked, of a system that generates.
    num_items: V.
    num_beams: beams of the drawer; 0 = the config's own drawer.
    requests: drawn for at a time.
    history: items of each request.
    turns: timed batches.

  Raises:
    ValueError: a config that draws nothing.
  """
  if not config["rollout"]:
    raise ValueError(
      f"{config['name']} draws no samples: its config.rollout is empty. Take a"
      " variant such as configs/tiger_amazon.py:decoder_only-policy."
    )
  mesh = build_options(MeshOptions, config["mesh"], where="config.mesh")
  program = Program.from_config(config, num_items, mesh.place())
  sizes = program.system.level_sizes
  codes = skewed_codes(num_items, sizes)
  layout = dataclasses.replace(program.pipeline.layout, codes=codes)
  drawer = program.rollout.drawer
  items = drawer.list_size if isinstance(drawer, OfLists) else 1
  if num_beams:
    node = {"name": "rollout.BeamItems", "num_samples": num_beams}
    if isinstance(drawer, OfLists):
      node |= {"name": "rollout.BestLists", "list_size": items}
    drawer = build(node, where="drawer")
  rollout = dataclasses.replace(
    program.rollout,
    drawer=drawer,
    reward=TrueNext(),
    requests=requests,
    layout=layout,
    constants={"trie": Trie.build(codes, sizes), "reward": None},
  )
  asked = requests_of(num_items, requests, history)
  rng = np.random.default_rng(1)
  target = rng.integers(1, num_items + 1, requests, np.int32)
  batch = rollout.laid_out(dataclasses.replace(asked, target=target))
  with program.in_force():
    params = program.init_state().params
    held = rollout.hold(params)

    @jax.jit
    def draw(params, held, batch, constants, key):
      return rollout.draw(
        program.ask_of, params, held, batch, constants, key, 1
      )

    def run():
      arguments = params, held, batch, rollout.constants, program.key
      jax.block_until_ready(draw(*arguments))

    seconds = take_turns({"draw": run}, turns)["draw"]
  median = statistics.median(seconds)
  return {
    "lists_per_second": round(requests / median, 1),
    "samples_per_second": round(requests * drawer.num_samples / median, 1),
    "batch_seconds": round(median, 4),
    "requests": requests,
    "samples": drawer.num_samples,
    "items_of_a_sample": items,
    "drawer": type(drawer).__name__,
    "levels": len(sizes),
    "history_items": history,
    "num_items": num_items,
    "parameters": num_parameters(params),
  }
