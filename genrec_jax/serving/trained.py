# SPDX-License-Identifier: Apache-2.0
"""The run that something in use comes from: measured and copied.

    trained.evaluate()        what genrec evaluate measures, as a table
    trained.save("folder")    a copy, from which genrec_jax.load reads

A recommender that was put together by hand has none.
"""

import dataclasses
import os
import pathlib
import shutil

import polars as pl

from genrec_jax.core import atomic
from genrec_jax.evaluation import document as documents
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.pretrained import identity_of
from genrec_jax.experiment.restored import CHECKPOINTS, Loaded
from genrec_jax.train import workdir_lock

# The lock of one that runs, and what it has not finished writing.
_OF_A_TRAINING = shutil.ignore_patterns(
  workdir_lock.NAME, "*.tmp-*", "*.orbax-checkpoint-tmp*"
)


@dataclasses.dataclass(frozen=True)
class Trained:
  """A run with its parameters.

  Attributes:
    run: the workdir.
    loaded: of one of its checkpoints.
  """

  run: Run
  loaded: Loaded

  @property
  def identity(self) -> str:
    """A hash of the newest checkpoint of the kind that was loaded."""
    folder = CHECKPOINTS[self.loaded.checkpoint]
    return identity_of(pathlib.Path(self.run.workdir) / folder)

  def evaluate(self) -> pl.DataFrame:
    """Returns part, method and metrics; writes WORKDIR/evaluation.json."""
    run = self.run
    evaluators = documents.chosen(run)
    document, kept = documents.measure(run, self.loaded, evaluators)
    for file, arrays in kept.items():
      arrays.save(run.workdir / file)
    documents.write_json(run.workdir / "evaluation.json", document)
    rows = []
    for section in document["sections"].values():
      methods = {document["title"]: section["metrics"]}
      methods |= section.get("baselines", {})
      rows += [
        {"part": part, "method": method, **metrics}
        for method, parts in methods.items()
        for part, metrics in parts.items()
        if all(isinstance(value, float) for value in metrics.values())
      ]
    return pl.DataFrame(rows, infer_schema_length=None)

  def save(self, directory: str | os.PathLike) -> None:
    """Copies the run to a new folder.

    Raises:
      ValueError: the folder is there.
    """
    place = pathlib.Path(directory)
    if place.exists():
      raise ValueError(f"{place} is there: name a new folder.")
    with atomic.new_folder(place) as partial:
      shutil.copytree(self.run.workdir, partial, ignore=_OF_A_TRAINING)
