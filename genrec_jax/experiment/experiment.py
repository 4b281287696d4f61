# SPDX-License-Identifier: Apache-2.0
"""A run: what a config and a workdir stand for, built once for all scripts.

    WORKDIR/config.json  data/  checkpoints/  best/  metrics.jsonl

`Run.start` writes the config (or checks it against the one that is there) and
prepares the data where it is missing; `Run.open` reads a workdir back. Both
give the parts that training, evaluation and serving share.
"""

from collections.abc import Mapping
import dataclasses
import functools
import json
import os
import pathlib
from typing import Any

from flax import linen as nn
import jax
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from genrec_jax.core import finite, processes, rng, seams, sharding
from genrec_jax.core.build import build, build_options, to_plain
from genrec_jax.core.limits import check_numbers
from genrec_jax.core.names import resolve
from genrec_jax.core.rollout_seams import Guard, Rollout
from genrec_jax.core.seams import Evaluator, Search
from genrec_jax.core.sharding import MeshOptions, Placement
from genrec_jax.data.dataset.catalog import Catalog, Users
from genrec_jax.data.dataset.histories import Histories, HistorySource
from genrec_jax.data.prepare.preparation import check_prepared, prepare
from genrec_jax.experiment import checks, searches
from genrec_jax.experiment.artifacts import Artifacts
from genrec_jax.experiment.evaluator_options import check_options
from genrec_jax.experiment.options import PipelineOptions, RequestOptions
from genrec_jax.experiment.program import Program
from genrec_jax.experiment.sections import (
  check_config,
  check_same,
  read_config,
  write_config,
)
from genrec_jax.retrieval.beam_union import HistoryVectorModel
from genrec_jax.retrieval.strategy import check_model
from genrec_jax.train.checkpoints import Checkpoints
from genrec_jax.train.loop import LoopOptions
from genrec_jax.train.state import init_params


