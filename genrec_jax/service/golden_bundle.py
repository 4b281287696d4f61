# SPDX-License-Identifier: Apache-2.0
"""Golden answers that were kept with an exported run (serving/export).

    kept = of_bundle("bundle", served)      for golden.check

A bundle has requests of the test part, with the histories and masks that were
asked behind, and what the run answered when it was exported: ids and scores of
lists, logits of given items. So a version that is served is compared with what
was found right then, and not only with the offline code of now. Lists are those
of the first stage; one that its masks left shorter than any size of list is
left out of models that search codes, which search more widely then.
"""

from collections.abc import Sequence
import dataclasses
import os
import pathlib

import jax
from jaxtyping import Float, Int
import numpy as np

from genrec_jax.data.dataset.impressions import Impressions
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.data.schema import Record
from genrec_jax.service.asks import ListAsk, RankAsk, Ranked
from genrec_jax.service.golden import Golden, GoldenAnswer
from genrec_jax.service.served import Served
from genrec_jax.service.shapes import at_least
from genrec_jax.serving.export import golden as exported, tensors
from genrec_jax.serving.export.manifest import GOLDEN, read_manifest
from genrec_jax.serving.export.parity import TOLERANCE

# As jax names backends, and as programs name platforms.
_PLATFORMS = {"gpu": "cuda"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeptList(Golden):
  """A list, with all that it was asked by.

  Attributes:
    record: the history.
    query_time: seconds since the data set's epoch.
    allowed: what it may hold, one row.
    places: one of the sizes of lists.
  """

  record: Record
  query_time: int
  allowed: ItemMask
  places: int

  def ask(self, served: Served) -> ListAsk:
    """Of nobody: whose request it was is not told."""
    del served
    return ListAsk(
      None,
      self.record,
      self.query_time,
      self.allowed,
      self.places,
      by_model=True,
    )


@dataclasses.dataclass(frozen=True)
class KeptScores:
  """Logits of given items behind a history.

  Attributes:
    name: which request.
    record, query_time: as of KeptList.
    candidates_N: item indices, each once, ascending.
    logits_NT: of each of them and each task.
    tolerance: of probabilities.
  """

  name: str
  record: Record
  query_time: int
  candidates_N: Int[np.ndarray, "N"]
  logits_NT: Float[np.ndarray, "N T"]
  tolerance: float

  def ask(self, served: Served) -> RankAsk:
    """Of nobody."""
    return RankAsk(
      None,
      self.record,
      self.query_time,
      self.candidates_N,
      by_model=True,
      value=served.ranker.value_of(""),
    )

  def difference(self, served: Served, answer: Ranked) -> float:
    """See GoldenAnswer."""
    expected = 1 / (1 + np.exp(-self.logits_NT.astype(np.float64)))
    found = answer.scores.probabilities_NT.astype(np.float64)
    apart = float(np.abs(found - expected).max(initial=0.0))
    # NaN is no answer either.
    if not apart <= self.tolerance:
      raise ValueError(
        f"parity: probabilities of {self.name} differ by {apart:.3g}. The"
        " version is not taken."
      )
    return apart


def of_bundle(
  directory: str | os.PathLike, served: Served
) -> tuple[GoldenAnswer, ...]:
  """What a version must answer to be the run that was exported.

  Args:
    directory: of the bundle.
    served: the version.

  Raises:
    ValueError: no bundle, a damaged one, one of other data, one of which
      nothing can be compared with this version, or a backend whose rounding
      nobody knows.
  """
  directory = pathlib.Path(directory)
  manifest = read_manifest(directory)
  if manifest["data"] != served.catalogue:
    raise ValueError(
      f"the bundle {directory} is of other data (fingerprint"
      f" {manifest['data']}) than the version ({served.catalogue}): its golden"
      " answers say nothing of it."
    )
  arrays = tensors.load(directory / GOLDEN)

  def kept(kind: str) -> exported.Golden | None:
    mine = tensors.below(arrays, kind)
    return exported.Golden.from_arrays(mine) if mine else None

  found: list[GoldenAnswer] = []
  lists, logits = kept("lists"), kept("logits")
  tolerance = _tolerance()
  if lists is not None and served.finds and not served.two_stage:
    found += _lists(directory, lists, served, tolerance)
  if logits is not None and served.ranker is not None and not served.two_stage:
    found += _scores(directory, logits, tolerance)
  if not found:
    raise ValueError(
      f"nothing of the bundle {directory} can be compared with this version: it"
      " is of another kind of model, or a second stage orders its lists."
    )
  return tuple(found)


def _tolerance() -> float:
  backend = jax.default_backend()
  platform = _PLATFORMS.get(backend, backend)
  if platform not in TOLERANCE:
    raise ValueError(
      f"golden answers of a bundle cannot be compared on {backend!r}: nobody"
      f" has said what its rounding is. Known are {', '.join(TOLERANCE)}; serve"
      " without the bundle."
    )
  return TOLERANCE[platform]


def _lists(
  directory: pathlib.Path,
  golden: exported.Golden,
  served: Served,
  tolerance: float,
) -> list[KeptList]:
  sizes, ids = served.shapes.lists, served.catalog.ids
  asked, found = golden.asked, []
  for row, record in enumerate(asked.history):
    ids_K = golden.answer["ids_BK"][row]
    scores_K = golden.answer["scores_BK"][row][ids_K > 0]
    ids_K = ids_K[ids_K > 0][: sizes[-1]]
    count = max((size for size in sizes if size <= len(ids_K)), default=0)
    if not count and served.codes is None:
      count = len(ids_K)
    if not count:
      continue
    found.append(
      KeptList(
        _named(directory, row),
        tuple(ids[i] for i in ids_K[:count]),
        tuple(map(float, scores_K[:count])),
        tolerance,
        record=record,
        query_time=int(asked.query_time[row]),
        allowed=ItemMask(
          golden.allowed_BW[row : row + 1], served.catalog.num_items
        ),
        places=at_least(sizes, count),
      )
    )
  return found


def _scores(
  directory: pathlib.Path, golden: exported.Golden, tolerance: float
) -> Sequence[KeptScores]:
  asked: Impressions = golden.asked
  found = []
  for row, record in enumerate(asked.history):
    # What was looked for cannot be asked of a service.
    if asked.query[row]:
      continue
    items_N, first_N = np.unique(asked.candidates[row], return_index=True)
    real = items_N > 0
    found.append(
      KeptScores(
        _named(directory, row),
        record,
        int(asked.query_time[row]),
        items_N[real],
        golden.answer["logits_BNT"][row][first_N[real]],
        tolerance,
      )
    )
  return found


def _named(directory: pathlib.Path, row: int) -> str:
  return f"golden request {row} of {directory}"
