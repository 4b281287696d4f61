# SPDX-License-Identifier: Apache-2.0
"""What a config computes on a mesh: shapes, shardings and jitted functions.

    program = Program.from_config(config, num_items, placement)
    with program.in_force():
      state = program.init_state()
      state, metrics = program.train_step(state, batch)

It needs no data. genrec train runs these functions; genrec compile
compiles the same ones from `abstract_state` and `abstract_batch`, for devices
that nobody has.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genrec_jax.core import seams
from genrec_jax.core.build import build, build_options
from genrec_jax.core.rollout_seams import Rollout
from genrec_jax.core.sharding import Placement
from genrec_jax.data.dataset.impressions import no_impressions
from genrec_jax.data.dataset.requests import no_requests
from genrec_jax.decoding.trie import Trie
from genrec_jax.experiment.options import PipelineOptions, RequestOptions
from genrec_jax.ops.top_k import sharded_top_k
from genrec_jax.retrieval.strategy import (
  BoundModel,
  SearchItems,
  needs_vectors,
)
from genrec_jax.train.frozen import holding_still
from genrec_jax.train.state import TrainState, init_params, init_state
from genrec_jax.train.step import make_train_step
from genrec_jax.train.tables import Tables

# Item vectors scored at once by a device.
_BLOCK_ITEMS = 65_536


@dataclasses.dataclass(frozen=True)
class Program:
  """A system, its loss and its optimizer on a mesh.

  Attributes:
    system: Linen module, built for the catalogue's size.
    objective: the loss.
    optimizer: Optax transformation, or one of train/rowwise.py or frozen.py.
    pipeline: shapes of a batch.
    requests: sizes of a batch of requests and of its lists.
    seed: of everything drawn.
    placement: the mesh and its rules.
    retrieval: how a system that generates is searched, a Strategy of
      retrieval/strategy.py; None for systems that do not generate.
    rollout: what makes samples to train on; None where nothing does.
  """

  system: nn.Module
  objective: seams.Objective
  optimizer: Any
  pipeline: PipelineOptions
  requests: RequestOptions
  seed: int
  placement: Placement
  retrieval: Any = None
  rollout: Rollout | None = None

  @classmethod
  def from_config(
    cls, config: Mapping[str, Any], num_items: int, placement: Placement
  ) -> "Program":
    """Builds what a config (checked by experiment/experiment.py) names."""

    def part(name, **extra):
      return build(config[name], where=f"config.{name}", **extra)

    return cls(
      system=part("system", num_items=num_items),
      objective=part("objective"),
      optimizer=part("optimizer"),
      pipeline=build_options(
        PipelineOptions, config["pipeline"], where="config.pipeline"
      ),
      requests=build_options(
        RequestOptions, config["requests"], where="config.requests"
      ),
      seed=config["seed"],
      placement=placement,
      retrieval=part("retrieval") if config["retrieval"] else None,
      rollout=part("rollout") if config["rollout"] else None,
    )

  def in_force(self):
    """Context in which the functions are traced and called."""
    return jax.set_mesh(self.placement.mesh)

  # Shapes and shardings.

  def example_batch(self, rows: int = 1) -> dict[str, np.ndarray]:
    """A batch of padding in the training shapes."""
    layout, length = self.pipeline.layout, self.pipeline.row_length
    zeros_BL = np.zeros((rows, length), np.int32)
    rows_BLC = np.zeros((rows, length, layout.num_columns), np.int32)
    return layout.batch(rows_BLC, zeros_BL, zeros_BL)

  def abstract_batch(self) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and shardings of the global training batch."""
    size = self.pipeline.batch_size
    self.placement.check_batch_size(size, "config.pipeline.batch_size")
    return _with_shardings(
      jax.eval_shape(lambda: self.example_batch(size)), self.placement.by_rows
    )

  def abstract_train_arguments(self) -> tuple:
    """Shapes of all that `train_step` takes.

    Raises:
      ValueError: samples whose rewards are read from another run.
    """
    found = (self.abstract_state(), self.abstract_batch())
    if self.rollout is None:
      return found
    size = self.rollout.requests
    self.placement.check_batch_size(size, "config.rollout.requests")
    shapes = jax.eval_shape(lambda: self.rollout.shapes(self.pipeline.layout))
    requests = _with_shardings(shapes, self.placement.by_rows)
    constants = {"trie": self.abstract_search_items().trie, "reward": None}
    return (*found, requests, constants)

  def abstract_requests(self) -> dict[str, jax.ShapeDtypeStruct]:
    """The same of a batch of requests, one history of max_length per row."""
    requests = no_requests(self.requests.batch_size)
    return _with_shardings(
      jax.eval_shape(lambda: self.pipeline.layout.request_batch(requests)),
      self.request_sharding,
    )

  def abstract_impressions(
    self, num_candidates: int | None = None
  ) -> dict[str, jax.ShapeDtypeStruct]:
    """The same of a batch of requests with candidates to be scored.

    Args:
      num_candidates: of a request; None = the layout's.
    """
    layout = self.pipeline.layout
    if num_candidates is None:
      num_candidates = layout.num_candidates
    nothing = no_impressions(self.requests.batch_size, num_candidates)
    return _with_shardings(
      jax.eval_shape(lambda: layout.impression_batch(nothing)),
      self.request_sharding,
    )

  def abstract_vectors(self) -> jax.ShapeDtypeStruct:
    """Shape and sharding of what `items` returns."""
    with self.in_force():
      vectors = jax.eval_shape(self.items, self.abstract_state().params)
    return _with_shardings(vectors, self.placement.by_items)

  def abstract_search_items(self) -> SearchItems:
    """What `decode` searches, for a catalogue whose codes nobody has yet.

    The trie's shapes are those of codes drawn evenly from all levels but the
    last, which tells items apart: as unlike one another as a tokenizer can
    make them.
    """
    sizes = self.system.level_sizes
    rows = self.system.num_items + 1
    draw = np.random.default_rng(self.seed)
    codes = np.stack([draw.integers(0, size, rows) for size in sizes], axis=1)
    trie = Trie.build(codes.astype(np.int32), sizes)
    known = jax.eval_shape(lambda: SearchItems(trie, jnp.zeros(rows, bool)))
    known = _with_shardings(known, self.placement.replicated)
    if not needs_vectors(self.retrieval):
      return known
    return dataclasses.replace(known, vectors_RD=self.abstract_vectors())

  @property
  def request_sharding(self) -> jax.sharding.NamedSharding:
    """Requests are split like training rows where their number allows it."""
    if self.placement.divides(self.requests.batch_size):
      return self.placement.by_rows
    return self.placement.replicated

  @functools.cached_property
  def state_shardings(self) -> TrainState:
    """A NamedSharding for every array of the state."""
    return self.placement.shardings(
      self._state_shapes, self.system.logical_axes
    )

  def abstract_state(self) -> TrainState:
    """Shapes and shardings of the state, without computing any."""
    return _with_shardings(self._state_shapes, self.state_shardings)

  # Jitted functions; call and trace them inside `in_force`.

  def init_state(self, params: Any = None) -> TrainState:
    """A fresh state; every device makes its own part.

    Args:
      params: host arrays to start from; None for the seed's own.
    """
    if params is None:
      return jax.jit(self._init_state, out_shardings=self.state_shardings)()
    on_devices = jax.tree.map(
      lambda x, s: jax.make_array_from_callback(x.shape, s, x.__getitem__),
      jax.tree.map(np.asarray, params),
      self.state_shardings.params,
    )
    return jax.jit(self._state_of, out_shardings=self.state_shardings)(
      on_devices
    )

  @functools.cached_property
  def train_step(self):
    """(state, batch) -> (state, metrics); the old state is given up.

    With a rollout (state, batch, requests, constants) -> (state, metrics).
    """
    step = make_train_step(
      self.system,
      self.objective,
      self._optimizer,
      self.key,
      self.placement,
      self.rollout,
    )
    by_rows, replicated = self.placement.by_rows, self.placement.replicated
    more = () if self.rollout is None else (by_rows, replicated)
    return jax.jit(
      step,
      in_shardings=(self.state_shardings, by_rows, *more),
      out_shardings=(self.state_shardings, replicated),
      donate_argnums=0,
    )

  @functools.cached_property
  def query(self):
    """(params, requests) -> query vectors (B, D), on every device."""
    return jax.jit(
      lambda params, batch: self._apply(params, batch, method="query"),
      in_shardings=(self.state_shardings.params, self.request_sharding),
      out_shardings=self.placement.replicated,
    )

  @functools.cached_property
  def items(self):
    """params -> item vectors (rows, D), rows split over all devices.

    Row 0 is padding; rows beyond num_items fill the table up.
    """

    def vectors(params):
      items_RD = self._apply(params, method="items")
      missing = -len(items_RD) % self.placement.mesh.size
      return jnp.pad(items_RD, ((0, missing), (0, 0))) if missing else items_RD

    return jax.jit(
      vectors,
      in_shardings=(self.state_shardings.params,),
      out_shardings=self.placement.by_items,
    )

  @functools.cached_property
  def retrieve(self):
    """(query (B, D), items) -> ids and scores (B, K) of the best items.

    items is what `items` returns; K is config.requests.num_results.
    """

    def search(query_BD, items_RD):
      return sharded_top_k(
        query_BD,
        items_RD,
        None,
        k=self.requests.num_results,
        num_valid=self.system.num_items + 1,
        block=_BLOCK_ITEMS,
        mesh=self.placement.mesh,
      )

    return jax.jit(
      search,
      in_shardings=(self.placement.replicated, self.placement.by_items),
      out_shardings=self.placement.replicated,
    )

  @functools.cached_property
  def decode(self):
    """(params, requests, SearchItems, allowed) -> ids, scores, codes.

    Of the strategy in `retrieval`; allowed are the words of an ItemMask, which
    items a request may get (None: all).
    """

    def search(params, batch, items, allowed_BW):
      model = BoundModel(functools.partial(self._apply, params), batch)
      return self.retrieval(model, items, allowed_BW)

    replicated = self.placement.replicated
    return jax.jit(
      search,
      in_shardings=(
        self.state_shardings.params,
        self.request_sharding,
        SearchItems(replicated, replicated, self.placement.by_items),
        self.request_sharding,
      ),
      out_shardings=replicated,
    )

  @functools.cached_property
  def watch(self):
    """(params, requests, constants, rng) -> what the rollout's watch finds."""

    def watch(params, requests, constants, rng):
      ask = self.ask_of(params)
      return self.rollout.watch(ask, requests, constants, rng)

    replicated = self.placement.replicated
    return jax.jit(
      watch,
      in_shardings=(
        self.state_shardings.params,
        self.request_sharding,
        replicated,
        replicated,
      ),
      out_shardings=replicated,
    )

  @functools.cached_property
  def score(self):
    """(params, impressions) -> logits (B, N, T), on every device."""
    return jax.jit(
      lambda params, batch: self._apply(params, batch, method="score"),
      in_shardings=(self.state_shardings.params, self.request_sharding),
      out_shardings=self.placement.replicated,
    )

  @property
  def steps(self) -> tuple[str, ...]:
    """Names of the jitted functions that this system has a use for."""
    if self.retrieval is not None:
      vectors = ("items",) if needs_vectors(self.retrieval) else ()
      found = ("train", *vectors, "decode")
    elif seams.offers(self.system, seams.QueryModel):
      found = ("train", "query", "items", "retrieve")
    else:
      found = ("train",)
    if seams.offers(self.system, seams.ScoreModel):
      found += ("score",)
    return found

  @property
  def key(self) -> jax.Array:
    """The run's random key."""
    return jax.random.key(self.seed)

  def ask_of(self, params: Any) -> Callable[..., Any]:
    """The system bound to parameters: ask(*arguments, method=NAME)."""
    return functools.partial(self._apply, params)

  def _apply(self, params, *args, method):
    bound = self._tables.bind(params)
    return self.system.apply({"params": bound}, *args, method=method)

  @property
  def _tables(self) -> Tables:
    return Tables(self.system.logical_axes, self.placement)

  @property
  def _optimizer(self) -> Any:
    """The optimizer, which holds still what is data, or set by the system."""
    paths = ()
    if seams.offers(self.system, seams.ConstantModel):
      paths += tuple(self.system.constants)
    if seams.offers(self.system, seams.CarryingModel):
      paths += tuple(self.system.carried)
    return holding_still(self.optimizer, paths)

  @functools.cached_property
  def _state_shapes(self) -> TrainState:
    return jax.eval_shape(self._init_state)

  def _init_state(self) -> TrainState:
    return self._state_of(
      init_params(self.system, self.example_batch(), self.key)
    )

  def _state_of(self, params: Any) -> TrainState:
    state = init_state(params, self._optimizer, self._tables)
    if self.rollout is None:
      return state
    return dataclasses.replace(state, held=self.rollout.hold(params))


def _with_shardings(shapes: Any, shardings: Any) -> Any:
  """ShapeDtypeStructs with shardings; one sharding may stand for all."""
  if isinstance(shardings, jax.sharding.Sharding):
    shardings = jax.tree.map(lambda _: shardings, shapes)
  return jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
    shapes,
    shardings,
  )
