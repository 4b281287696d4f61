# SPDX-License-Identifier: Apache-2.0
"""A tokenizer that a run has trained, behind the API of those that fit.

    config.tokens.tokenizer = {
      "name": "experiment.TrainedTokenizer",
      "workdir": "runs/rqvae",
    }

`fit` trains nothing: it reads the run's parameters. Vectors of another version
than the run was trained with are refused by whoever makes item tokens, which
compares `vectors_version` (semantic_ids/item_tokens.py).
"""

import dataclasses
import functools

import jax
from jaxtyping import Float
import numpy as np

from genrec_jax.core import seams
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import (
  check_finished,
  load_params,
  read_progress,
)
from genrec_jax.semantic_ids.quantizers.mlp_quantizer import MlpQuantizer


@dataclasses.dataclass(frozen=True)
class TrainedTokenizer:
  """Options of a trained tokenizer.

  Attributes:
    workdir: of the run.
    checkpoint: "best" or "latest".
  """

  workdir: str
  checkpoint: str = "latest"

  @functools.cached_property
  def _run(self) -> Run:
    run = Run.open(self.workdir)
    where = f"config.system of the run in {self.workdir}"
    seams.require(run.system, seams.TokenizerModel, where)
    return run

  @property
  def vectors_version(self) -> str:
    """Version of the item vectors that the run was trained with."""
    return read_progress(self._run)["artifacts"]["vectors"]

  @property
  def data_fingerprint(self) -> str:
    """Of the data set that the run was trained on."""
    return self._run.histories.manifest.fingerprint

  def fit(
    self, vectors_ND: Float[np.ndarray, "N D"], *, seed: int = 0
  ) -> MlpQuantizer:
    """The trained tokenizer; vectors and seed have done their part.

    Raises:
      ValueError: no run, one that is not finished or of another system, or
        vectors of another width.
    """
    del seed
    check_finished(self._run)
    params = load_params(self._run, self.checkpoint).params
    fitted = self._run.system.tokenizer(jax.device_get(params))
    if vectors_ND.shape[1] != fitted.width:
      raise ValueError(
        f"the run in {self.workdir} codes vectors of width {fitted.width},"
        f" these have {vectors_ND.shape[1]}."
      )
    return fitted
