# SPDX-License-Identifier: Apache-2.0
"""Users per second of a search through beams of codes and vectors.

    table    neighbours from the padded table of clusters, all in one program
    index    neighbours from an index of each cluster, on the host

The model of a config with untrained parameters is asked for lists as serving
asks: requests of full random histories, the history hidden, ids and scores on
the host. No data is needed: contents are random, and codes are drawn with a
skew that gives clusters the sizes of real ones (12,101 items of 3 x 32 codes:
about 5,000 IDs, the largest of some 60 items). A search without clusters, such
as BeamUnion, is timed alone as "search".
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import jax
from jaxtyping import Bool, Int
import numpy as np

from genrec_jax.bench import decoding
from genrec_jax.core import seams
from genrec_jax.core.build import build_options
from genrec_jax.core.sharding import MeshOptions
from genrec_jax.core.types import ItemData
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.experiment import searches
from genrec_jax.experiment.program import Program
from genrec_jax.retrieval.generative import Generative
from genrec_jax.retrieval.strategy import HostFinish, needs_vectors

_K = 10


@dataclasses.dataclass(frozen=True)
class DrawnItems:
  """What a search is told of items: codes; all are live, none is cold.

  Attributes:
    drawn: codes by item id.
  """

  drawn: Int[np.ndarray, "V1 M"]

  def codes(self) -> Int[np.ndarray, "V1 M"]:
    """Codes by item id."""
    return self.drawn

  def live(self) -> Bool[np.ndarray, "V1"]:
    """All but the padding."""
    return np.arange(len(self.drawn)) > 0

  @property
  def catalog(self) -> "DrawnItems":
    """Its counts are all that is asked for."""
    return self

  @property
  def count(self) -> Int[np.ndarray, "V1"]:
    """A training event of each item."""
    return np.ones(len(self.drawn), np.int32)


def shared_codes(
  num_items: int, level_sizes: Sequence[int]
) -> Int[np.ndarray, "V1 M"]:
  """Random codes that items share, row 0 = padding.

  A level's codes have log-normal weights, which depend on the code before.
  """
  rng = np.random.default_rng(0)
  codes = np.zeros((num_items + 1, len(level_sizes)), np.int32)
  above = 1
  for level, size in enumerate(level_sizes):
    weights = rng.lognormal(0.0, 1.0, (above, size))
    ends = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
    drawn = rng.random(num_items)[:, None]
    before = codes[1:, level - 1] if level else np.zeros(num_items, np.int32)
    codes[1:, level] = np.minimum((ends[before] < drawn).sum(axis=1), size - 1)
    above = size
  return codes


def time_fused_search(
  config: Mapping[str, Any],
  *,
  num_items: int,
  num_beams: int,
  batch_size: int,
  history: int,
  turns: int,
) -> dict[str, Any]:
  """Users per second, and whether both ways give the same lists.

  Args:
    config: plain and checked; its retrieval searches codes and vectors.
    num_items: V.
    num_beams: beams, whatever the config's.
    batch_size: requests at a time.
    history: items of each request.
    turns: timed batches of each.

  Raises:
    ValueError: the config's search asks for no vectors.
  """
  program = _program(config, num_items, batch_size)
  codes = shared_codes(num_items, program.system.level_sizes)
  layout = dataclasses.replace(program.pipeline.layout, codes=codes)
  strategy = dataclasses.replace(program.retrieval, num_beams=num_beams)
  program = dataclasses.replace(
    program,
    pipeline=dataclasses.replace(program.pipeline, layout=layout),
    retrieval=strategy,
  )
  params = filled_params(program)
  forms = {"search": strategy}
  if seams.offers(strategy, HostFinish):
    forms = {
      name: dataclasses.replace(strategy, clusters=name)
      for name in ("table", "index")
    }
  requests = decoding.requests_of(num_items, batch_size, history)
  hidden = [record["item"] for record in requests.history]
  allowed = ItemMask.all_but(hidden, num_items)
  drawn, found = DrawnItems(codes), {}

  def search_of(name: str) -> Generative:
    form = dataclasses.replace(program, retrieval=forms[name])
    return searches.by_codes(form, params, drawn)

  def run(name, search):
    found[name] = search(requests, _K, allowed)

  made = {name: search_of(name) for name in forms}
  contestants = {
    name: lambda name=name, search=search: run(name, search)
    for name, search in made.items()
  }
  seconds = decoding.take_turns(contestants, turns)
  trie = next(iter(made.values())).items.trie
  lists = [ids for ids, _, _ in found.values()]
  return decoding.figures(seconds, batch_size) | {
    "same_lists": all(bool((ids == lists[0]).all()) for ids in lists),
    "beams": num_beams,
    "batch_size": batch_size,
    "history_items": history,
    "num_items": num_items,
    "level_sizes": list(trie.level_sizes),
    "ids": trie.num_states(trie.num_levels),
    "largest_cluster": trie.max_group,
  }


def _program(config, num_items, batch_size) -> Program:
  mesh = build_options(MeshOptions, config["mesh"], where="config.mesh")
  config = {**config, "requests": {"batch_size": batch_size}}
  program = Program.from_config(config, num_items, mesh.place())
  if program.retrieval is None or not needs_vectors(program.retrieval):
    raise ValueError(
      f"{config['name']} is not searched by codes and vectors: take a config"
      " such as configs/cobra_amazon.py."
    )
  return program


def filled_params(program: Program) -> Any:
  """Untrained parameters with random contents of the items."""
  system = program.system
  with program.in_force():
    params = program.init_state().params
  if not seams.offers(system, seams.DataInitModel):
    return params
  rows = system.num_items + 1
  width = system.item_encoder.content_width
  draw, count = np.random.default_rng(0), np.ones(rows, np.int32)
  if system.item_encoder.content_dtype == "int32":
    words = jax.device_get(params["item_encoder"]["words"]["embedding"])
    tokens = draw.integers(1, len(words), (rows, width), np.int32)
    data = ItemData(tokens, count, words)
  else:
    content = draw.normal(size=(rows, width))
    data = ItemData(content.astype(np.float32), count)
  filled = system.data_init(jax.device_get(params), data, program.key)
  with program.in_force():
    return program.init_state(filled).params
