# SPDX-License-Identifier: Apache-2.0
"""Ranks on disk (ranks.npz), and the paired comparison of two runs.

    fingerprint  ks                                   of the data; cut-offs
    PART/users, /events, /targets, /lengths, /repeats      one entry a request
    PART/ranks/NAME                                   int32; MISS beyond max(ks)

PART is validation or test. NAME is `model` (history hidden),
`model_unfiltered`, `model_last_time` and so on, or a baseline. Every NAME of a
part answers the same requests, so any two can be compared request by request,
within a file or between the files of two runs on the same prepared data. Plain
arrays, nothing pickled.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import os

from jaxtyping import Shaped
import numpy as np

from genrec_jax.evaluation import column_file
from genrec_jax.evaluation.full_ranking import Evaluation
from genrec_jax.metrics import bootstrap, hierarchical
from genrec_jax.metrics.ranking import per_request

_Values = dict[str, np.ndarray]
_REQUEST_COLUMNS = ("users", "events", "targets", "lengths", "repeats")


@dataclasses.dataclass(frozen=True)
class Ranks:
  """Ranks of several rankers on several parts of one data set.

  Attributes:
    fingerprint: of the prepared data set (its manifest).
    ks: cut-offs that the ranks resolve.
    columns: "PART/users" ... and "PART/ranks/NAME" -> array (R,) of that part.
  """

  fingerprint: str
  ks: tuple[int, ...]
  columns: Mapping[str, Shaped[np.ndarray, "R"]]

  @classmethod
  def of(
    cls,
    fingerprint: str,
    evaluations: Mapping[str, Mapping[str, Evaluation]],
  ) -> "Ranks":
    """Collects {part: {name: evaluation}}; all of a part on equal requests."""
    columns: dict[str, np.ndarray] = {}
    ks: tuple[int, ...] = ()
    for part, by_name in evaluations.items():
      for name, evaluation in by_name.items():
        ks = ks or evaluation.ks
        if evaluation.ks != ks:
          raise ValueError(
            f"{part}/{name} was evaluated at {evaluation.ks}, another ranker"
            f" at {ks}; use the same ks for all"
          )
        for column in _REQUEST_COLUMNS:
          values = getattr(evaluation, f"{column}_R")
          known = columns.setdefault(f"{part}/{column}", values)
          if not np.array_equal(known, values):
            raise ValueError(
              f"{part}/{name} was evaluated on other requests than the rest"
              f" of the part ({column} differ)"
            )
        columns[f"{part}/ranks/{name}"] = evaluation.ranks_R
    return cls(fingerprint, ks, columns)

  @property
  def parts(self) -> tuple[str, ...]:
    return column_file.parts(self.columns)

  def names(self, part: str) -> tuple[str, ...]:
    """Returns the rankers of a part."""
    return column_file.names(self.columns, part, "ranks")

  def save(self, path: str | os.PathLike) -> None:
    """Writes the file as a whole or not at all."""
    facts = {
      "fingerprint": np.array(self.fingerprint),
      "ks": np.array(self.ks, np.int32),
    }
    column_file.save(path, facts, self.columns)

  @classmethod
  def load(cls, path: str | os.PathLike) -> "Ranks":
    """Reads the file; ValueError where there is none."""
    facts, columns = column_file.load(path)
    ks = tuple(int(k) for k in facts["ks"])
    return cls(str(facts["fingerprint"]), ks, columns)


def check_same_data(ours: str, other: str) -> None:
  """Raises a ValueError when two fingerprints of prepared data differ."""
  if ours != other:
    raise ValueError(
      "the two runs were evaluated on different prepared data (fingerprints"
      f" {ours} and {other}): a paired comparison needs the same source, filter"
      " and split in both workdirs"
    )


def compare(
  ours: Ranks, other: Ranks, part: str, name: str, other_name: str
) -> dict[str, bootstrap.Interval]:
  """Returns the interval of ours - other for every metric, users resampled.

  Raises:
    ValueError: they are of different prepared data (their targets are not the
      same events), or a ranker is absent.
  """
  (a,), (b,), users = _values([ours], [other], part, name, other_name)
  return {m: bootstrap.paired(a[m], b[m], users) for m in a}


def compare_seeds(
  ours: Sequence[Ranks],
  others: Sequence[Ranks],
  part: str,
  name: str,
  other_name: str,
  *,
  same_seeds: bool,
) -> dict[str, hierarchical.Difference]:
  """Of several seeds a side, over users and over both; raises as `compare`.

  Over the ks that all have; see metrics/hierarchical.py of `same_seeds`.
  """
  a, b, users = _values(ours, others, part, name, other_name)
  return hierarchical.of_means(a, b, users, same_seeds=same_seeds)


def _values(
  ours: Sequence[Ranks],
  others: Sequence[Ranks],
  part: str,
  name: str,
  other_name: str,
) -> tuple[list[_Values], list[_Values], Shaped[np.ndarray, "R"]]:
  """Per-request values of every seed of both sides, and whose they are."""
  first, every = ours[0], (*ours, *others)
  ks = tuple(k for k in first.ks if all(k in ranks.ks for ranks in every))

  def values(ranks: Ranks, ranker: str) -> _Values:
    check_same_data(first.fingerprint, ranks.fingerprint)
    if ranker not in ranks.names(part):
      raise ValueError(
        f"no ranks of {ranker!r} on {part!r}; there are"
        f" {', '.join(ranks.names(part)) or 'none'}"
      )
    for column in ("users", "events", "targets"):
      key = f"{part}/{column}"
      if not np.array_equal(first.columns[key], ranks.columns[key]):
        raise ValueError(f"the two runs differ in {key}: evaluate both again")
    return per_request(ranks.columns[f"{part}/ranks/{ranker}"], ks)

  a = [values(ranks, name) for ranks in ours]
  b = [values(ranks, other_name) for ranks in others]
  return a, b, first.columns[f"{part}/users"]
