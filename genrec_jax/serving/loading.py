# SPDX-License-Identifier: Apache-2.0
"""From the workdir of a training to a recommender or a ranker.

Both read WORKDIR/config.json, the prepared data beside it and the PARAMETERS of
the best-on-validation checkpoint, onto whatever devices there are.
"""

import dataclasses
from typing import Any

from genrec_jax.core import seams
from genrec_jax.evaluation.next_item import NextItem
from genrec_jax.experiment.ensemble_options import EnsembleOptions
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import load_params
from genrec_jax.experiment.trained_ranker import TrainedRanker, ranks
from genrec_jax.retrieval.beam_lists import BeamLists
from genrec_jax.retrieval.strategy import check_model
from genrec_jax.serving import arguments
from genrec_jax.serving.ranker import Ranker
from genrec_jax.serving.recommender import Recommender
from genrec_jax.serving.trained import Trained


def load(
  workdir: Any,
  *,
  retriever: str | None = None,
  list_size: Any = None,
  checkpoint: str = "best",
  ensemble: Any = None,
  ranker: Any = None,
  num_candidates: Any = None,
  weights: Any = "",
  assume: Any = "",
) -> Recommender:
  """Returns the recommender of a trained workdir.

  Args:
    workdir: a folder that genrec train has filled.
    retriever: "brute_force" (exact, on the devices) or "scann" (approximate);
      None takes the config's, or else brute force.
    list_size: a model that writes lists writes one of so many items, each
      behind those before it (retrieval/beam_lists.py); None = as the config
      says.
    checkpoint: "best" on validation or the "latest", which is also taken, with
      a notice, where nothing was validated.
    ensemble: retrievers that answer together in this one's place: a table of
      them, or the path of its JSON file (experiment/ensemble_options.py).
    ranker: another trained workdir, or the same, that orders what is found
      (ranking/two_stage.py); its "best" or "latest" likewise.
    num_candidates: items that are found for it; None = 100, or the ensemble's
      num_results.
    weights: of the value that it orders by, such as "click=1,like=10".
    assume: what comes of an item that it has placed, where it makes the list
      place by place ("likely", "sampled", "expected", "unknown"); "" = by
      value.

  Raises:
    ValueError: no path, no run, no checkpoint, one of another architecture, a
      run that ranks alone, a model that writes no lists or shorter ones, a
      ranker that is none or of other data or makes no lists, something that is
      assumed without a ranker, members of other data, or fewer than one
      candidate.
  """
  if assume and ranker is None:
    raise ValueError(
      f"assume={assume!r} is of a ranker, and none is named: give ranker too,"
      " which may be this run."
    )
  options = None if ensemble is None else EnsembleOptions.of(ensemble)
  if num_candidates is None:
    num_candidates = 100 if options is None else options.num_results
  num_candidates = arguments.whole("num_candidates", num_candidates, least=1)
  run = Run.open(arguments.path("workdir", workdir))
  finds = run.retrieval is not None or seams.offers(
    run.system, seams.QueryModel
  )
  if not finds and ranks(run):
    raise ValueError(
      f"{workdir} is a ranker: {run.name} is trained to order given items and"
      f" finds none. Use genrec rank --workdir={workdir}, or"
      " genrec_jax.load_ranker."
    )
  asked = run
  if list_size is not None:
    asked = _writing(run, arguments.whole("list_size", list_size, least=1))
  loaded = load_params(run, checkpoint)
  model = Recommender.of_run(asked, loaded.params, retriever)
  model.trained = Trained(run, loaded)
  measured = NextItem.of(run)
  model.filter_history = measured.filter_history
  last = measured.request_time == "last"
  model.asked_at_last_event = last and run.system.uses_time
  if options is not None:
    model = model.searched_by(
      options.ensemble(
        run,
        model.search,
        checkpoint=checkpoint,
        filter_history=measured.filter_history,
      )
    )
  if ranker is None:
    return model
  second = load_ranker(
    ranker, checkpoint=checkpoint, micro_batch=num_candidates
  )
  return model.ranked_by(second, num_candidates, weights, assume)


def _writing(run: Run, list_size: int) -> Run:
  """A run that is asked for lists of this size."""
  strategy = BeamLists(list_size)
  check_model(strategy, run.system)
  if list_size > run.system.list_size:
    raise ValueError(
      f"list_size={list_size}: the model of {run.name} is trained to write"
      f" {run.system.list_size} items; ask for as many at most."
    )
  return dataclasses.replace(run, retrieval=strategy)


def load_ranker(
  workdir: Any,
  *,
  checkpoint: str = "best",
  micro_batch: int = 256,
) -> Ranker:
  """Returns the ranker of a trained workdir.

  Args:
    workdir: a folder that genrec train has filled.
    checkpoint: "best" on validation or the "latest".
    micro_batch: candidates that are scored at a time.

  Raises:
    ValueError: no path, no run, no checkpoint, or a model that is no ranker.
  """
  found = TrainedRanker.open(
    arguments.path("workdir", workdir),
    checkpoint=checkpoint,
    micro_batch=micro_batch,
  )
  return Ranker(found.scorer, found.value.tasks, found.histories, found.value)
