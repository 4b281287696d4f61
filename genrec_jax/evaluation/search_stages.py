# SPDX-License-Identifier: Apache-2.0
"""Which stage of a search by beams and vectors finds a target, or loses it.

    config.evals.search_stages = {"name": "evaluation.SearchStages",
                                  "ks": (10,), "grid": {"num_beams": (10, 20)}}

A search of two stages proposes items by beams of codes (and, where it says so,
all cold items) and orders them by vectors. Of every test request:

    beam     in the first k, proposed by a beam
    cold     in the first k, as a cold item alone
    order    proposed, and not in the first k
    lost     not proposed
    hidden   not allowed: an item of the history

beside the ceiling (targets whose codes are among the first M beams), scores of
targets against those of the other places, distinct IDs in a list, the exposure
of items, and how many items share an ID. `grid` asks the same model with other
options of its search, every combination, on users of the VALIDATION part: a
table to choose from without training anything.
"""

from collections.abc import Mapping
import dataclasses
import itertools
import math
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, UInt32
import numpy as np
from tqdm import tqdm

from genrec_jax.core import seams
from genrec_jax.core.option_checks import check_counts
from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.dataset.requests import (
  Requests,
  count_requests,
  iter_requests,
)
from genrec_jax.decoding.beam import beam_leaves
from genrec_jax.decoding.item_bits import of_ids
from genrec_jax.decoding.trie import Trie
from genrec_jax.evaluation import search_stages_results as results
from genrec_jax.evaluation.base import Unwatched
from genrec_jax.evaluation.full_ranking import history_mask
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import Loaded
from genrec_jax.retrieval.strategy import (
  BoundModel,
  CachedDecoder,
  Proposing,
  SearchItems,
)

PART, GRID_PART = "test", "validation"
_MOST_ROWS = 200


@dataclasses.dataclass(frozen=True)
class _Proposals:
  """Leaves of a search's beams, best first; counted from 1, and 0 is none."""

  search: Proposing

  @property
  def num_results(self) -> int:
    return self.search.num_beams

  @property
  def needs(self) -> tuple[type, ...]:
    return self.search.needs

  def __call__(
    self,
    model: BoundModel,
    items: SearchItems,
    allowed_BW: UInt32[Array, "B W"] | None,
  ) -> tuple[Array, Array, Array]:
    trie, count = items.trie, self.search.num_beams
    bits = None if allowed_BW is None else of_ids(trie, allowed_BW)
    decoder = CachedDecoder(model, items.vectors_RD)
    found = beam_leaves(decoder, trie, count, bits)
    there_BK = found.scores_BK > -jnp.inf
    leaves_BK = jnp.where(there_BK, found.leaves_BK + 1, 0)
    # There may be fewer leaves than beams.
    missing = ((0, 0), (0, count - leaves_BK.shape[1]))
    scores_BK = jnp.pad(found.scores_BK, missing, constant_values=-jnp.inf)
    codes_BKM = jnp.pad(found.codes_BKM, (*missing, (0, 0)))
    return jnp.pad(leaves_BK, missing), scores_BK, codes_BKM


