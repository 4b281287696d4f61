# SPDX-License-Identifier: Apache-2.0
"""Vectors of items that a run has trained, for what is made after it.

    config.before = {"sasrec": "configs/sasrec_amazon.py"}
    config.tokens.join.items = {"name": "experiment.TrainedItems",
                                "workdir": ""}

An empty workdir is the run that config.before names. They say who took what
together with what, of the training part alone: which checkpoint is taken was
chosen on validation, as in every run. An item without a training event was
drawn at random and never moved, so it counts as unknown.
"""

import dataclasses
import functools

import jax
from jaxtyping import Bool, Float
import numpy as np

from genrec_jax.core import artifact, seams
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import check_finished, load_params


@dataclasses.dataclass(frozen=True)
class TrainedItems:
  """Options of trained item vectors.

  Attributes:
    workdir: of the run.
    checkpoint: "best" or "latest".
  """

  workdir: str
  checkpoint: str = "best"

  @functools.cached_property
  def _found(self) -> tuple[Run, Float[np.ndarray, "V1 D"]]:
    run = Run.open(self.workdir)
    where = f"config.system of the run in {self.workdir}"
    seams.require(run.system, seams.QueryModel, where)
    check_finished(run)
    params = load_params(run, self.checkpoint).params
    return run, np.asarray(jax.device_get(run.item_vectors(params)))

  @property
  def data_fingerprint(self) -> str:
    """Of the data set that the run was trained on."""
    return self._found[0].histories.manifest.fingerprint

  @property
  def fingerprint(self) -> str:
    """Names the vectors, wherever the run lies."""
    run, vectors = self._found
    return artifact.content_hash(run.catalog.ids, vectors)

  def vectors(
    self, item_ids: list[str]
  ) -> tuple[Float[np.ndarray, "N D"], Bool[np.ndarray, "N"]]:
    """Vectors of items, and which of them training has seen.

    Returns:
      Vectors, zeros for items that are not known, and whether they are.

    Raises:
      ValueError: no run, one that is not finished, or of a system without a
        vector per item.
    """
    run, vectors = self._found
    row = {name: i for i, name in enumerate(run.catalog.ids) if i}
    rows = np.array([row.get(name, 0) for name in item_ids], np.int64)
    known = (rows > 0) & (np.asarray(run.catalog.count)[rows] > 0)
    return np.where(known[:, None], vectors[rows], 0).astype(np.float32), known
