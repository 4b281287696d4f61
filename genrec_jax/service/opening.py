# SPDX-License-Identifier: Apache-2.0
"""From a trained workdir to what is served of it.

    served, golden = open_source(Source("runs/a", ranker="runs/b"), Shapes())

The model lies on one device, whichever others there are: a batch is small, and
who has several devices starts a service for each. Golden answers are what the
offline code says of the same workdir (golden.py), and what was kept with a
bundle of it (golden_bundle.py).
"""

from collections.abc import Mapping
import dataclasses

import jax

from genrec_jax.core import seams
from genrec_jax.core.loaded_model import LoadedModel
from genrec_jax.core.seams import Search
from genrec_jax.core.sharding import MeshOptions
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.trained_ranker import ranks
from genrec_jax.ranking.stages import RankingStage
from genrec_jax.service import resumption
from genrec_jax.service.golden import GoldenAnswer, golden_of
from genrec_jax.service.golden_bundle import of_bundle
from genrec_jax.service.resumption import Resumption
from genrec_jax.service.served import Served
from genrec_jax.service.shapes import Shapes
from genrec_jax.serving.loading import load, load_ranker
from genrec_jax.serving.ranker import Ranker
from genrec_jax.serving.recommender import Recommender


@dataclasses.dataclass(frozen=True)
class Source:
  """Where a version comes from.

  Attributes:
    workdir: of a trained run.
    ranker: of a second one that orders what is found; None = nobody does.
    retriever: "brute_force" or "scann"; None = the config's.
    checkpoint: "best" on validation, or the "latest".
    num_candidates: items that are found for the ranker.
    weights: of the value that it orders by; "" = its own.
    pre_ranker: of a third one that orders what is found for the ranker.
    num_pre_candidates: items that are found for it.
    bundle: folder that genrec export has made of the run, whose golden answers
      the version must give as well; None = there is none.
  """

  workdir: str
  ranker: str | None = None
  retriever: str | None = None
  checkpoint: str = "best"
  num_candidates: int = 100
  weights: str = ""
  pre_ranker: str | None = None
  num_pre_candidates: int = 500
  bundle: str | None = None


@dataclasses.dataclass(frozen=True)
class Opened:
  """A version that is not compiled yet.

  Attributes:
    served: the model.
    golden: what it must answer.
    identity: of the run's checkpoint; "" where several runs answer together.
  """

  served: Served
  golden: tuple[GoldenAnswer, ...]
  identity: str = ""


def open_source(
  source: Source, shapes: Shapes, *, name: str = "model", num_golden: int = 0
) -> Opened:
  """Reads a version's parameters and puts its parts together.

  Args:
    source: where from.
    shapes: what it is to be compiled for.
    name: of the version.
    num_golden: users of whom the offline answer is computed beside.

  Raises:
    ValueError: no run, no checkpoint, one that is damaged or not finite, a
      ranker that is none or of other data, a bundle that is of another run.
  """
  opened, model = _opened(source, shapes, name)
  golden: tuple[GoldenAnswer, ...] = ()
  if num_golden and model is not None:
    golden = golden_of(model, num_golden, opened.shapes.lists[0])
  if source.bundle is not None:
    golden += of_bundle(source.bundle, opened)
  trained = None if model is None else model.trained
  return Opened(opened, golden, "" if trained is None else trained.identity)


def _opened(
  source: Source, shapes: Shapes, name: str
) -> tuple[Served, Recommender | None]:
  """What is served, and what says the same offline; None of a ranker alone."""
  second, between = None, []
  if source.ranker is not None:
    second = _ranker(source.ranker, source, shapes)
  if source.pre_ranker is not None:
    if second is None:
      raise ValueError(
        f"pre_ranker={source.pre_ranker} orders items for a ranker, and none is"
        " named: give ranker too."
      )
    light = _ranker(source.pre_ranker, source, shapes)
    between = [RankingStage(light, source.num_pre_candidates)]
  run = Run.open(source.workdir)
  finds = run.retrieval is not None or seams.offers(
    run.system, seams.QueryModel
  )
  if not finds and second is None and ranks(run):
    second = _ranker(source.workdir, source, shapes)
    served = Served(
      second.histories,
      {},
      shapes=shapes,
      ranker=second,
      scores=resumption.of_ranker(second),
      name=name,
    )
    return served, None
  model = load(
    source.workdir, retriever=source.retriever, checkpoint=source.checkpoint
  )
  run, params = model.trained.run, model.trained.loaded.params
  codes = None
  if run.retrieval is not None:
    codes = run.artifacts.codes()
    # Longer lists are the work of a wider search, and of its programs.
    shapes = shapes.bounded(run.retrieval.num_results)
  orders = second
  if orders is None and ranks(run):
    orders = _ranker(source.workdir, source, shapes)
  searches, lists = _sized(run, params, source.retriever, shapes)
  served = Served(
    run.histories,
    searches,
    shapes=shapes,
    filter_history=model.filter_history,
    ranker=orders,
    num_candidates=None if second is None else source.num_candidates,
    weights=source.weights,
    between=between,
    codes=codes,
    lists=lists,
    scores=resumption.of_ranker(orders),
    name=name,
  )
  for stage in between:
    model = model.ranked_by(stage.ranker, stage.num_candidates)
  if second is not None:
    model = model.ranked_by(second, source.num_candidates, source.weights)
  return served, model


def _ranker(workdir: str, source: Source, shapes: Shapes) -> Ranker:
  return load_ranker(
    workdir,
    checkpoint=source.checkpoint,
    micro_batch=shapes.micro_batch,
  )


def _sized(
  run: Run, params: object, retriever: str | None, shapes: Shapes
) -> tuple[Mapping[int, Search], Resumption | None]:
  """The run's search by the size of a batch, which share what they hold, and
  how its model goes on with a history."""
  devices = jax.local_devices()
  program = run.program()
  if len(devices) > 1:
    program = run.program(MeshOptions().place(devices[:1]))
  index = None
  if run.retrieval is not None or retriever not in (None, "brute_force"):
    index = run.index(params, retriever)
  mine = jax.device_put(params, program.placement.replicated)
  search = run.search(mine, index, program)
  sized = {
    size: dataclasses.replace(search, batch_size=size)
    for size in shapes.batches
  }
  loaded = LoadedModel(run.system, mine, program.ask_of, program.in_force)
  epoch = run.histories.manifest.epoch_seconds
  layout = program.pipeline.layout
  if program.retrieval is None or index is not None:
    return sized, resumption.of_vectors(loaded, layout, epoch)
  strategy = program.retrieval
  return sized, resumption.of_codes(loaded, layout, strategy, epoch)