@dataclasses.dataclass(frozen=True)
class Run:
  """The parts of one run.

  Attributes:
    workdir: where it lives.
    config: plain nested dict.
    histories: the prepared data set.
    artifacts: what else is read from disk.
    pipeline: see PipelineOptions.
    system: Linen module, built for the catalogue's size.
    objective: the loss.
    optimizer: Optax transformation, or one of train/rowwise.py or frozen.py.
    train: see LoopOptions.
    requests: see RequestOptions.
    evals: what is measured, by name.
    mesh: see MeshOptions.
    retrieval: see Program.
    rollout: likewise, without the data that it reads; see bound_rollout.
    guards: what ends a training, by name.
  """

  workdir: pathlib.Path
  config: dict[str, Any]
  histories: Histories
  artifacts: Artifacts
  pipeline: PipelineOptions
  system: nn.Module
  objective: seams.Objective
  optimizer: Any
  train: LoopOptions
  requests: RequestOptions
  evals: Mapping[str, Evaluator]
  mesh: MeshOptions
  retrieval: Any
  rollout: Rollout | None = None
  guards: Mapping[str, Guard] = dataclasses.field(default_factory=dict)

  @classmethod
  def start(
    cls, config: Mapping[str, Any] | ConfigDict, workdir: str | os.PathLike
  ) -> "Run":
    """Starts or resumes the run of a config in a workdir.

    A workdir belongs to a config from its first checkpoint on: what failed
    before one leaves nothing that another config could spoil.

    Raises:
      ValueError: a bad config, or a workdir of another one (names the keys).
    """
    config = check_config(config)
    workdir = pathlib.Path(workdir)
    path = workdir / "config.json"
    # JSON makes lists of tuples: compare what would be read back.
    config = json.loads(json.dumps(config))
    if path.is_file():
      there = read_config(path)
      if _is_trained(workdir):
        check_same(there, config, path)
    workdir.mkdir(parents=True, exist_ok=True)
    run = cls._build(config, workdir, prepare_data=True)
    processes.first_alone(run.artifacts.make_lists)
    if jax.process_index() == 0:
      write_config(path, config)
    return run

  @classmethod
  def open(cls, workdir: str | os.PathLike) -> "Run":
    """Reads the run of a workdir.

    Raises:
      ValueError: the folder holds no run.
    """
    workdir = pathlib.Path(workdir)
    path = workdir / "config.json"
    if not path.is_file():
      raise ValueError(
        f"{workdir} holds no run: config.json is missing. Train first:"
        f" genrec train --config=... --workdir={workdir}"
      )
    return cls._build(read_config(path), workdir, prepare_data=False)

  @classmethod
  def _build(cls, config, workdir, prepare_data) -> "Run":
    # Everything that can be checked cheaply comes before the data.
    check_numbers({"seed": config["seed"]}, "config")
    pipeline = build_options(
      PipelineOptions, config["pipeline"], where="config.pipeline"
    )
    train = build_options(LoopOptions, config["train"], where="config.train")
    if prepare_data and not _is_trained(workdir):
      checks.check_start(train)
    requests = build_options(
      RequestOptions, config["requests"], where="config.requests"
    )
    evals = _evaluators(config["evals"])
    mesh = build_options(MeshOptions, config["mesh"], where="config.mesh")
    objective = _part(config, "objective", seams.Objective)
    optimizer = build(config["optimizer"], where="config.optimizer")
    checks.check_optimizer(optimizer)
    checks.check_monitor(train, evals)
    checks.check_tasks(objective, pipeline.layout)
    retrieval = None
    if config["retrieval"]:
      retrieval = build(config["retrieval"], where="config.retrieval")
    rollout, guards = None, _guards(config["guards"])
    if config["rollout"]:
      rollout = _part(config, "rollout", Rollout)
    build(config["system"], where="config.system", num_items=1)
    data = pathlib.Path(config["prepared"] or workdir / "data")
    if prepare_data:
      kinds = {"data": seams.Source, "split": seams.Split}
      parts = [_part(config, name, kind) for name, kind in kinds.items()]
      made = check_prepared if config["prepared"] else prepare
      processes.first_alone(lambda: made(*parts, data, **config["filter"]))
    histories = Histories(data)
    artifacts = Artifacts.of(config, workdir, histories)
    pipeline = dataclasses.replace(
      pipeline, layout=pipeline.layout.bind(artifacts)
    )
    system = build(
      config["system"],
      where="config.system",
      num_items=histories.manifest.num_items,
    )
    seams.require(system, seams.Model, "config.system")
    if seams.offers(system, seams.DataInitModel):
      where = "config.pipeline.layout"
      seams.require(pipeline.layout, seams.DataInitLayout, where)
    if retrieval is not None:
      check_model(retrieval, system)
    checks.check_times(system, histories)
    checks.check_levels(system, artifacts)
    pipeline.layout.check_system(system)
    checks.check_length(system, pipeline.layout)
    return cls(
      workdir=workdir,
      config=config,
      histories=histories,
      artifacts=artifacts,
      pipeline=pipeline,
      system=system,
      objective=objective,
      optimizer=optimizer,
      train=train,
      requests=requests,
      evals=evals,
      mesh=mesh,
      retrieval=retrieval,
      rollout=rollout,
      guards=guards,
    )

  @functools.cached_property
  def bound_rollout(self) -> Rollout:
    """The rollout with what it reads: data, codes, runs of rewards.

    Raises:
      ValueError: the config names none, or something is lacking.
    """
    if self.rollout is None:
      raise ValueError(
        f"{self.name} draws no samples: its config.rollout is empty."
      )
    return self.rollout.bind(self)

  @property
  def catalog(self) -> Catalog:
    """Items: ids, titles, training counts."""
    return self.artifacts.catalog

  @property
  def source(self) -> HistorySource:
    """What batches are made of: users, or what the layout reads instead."""
    return self.pipeline.layout.source(self.histories)

  @functools.cached_property
  def users(self) -> Users:
    """User ids."""
    return Users(self.histories.directory)

  @property
  def name(self) -> str:
    """Name of the config, and of the folder of its results."""
    return self.config["name"]

  @property
  def title(self) -> str:
    """What readers are told that it is: the config's title, or its name."""
    return self.config["title"] or self.name

  @property
  def retriever_name(self) -> str:
    """What search uses where nothing else is asked for."""
    if self.retrieval is None:
      return "brute_force"
    return self.config["retrieval"]["name"].rpartition(".")[2]

  @property
  def seed(self) -> int:
    """Seed of parameters, data order and everything drawn."""
    return self.config["seed"]

  @property
  def key(self) -> jax.Array:
    """The run's random key."""
    return jax.random.key(self.seed)

  def program(self, placement: Placement | None = None) -> Program:
    """What the run computes; None: copies on this process's devices."""
    if placement is None:
      return self._local_program
    return Program(
      system=self.system,
      objective=self.objective,
      optimizer=self.optimizer,
      pipeline=self.pipeline,
      requests=self.requests,
      seed=self.seed,
      placement=placement,
      retrieval=self.retrieval,
      rollout=self.rollout,
    )

  @functools.cached_property
  def _local_program(self) -> Program:
    return self.program(sharding.local())

  def init_params(self) -> Any:
    """Fresh parameters of the run's seed, on one device of this process."""
    program = self.program()
    return init_params(self.system, program.example_batch(), self.key)

  def initial_params(self) -> Any:
    """Parameters to start from that the data give, such as codebooks.

    None where the system needs none but the seed's own.
    """
    if not seams.offers(self.system, seams.DataInitModel):
      return None
    data = self.pipeline.layout.init_data()
    key = rng.stream(self.key, "data_init")
    return self.system.data_init(self.init_params(), data, key)

  def abstract_params(self) -> Any:
    """Shapes of the parameters, without computing any."""
    return jax.eval_shape(self.init_params)

  def item_vectors(self, params: Any) -> Float[Array, "rows D"]:
    """Item vectors (V + 1, D), row 0 = padding.

    Args:
      params: parameters on this process's devices.
    """
    vectors = self.program().items(params)
    finite.check_vectors(vectors, "the item vectors")
    return vectors[: self.histories.manifest.num_items + 1]

  def search(
    self,
    params: Any,
    index: Any = None,
    program: Program | None = None,
    *,
    fill: bool = True,
  ) -> Search:
    """The model as a ranker: search(requests, k, allowed).

    Args:
      params: parameters, as the program places them.
      index: a retriever over item_vectors(params). None searches by
        config.retrieval, and builds brute force where there is none.
      program: None for copies on this process's devices.
      fill: where config.retrieval leaves a list short, search more widely than
        it says; False measures what it says.
    """
    program = self.program() if program is None else program
    if program.retrieval is None or index is not None:
      return searches.by_vectors(program, params, index)
    return searches.by_codes(program, params, self.artifacts, fill=fill)

  def index(self, params: Any, retriever: str | None = None) -> Any:
    """An index over the items, for `search`; None: config.retrieval searches.

    Args:
      params: on this process's devices.
      retriever: "brute_force" (exact, on the devices) or "scann" (approximate);
        None = exact, or config.retrieval for a model that generates. Of such
        one that has vectors too, a name asks for these alone: all items by
        the vector of a history, without codes.

    Raises:
      ValueError: another name, or one for a model that generates alone.
    """
    if self.retrieval is not None and retriever is None:
      return None
    kind = self.retriever_of(retriever or "brute_force")
    return kind.build(jax.device_get(self.item_vectors(params)))

  def retriever_of(self, name: str) -> type:
    """The index of a name, which this run's model can be asked with.

    Raises:
      ValueError: as `index`.
    """
    if self.retrieval is not None:
      if not seams.offers(self.system, seams.QueryModel):
        raise ValueError(
          f"retriever={name!r}: this model generates items and has no vectors"
          " to search; config.retrieval says how it is searched"
        )
      if seams.offers(self.system, HistoryVectorModel):
        self.system.check_history_vector()
    return searches.retriever_of(name)

  def check_evals(self) -> None:
    """Raises a ValueError where an evaluator cannot be answered.

    Where training validates, what it watches must be defined too.
    """
    watched = self.train.monitors if self.train.eval_every_steps else ()
    for evaluator in self.evals.values():
      evaluator.check(self, tuple(n for n in watched if n in evaluator.names))
    if self.rollout is not None:
      self.rollout.check(self)

  def validate(
    self, params: Any, program: Program | None = None
  ) -> dict[str, float]:
    """Metrics of the validation part by all evaluators that have any.

    Arguments as in search.
    """
    found: dict[str, float] = {}
    for evaluator in self.evals.values():
      found |= evaluator.validate(self, params, program)
    return found


