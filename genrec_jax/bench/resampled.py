# SPDX-License-Identifier: Apache-2.0
"""Many vectors from the few of a trained run.

    axes     the `width` directions that hold most of the items' squares (SVD,
             not centred, so that products with queries stay what they are)
    item j   v_i + s o e,  i drawn evenly, e normal; where the run's vectors
             have unit length, brought back to it
    s_d      root mean square over items, along axis d, of what parts an item
             from its nearest neighbour, divided by sqrt(2)

so that new items lie about as far apart as an item and its nearest neighbour
did. Queries are those of the run's own test users where its model has a query,
and else further vectors of the same kind.
"""

import dataclasses
import pathlib
from typing import Any

import jax
from jaxtyping import Float
import numpy as np

from genrec_jax.core import seams
from genrec_jax.data.dataset.requests import iter_requests
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import load_params
from genrec_jax.retrieval.model_search import padded

_NEIGHBOURS_OF = 2_000
_UNIT = 1e-3


@dataclasses.dataclass(frozen=True)
class Resampled:
  """Vectors to search, and vectors to search by.

  Attributes:
    items_VD: row 0 is padding.
    query_QD: queries.
    facts: how they were made.
  """

  items_VD: Float[np.ndarray, "V D"]
  query_QD: Float[np.ndarray, "Q D"]
  facts: dict[str, Any]


def resampled(
  workdir: str, num_items: int, num_queries: int, width: int = 64
) -> Resampled:
  """Items and queries made of a run's best checkpoint.

  Args:
    workdir: of a trained run.
    num_items: V.
    num_queries: at most.
    width: D.

  Raises:
    ValueError: a model without vectors of items, or of fewer dimensions.
  """
  run = Run.open(pathlib.Path(workdir))
  seams.require(run.system, seams.VectorModel, "config.system")
  params = load_params(run, "best").params
  known = np.asarray(jax.device_get(run.item_vectors(params)), np.float32)[1:]
  if known.shape[1] < width:
    raise ValueError(
      f"the vectors of {workdir} have {known.shape[1]} dimensions, and {width}"
      " are asked for: take a run of a wider model."
    )
  _, _, axes = np.linalg.svd(known, full_matrices=False)
  turn = axes[:width].T
  unit = bool(np.abs(np.linalg.norm(known, axis=1) - 1).max() < _UNIT)
  known = known @ turn
  draw = np.random.default_rng(0)
  noise = neighbour_noise(known, draw)
  query, told = _queries(run, params, num_queries), "test users"
  if query is None:
    query = _drawn(known, noise, unit, num_queries, draw)
    told = "further items: the model has no query of a history alone"
  else:
    query = query @ turn
  items = np.zeros((num_items + 1, width), np.float32)
  for start in range(1, num_items + 1, 1 << 16):
    count = min(1 << 16, num_items + 1 - start)
    items[start : start + count] = _drawn(known, noise, unit, count, draw)
  facts = {
    "run": run.name,
    "trained_items": len(known),
    "num_items": num_items,
    "width": width,
    "noise": float(f"{np.sqrt(np.square(noise).sum()):.3g}"),
    "unit_length": unit,
    "queries": f"{len(query)}, of {told}",
  }
  return Resampled(items, query, facts)


def neighbour_noise(
  known_ND: Float[np.ndarray, "N D"], draw: np.random.Generator
) -> Float[np.ndarray, "D"]:
  """s of the module docstring, of at most 2,000 items drawn."""
  count = min(len(known_ND), _NEIGHBOURS_OF)
  some = draw.choice(len(known_ND), count, replace=False)
  square_N = np.square(known_ND).sum(axis=1)
  far_SN = square_N[None, :] - 2 * known_ND[some] @ known_ND.T
  far_SN[np.arange(count), some] = np.inf
  apart_SD = known_ND[some] - known_ND[far_SN.argmin(axis=1)]
  return np.sqrt(np.square(apart_SD).mean(axis=0) / 2)


def _drawn(known_ND, noise_D, unit, count, draw) -> np.ndarray:
  rows = known_ND[draw.integers(0, len(known_ND), count)]
  rows = rows + noise_D * draw.normal(size=rows.shape)
  if unit:
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
  return rows.astype(np.float32)


def _queries(run: Run, params: Any, count: int) -> np.ndarray | None:
  """Queries of test users; None where the model has none."""
  if not seams.offers(run.system, seams.QueryModel):
    return None
  program, size, found = run.program(), run.requests.batch_size, []
  for requests in iter_requests(
    run.histories, "test", size, max_users=count, seed=run.seed
  ):
    whole, _ = padded(requests, None, size)
    batch = program.pipeline.layout.request_batch(whole)
    with program.in_force():
      query = program.query(params, batch)
    found.append(np.asarray(query, np.float32)[: len(requests)])
  return np.concatenate(found)
