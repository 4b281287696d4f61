# SPDX-License-Identifier: Apache-2.0
"""How a loaded model goes on with histories of which a part has been read.

    of_vectors(...)   of_codes(...)   of_ranker(...)     None where it cannot

A model says so itself (core/resuming_seams.py); besides, its layout must make
arrays that have every place side by side, and a search by codes must ask for a
decoder alone.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any

import numpy as np

from genrec_jax.core import seams
from genrec_jax.core.loaded_model import LoadedModel
from genrec_jax.core.resuming_seams import (
  ResumingCandidates,
  ResumingDecoder,
  ResumingQuery,
)
from genrec_jax.data.dataset.impressions import no_impressions
from genrec_jax.data.dataset.requests import Requests, no_requests
from genrec_jax.retrieval.generative import Generative
from genrec_jax.retrieval.model_search import ModelSearch
from genrec_jax.retrieval.strategy import StartedModel, Strategy
from genrec_jax.serving.ranker import Ranker

Arrays = Mapping[str, np.ndarray]
# (ask, what the model says of a history, ...) -> what a program returns.
Finish = Callable[..., Any]


@dataclasses.dataclass(frozen=True)
class Resumption:
  """See the module docstring.

  Attributes:
    loaded: the model.
    method: of it, one of core/resuming_seams.py.
    example: arrays of one row of the longest history.
    epoch_seconds: of the times in them.
    rows: requests -> such arrays; None of a ranker, whose histories are given.
    shortened: arrays -> the same in shorter rows, where they will do.
    bind: (search, arrays of a group, run) -> the search of that group, which
      has run(finish, arrays, ...) read it; None of a ranker.
  """

  loaded: LoadedModel
  method: str
  example: Arrays
  epoch_seconds: int
  rows: Callable[[Requests], Arrays] | None = None
  shortened: Callable[[Arrays], Arrays] = dict
  bind: Callable[..., Any] | None = None


def as_started(ask: Any, started: Any) -> Any:
  """A Finish: what the model says."""
  del ask
  return started


def of_vectors(
  loaded: LoadedModel, layout: Any, epoch_seconds: int | None
) -> Resumption | None:
  """Of a model that is searched by vectors.

  Args:
    loaded: the model.
    layout: that makes its requests, bound to the data set.
    epoch_seconds: of the data set.
  """

  def bind(
    search: ModelSearch, arrays: Mapping[str, Any], run: Any
  ) -> ModelSearch:
    return dataclasses.replace(
      search,
      request_batch=lambda requests: arrays,
      query_fn=functools.partial(run, as_started),
    )

  if not _resumes(loaded.system, ResumingQuery):
    return None
  found = Resumption(
    loaded,
    "resume_query",
    layout.request_batch(no_requests(1)),
    epoch_seconds or 0,
    layout.request_batch,
    layout.shortened,
    bind,
  )
  return found if _side_by_side(found.example) else None


def of_codes(
  loaded: LoadedModel,
  layout: Any,
  strategy: Strategy,
  epoch_seconds: int | None,
) -> Resumption | None:
  """Of a model that is searched by the codes that it generates.

  Args:
    loaded: the model.
    layout: as of of_vectors.
    strategy: of the search.
    epoch_seconds: likewise.
  """

  @functools.cache
  def finish(num_results):
    chosen = strategy if num_results is None else strategy.widened(num_results)

    def search(ask, started, items, allowed_BW):
      return chosen(StartedModel(ask, {}, started), items, allowed_BW)

    return search

  def bind(
    search: Generative, arrays: Mapping[str, Any], run: Any
  ) -> Generative:
    def decode(num_results=None):
      return functools.partial(run, finish(num_results))

    return dataclasses.replace(
      search,
      request_batch=lambda requests: arrays,
      decode_fn=decode(),
      widened=None if search.widened is None else decode,
    )

  decodes = tuple(strategy.needs) == (seams.DecoderModel,)
  if not decodes or not _resumes(loaded.system, ResumingDecoder):
    return None
  found = Resumption(
    loaded,
    "resume_start",
    layout.request_batch(no_requests(1)),
    epoch_seconds or 0,
    layout.request_batch,
    bind=bind,
  )
  return found if _side_by_side(found.example) else None


def of_ranker(ranker: Ranker | None) -> Resumption | None:
  """Of a model that scores candidates; it is given histories."""
  if ranker is None or ranker.scorer.loaded is None:
    return None
  scorer = ranker.scorer
  if not _resumes(scorer.loaded.system, ResumingCandidates):
    return None
  nothing = no_impressions(1, scorer.micro_batch)
  example, _ = scorer.layout.apart(scorer.layout.impression_batch(nothing))
  if not _side_by_side(example):
    return None
  epoch_seconds = ranker.histories.manifest.epoch_seconds or 0
  return Resumption(scorer.loaded, "resume_history", example, epoch_seconds)


def _resumes(system: Any, seam: type) -> bool:
  return seams.offers(system, seam) and system.resumes


def _side_by_side(arrays: Arrays) -> bool:
  """Whether all arrays are (B, L, ...)."""
  shape = arrays["segment_ids_BL"].shape
  return all(x.shape[:2] == shape for x in arrays.values())