def _guards(nodes: Mapping[str, Any]) -> dict[str, Guard]:
  """The guards of config.guards, checked."""
  found = {}
  for name, node in nodes.items():
    where = f"config.guards.{name}"
    found[name] = build(node, where=where)
    seams.require(found[name], Guard, where)
  return found


def _part(config: Mapping[str, Any], name: str, kind: type) -> Any:
  """What a node of the config stands for, checked."""
  part = build(config[name], where=f"config.{name}")
  seams.require(part, kind, f"config.{name}")
  return part


def _is_trained(workdir: pathlib.Path) -> bool:
  """Whether a workdir holds a checkpoint."""
  with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
    return checkpoints.latest_step is not None


def _evaluators(nodes: Mapping[str, Any]) -> dict[str, Evaluator]:
  """The evaluators of config.evals: no metric and no file is of two."""
  found: dict[str, Evaluator] = {}
  known: dict[str, str] = {}
  files: dict[str, str] = {}
  for name, options in nodes.items():
    where = f"config.evals.{name}"
    node = to_plain(options)
    if isinstance(node, Mapping) and isinstance(node.get("name"), str):
      check_options(resolve(node["name"], f"{where}.name"), node, where)
    evaluator = build(node, where=where)
    seams.require(evaluator, Evaluator, where)
    for metric in evaluator.names:
      if metric in known:
        raise ValueError(
          f"{where} and config.evals.{known[metric]} both measure {metric!r}:"
          " training could not say which it watches. Drop one."
        )
      known[metric] = name
    file = evaluator.file
    if file and files.setdefault(file, name) != name:
      raise ValueError(
        f"{where} and config.evals.{files[file]} both keep {file}: the one"
        " would overwrite the other. Drop one, or measure it in a run of its"
        " own."
      )
    found[name] = evaluator
  return found
