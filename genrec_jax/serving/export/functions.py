# SPDX-License-Identifier: Apache-2.0
"""What a run answers, as pure functions of dicts of arrays.

    query     (parameters, batch)                     -> query_BD
    items     (parameters)                            -> vectors_RD
    retrieve  (query_BD, vectors_RD, allowed_BW)      -> ids_BK, scores_BK
    decode    (parameters, batch, items, allowed_BW)  -> ids, scores, codes
    score     (parameters, batch)                     -> logits_BNT

A run has those of its kind: the first three find items by vectors, `decode`
finds them by codes, `score` says what a user would do with given ones. Parts of
this library that hold arrays (parameters, a trie) come in as dicts by path, so
that who calls a program needs none of its classes. Parameters are arguments and
no constants: a program is as small for a large model as for a small one.
`allowed_BW` are the words of an ItemMask (data/item_mask.py).
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from genrec_jax.core import seams
from genrec_jax.data.dataset.impressions import no_impressions
from genrec_jax.data.dataset.requests import no_requests
from genrec_jax.data.item_mask import num_words
from genrec_jax.decoding.trie import Trie
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.trained_ranker import ranks
from genrec_jax.ops.top_k import blockwise_top_k
from genrec_jax.retrieval.strategy import (
  BoundModel,
  SearchItems,
  Widening,
  needs_vectors,
)
from genrec_jax.serving.export import tensors
from genrec_jax.serving.export.options import ExportOptions

# Item vectors that are scored at once.
_BLOCK_ITEMS = 65_536
# Bits of a word of a mask.
_BITS = 32


@dataclasses.dataclass(frozen=True)
class Function:
  """One of the functions above.

  Attributes:
    name: as above.
    call: pure.
    arguments: what the arguments are called.
    shapes: number of requests (a number, or a symbol of jax.export) -> the
      shapes of the arguments.
    by_rows: whether requests are among the arguments.
  """

  name: str
  call: Callable[..., Any]
  arguments: tuple[str, ...]
  shapes: Callable[[Any], tuple[Any, ...]]
  by_rows: bool = True


@dataclasses.dataclass(frozen=True)
class Functions:
  """Those of one run.

  Attributes:
    run: of `with_results`, its layout bound.
    options: sizes of lists.
    parameters: arrays or shapes, by path.
    items: of `search_items`.
  """

  run: Run
  options: ExportOptions
  parameters: Mapping[str, Any]
  items: SearchItems | None = None

  def all(self) -> list[Function]:
    """Every function that the run has.

    Raises:
      ValueError: a run that neither finds nor ranks.
    """
    run, found = self.run, []
    if run.retrieval is not None:
      if needs_vectors(run.retrieval):
        found.append(self._items())
      found.append(self._decode())
    elif seams.offers(run.system, seams.QueryModel):
      found += [self._query(), self._items(), self._retrieve()]
    if ranks(run):
      found.append(self._score())
    if not found:
      raise ValueError(
        f"{run.workdir} holds nothing to export: {run.name} neither finds items"
        " nor says what a user would do with them."
      )
    return found

  @property
  def num_results(self) -> int:
    """Places of a list."""
    if self.run.retrieval is not None:
      return self.run.retrieval.num_results
    asked = self.options.num_results or self.run.requests.num_results
    return min(asked, self.run.histories.manifest.num_items)

  @property
  def num_candidates(self) -> int:
    """Items of a request to a ranker."""
    own = self.options.num_candidates
    return self.run.pipeline.layout.num_candidates if own is None else own

  def _query(self) -> Function:
    def query(parameters, batch):
      return self._ask(parameters, batch, method="query").astype(jnp.float32)

    def shapes(rows):
      return _shapes(self.parameters), self._request_shapes(rows)

    return Function("query", query, ("parameters", "batch"), shapes)

  def _items(self) -> Function:
    return Function(
      "items",
      self._vectors,
      ("parameters",),
      lambda rows: (_shapes(self.parameters),),
      by_rows=False,
    )

  def _retrieve(self) -> Function:
    def retrieve(query_BD, vectors_RD, allowed_BW):
      num_items = self.run.histories.manifest.num_items
      # A table may be filled up: of the rows behind the last item no bit is
      # set, but there must be one to read.
      words = -(-vectors_RD.shape[0] // _BITS)
      missing = max(0, words - allowed_BW.shape[1])
      ids_BK, scores_BK = blockwise_top_k(
        query_BD,
        vectors_RD,
        self.num_results,
        num_valid=num_items + 1,
        block=_BLOCK_ITEMS,
        allowed_BW=jnp.pad(allowed_BW, ((0, 0), (0, missing))),
      )
      return {"ids_BK": ids_BK, "scores_BK": scores_BK}

    def shapes(rows):
      vectors_RD = jax.eval_shape(self._vectors, _shapes(self.parameters))
      query_BD = jax.ShapeDtypeStruct((rows, vectors_RD.shape[1]), np.float32)
      return query_BD, vectors_RD, self._mask_shape(rows)

    names = ("query_BD", "vectors_RD", "allowed_BW")
    return Function("retrieve", retrieve, names, shapes)

  def _decode(self) -> Function:
    strategy, like = self.run.retrieval, self.items
    if needs_vectors(strategy):
      vectors_RD = jax.eval_shape(self._vectors, _shapes(self.parameters))
      like = dataclasses.replace(like, vectors_RD=vectors_RD)
    names, structure = list(tensors.named(like)), jax.tree.structure(like)

    def decode(parameters, batch, items, allowed_BW):
      searched = jax.tree.unflatten(structure, [items[n] for n in names])
      ask = functools.partial(self._ask, parameters)
      found = strategy(BoundModel(ask, batch), searched, allowed_BW)
      ids_BK, scores_BK, codes_BKM, *said = found
      answer = {
        "ids_BK": ids_BK,
        "scores_BK": scores_BK,
        "codes_BKM": codes_BKM,
      }
      return {**answer, **(said[0] if said else {})}

    def shapes(rows):
      return (
        _shapes(self.parameters),
        self._request_shapes(rows),
        _shapes(tensors.named(like)),
        self._mask_shape(rows),
      )

    arguments = ("parameters", "batch", "items", "allowed_BW")
    return Function("decode", decode, arguments, shapes)

  def _score(self) -> Function:
    def score(parameters, batch):
      return self._ask(parameters, batch, method="score").astype(jnp.float32)

    def batch_of(rows):
      layout = self.run.pipeline.layout
      return layout.impression_batch(no_impressions(rows, self.num_candidates))

    def shapes(rows):
      return _shapes(self.parameters), _with_rows(batch_of, rows)

    return Function("score", score, ("parameters", "batch"), shapes)

  def _vectors(self, parameters):
    return self._ask(parameters, method="items").astype(jnp.float32)

  def _ask(self, parameters, *args, method):
    params = traverse_util.unflatten_dict(dict(parameters), sep="/")
    return self.run.system.apply({"params": params}, *args, method=method)

  def _request_shapes(self, rows):
    layout = self.run.pipeline.layout
    return _with_rows(lambda n: layout.request_batch(no_requests(n)), rows)

  def _mask_shape(self, rows):
    words = num_words(self.run.histories.manifest.num_items)
    return jax.ShapeDtypeStruct((rows, words), np.uint32)


def with_results(run: Run, num_results: int | None) -> Run:
  """The run, its codes searched for so many items; None = as it says.

  Raises:
    ValueError: its search makes lists of one size alone.
  """
  strategy = run.retrieval
  if strategy is None or num_results in (None, strategy.num_results):
    return run
  if not seams.offers(strategy, Widening):
    raise ValueError(
      f"num_results={num_results}: config.retrieval"
      f" ({type(strategy).__name__}) makes lists of {strategy.num_results} and"
      " no others."
    )
  return dataclasses.replace(run, retrieval=strategy.widened(num_results))


def search_items(run: Run) -> SearchItems | None:
  """What `decode` searches, without vectors; None for a run without codes."""
  if run.retrieval is None:
    return None
  codes, live = run.artifacts.codes(), run.artifacts.live()
  trie = Trie.build(codes, run.system.level_sizes, live)
  return SearchItems(trie, run.catalog.count == 0)


def _shapes(tree: Any) -> Any:
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def _with_rows(make: Callable[[int], Mapping[str, np.ndarray]], rows: Any):
  """Shapes of a batch of so many requests.

  Raises:
    ValueError: an array whose size is neither fixed nor the number of requests.
  """

  def one(name, two, three):
    shape = list(two.shape)
    for axis, sizes in enumerate(zip(two.shape, three.shape, strict=True)):
      if sizes == (2, 3):
        shape[axis] = rows
      elif sizes[0] != sizes[1]:
        raise ValueError(
          f"{name} of a batch has shape {two.shape} of 2 requests and"
          f" {three.shape} of 3: a program needs arrays of a fixed size for"
          " each request."
        )
    return jax.ShapeDtypeStruct(tuple(shape), two.dtype)

  two, three = make(2), make(3)
  return {name: one(name, two[name], three[name]) for name in two}