@dataclasses.dataclass(frozen=True)
class SearchStages(Unwatched):
  """See the module docstring.

  Attributes:
    ks: cut-offs of the lists.
    users: test users drawn; None = all.
    filter_history: hide a user's earlier items from the candidates.
    grid: options of config.retrieval, each with values to try; {} = none.
    grid_users: validation users drawn for it.
  """

  ks: tuple[int, ...] = (10,)
  users: int | None = None
  filter_history: bool = True
  grid: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  grid_users: int = 1000

  def __post_init__(self):
    asked = () if self.users is None else ("users",)
    check_counts(self, "evaluation.SearchStages", *asked, "grid_users")

  def check(self, run: Run, watched: tuple[str, ...] = ()) -> None:
    """Raises a ValueError where a search has no stages, or no such option."""
    where = "config.retrieval, for evaluation.SearchStages,"
    if run.retrieval is None:
      raise ValueError(
        "evaluation.SearchStages looks into a search by beams and vectors, and"
        " config.retrieval is empty: drop it, or take a model with one."
      )
    seams.require(run.retrieval, Proposing, where)
    if run.retrieval.num_results < max(self.ks):
      raise ValueError(
        f"config.retrieval returns {run.retrieval.num_results} items, and the"
        f" ks={tuple(self.ks)} of evaluation.SearchStages need {max(self.ks)}."
      )
    searches(run.retrieval, self.grid)

  def measure(
    self, run: Run, loaded: Loaded, *, baselines: bool = True
  ) -> tuple[dict[str, Any], None]:
    """The section: see the module docstring."""
    del baselines
    trie, asked = self._ask(run, loaded.params, run.retrieval, PART, self.users)
    section = {
      "part": PART,
      "ks": list(self.ks),
      "requests": len(asked.target_R),
      "num_beams": run.retrieval.num_beams,
      "clusters": results.cluster_sizes(trie),
      "stages": {
        str(k): results.stages(asked, k, run.retrieval.adds_cold)
        for k in self.ks
      },
      "ceiling": results.ceiling(asked, run.retrieval.num_beams),
      "scores": results.scores_of(asked, max(self.ks)),
      "lists": {str(k): results.lists(asked, k, trie) for k in self.ks},
      "grid": [],
    }
    for values, search in searches(run.retrieval, self.grid):
      trie, asked = self._ask(
        run, loaded.params, search, GRID_PART, self.grid_users
      )
      section["grid"].append(
        {"options": values, "metrics": self._row(asked, trie, search)}
      )
    section["grid_users"] = self.grid_users if self.grid else 0
    return section, None

  def _row(self, asked: results.Asked, trie: Trie, search: Proposing) -> dict:
    """Metrics of a combination."""
    rank_R, row = asked.rank_R(), {}
    for k in self.ks:
      hit_R = (rank_R > 0) & (rank_R <= k)
      gain_R = np.where(hit_R, 1 / np.log2(np.maximum(rank_R, 1) + 1), 0)
      row[f"recall@{k}"] = float(hit_R.mean())
      row[f"ndcg@{k}"] = float(gain_R.mean())
      shown = results.lists(asked, k, trie)
      row[f"distinct_ids@{k}"] = shown["distinct_ids"]
      row[f"coverage@{k}"] = shown["coverage"]
    row["ceiling"] = results.ceiling(asked, search.num_beams)[
      str(search.num_beams)
    ]
    return row

  def _ask(
    self, run: Run, params: Any, search: Proposing, part: str, users: int | None
  ) -> tuple[Trie, results.Asked]:
    program = dataclasses.replace(run.program(), retrieval=search)
    of_beams = dataclasses.replace(program, retrieval=_Proposals(search))
    # What the strategy itself finds is measured.
    find, propose = (
      run.search(params, program=p, fill=False) for p in (program, of_beams)
    )
    cold_V1 = run.catalog.count == 0
    size = run.requests.batch_size
    total = count_requests(run.histories, part)
    columns = []
    with tqdm(
      total=total if users is None else min(users, total),
      desc=f"stages of {part}",
      unit=" requests",
      delay=2,
      leave=False,
    ) as bar:
      for batch in iter_requests(
        run.histories, part, size, max_users=users, seed=run.seed
      ):
        columns.append(self._columns(batch, find, propose, search, cold_V1))
        bar.update(len(batch))
    if not columns:
      raise ValueError(f"no user has a target in the {part} part of the split.")
    joined = (np.concatenate(c) for c in zip(*columns, strict=True))
    return find.items.trie, results.Asked(*joined)

  def _columns(
    self,
    batch: Requests,
    find: Any,
    propose: Any,
    search: Proposing,
    cold_V1: np.ndarray,
  ) -> tuple[np.ndarray, ...]:
    """Columns of results.Asked."""
    trie, target_B = find.items.trie, np.asarray(batch.target)
    seen = history_mask(batch, len(cold_V1) - 1)
    allowed = seen if self.filter_history else None
    ids_BK, scores_BK, _ = find(batch, max(self.ks), allowed)
    beams_BM, _, _ = propose(batch, search.num_beams, allowed)
    leaf_B = results.leaves_of(trie, target_B)
    same_BM = (beams_BM == leaf_B[:, None]) & (leaf_B > 0)[:, None]
    place_B = np.where(same_BM.any(axis=1), same_BM.argmax(axis=1) + 1, 0)
    hidden_B = np.zeros(len(target_B), bool)
    if allowed is not None:
      hidden_B = ~allowed.at(target_B[:, None])[:, 0]
    leaves_BK = results.leaves_of(trie, ids_BK)
    cold_B = cold_V1[target_B]
    return (
      *(ids_BK, scores_BK, leaves_BK, target_B),
      *(place_B, cold_B, hidden_B),
    )

  def text(self, document: Mapping[str, Any]) -> str:
    """The section as lines for a terminal."""
    return results.stages_table(document)


def searches(
  search: Proposing, grid: Mapping[str, Any]
) -> list[tuple[dict[str, Any], Proposing]]:
  """All combinations of a grid: the options, and the search with them.

  Raises:
    ValueError: an option that the search does not have, values that it
      refuses, or more than 200 combinations.
  """
  if not grid:
    return []
  known = [field.name for field in dataclasses.fields(search)]
  for name, values in grid.items():
    if name not in known or name == "num_results":
      hint = choices_hint(name, [n for n in known if n != "num_results"])
      raise ValueError(
        f"evaluation.SearchStages.grid: config.retrieval has no {name!r} to"
        f" try.{hint}"
      )
    if not isinstance(values, list | tuple) or not values:
      raise ValueError(
        f"evaluation.SearchStages.grid.{name}={values!r} must be a list of"
        " values."
      )
  if math.prod(len(values) for values in grid.values()) > _MOST_ROWS:
    raise ValueError(
      "evaluation.SearchStages.grid has more than"
      f" {_MOST_ROWS} combinations: give fewer values."
    )
  rows = itertools.product(*grid.values())
  named = [dict(zip(grid, row, strict=True)) for row in rows]
  return [(row, dataclasses.replace(search, **row)) for row in named]
