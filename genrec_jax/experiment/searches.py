# SPDX-License-Identifier: Apache-2.0
"""The searches of a program's model: by item vectors, or by the items' codes.

What they hold of the items is made once, for the parameters they are given.
"""

import dataclasses
import functools
from typing import Any

import jax

from genrec_jax.core import finite, seams, sharding
from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.decoding.trie import Trie
from genrec_jax.experiment.artifacts import Artifacts
from genrec_jax.experiment.program import Program
from genrec_jax.retrieval.brute_force import BruteForce
from genrec_jax.retrieval.generative import Generative
from genrec_jax.retrieval.model_search import ModelSearch
from genrec_jax.retrieval.scann import Scann
from genrec_jax.retrieval.strategy import (
  HostFinish,
  SearchItems,
  Widening,
  needs_vectors,
)

RETRIEVERS = {"brute_force": BruteForce, "scann": Scann}


def retriever_of(name: str) -> type[BruteForce] | type[Scann]:
  """The index of a name; ValueError for one that there is not."""
  if name not in RETRIEVERS:
    hint = choices_hint(name, RETRIEVERS)
    raise ValueError(f"retriever={name!r} is unknown.{hint}")
  return RETRIEVERS[name]


def by_vectors(program: Program, params: Any, index: Any = None) -> ModelSearch:
  """Search by the model's queries.

  Args:
    program: with a layout that is bound to the data set.
    params: as the program places them.
    index: over the items of these parameters; None builds brute force.
  """
  if index is None:
    with program.in_force():
      vectors = program.items(params)
      finite.check_vectors(vectors, "the item vectors")
      index = BruteForce(
        vectors, program.placement.mesh, program.system.num_items
      )

  def request_batch(requests):
    layout = program.pipeline.layout
    batch = layout.shortened(layout.request_batch(requests))
    return sharding.put(batch, program.request_sharding)

  def query(batch):
    with program.in_force():
      return program.query(params, batch)

  return ModelSearch(
    query_fn=query,
    request_batch=request_batch,
    index=index,
    batch_size=program.requests.batch_size,
  )


def by_codes(
  program: Program, params: Any, artifacts: Artifacts, *, fill: bool = True
) -> Generative:
  """Search by the program's strategy, which gets the vectors it asks for.

  Args:
    program: with a layout that is bound to the data set.
    params: as the program places them.
    artifacts: codes of the items, and which of them may be recommended.
    fill: ask again, with more beams, where a list is left short.
  """
  trie = Trie.build(
    artifacts.codes(), program.system.level_sizes, artifacts.live()
  )
  items = jax.device_put(
    SearchItems(trie, artifacts.catalog.count == 0),
    program.placement.replicated,
  )
  if needs_vectors(program.retrieval):
    with program.in_force():
      vectors_RD = program.items(params)
    finite.check_vectors(vectors_RD, "the item vectors")
    items = dataclasses.replace(items, vectors_RD=vectors_RD)

  def request_batch(requests):
    batch = program.pipeline.layout.request_batch(requests)
    return sharding.put(batch, program.request_sharding)

  index = None
  if seams.offers(program.retrieval, HostFinish):
    index = program.retrieval.on_host(items)

  def decoding(program):
    finish = None
    if index is not None:
      first, finish = program.retrieval.in_parts(index)
      program = dataclasses.replace(program, retrieval=first)

    def decode(batch, items, words):
      allowed = words
      if allowed is not None:
        allowed = sharding.put({"": allowed}, program.request_sharding)[""]
      with program.in_force():
        found = program.decode(params, batch, items, allowed)
      if finish is None:
        return found
      mask = None
      if words is not None:
        mask = ItemMask(words, program.system.num_items)
      return finish(jax.device_get(found), mask)

    return decode

  @functools.cache
  def widened(num_results):
    strategy = program.retrieval.widened(num_results)
    return decoding(dataclasses.replace(program, retrieval=strategy))

  can_widen = fill and seams.offers(program.retrieval, Widening)
  return Generative(
    decode_fn=decoding(program),
    request_batch=request_batch,
    items=items,
    batch_size=program.requests.batch_size,
    num_results=program.retrieval.num_results,
    widened=widened if can_widen else None,
  )
