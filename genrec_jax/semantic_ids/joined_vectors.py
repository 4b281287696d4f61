# SPDX-License-Identifier: Apache-2.0
"""Item vectors of two kinds joined into one, for codes that know of both.

    joined(i) = [ content(i) / mean norm,  sqrt(weight) other(i) / mean norm ]

The other vectors are a trained model's: what was taken together is close in
them (LETTER, arXiv 2405.07314, wants codes to say so, by a loss; here it is the
space that is quantised). An item that the model has not seen has what ridge
regression on its content says, so that new items get codes as before.
"""

import dataclasses
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Bool, Float
import numpy as np

from genrec_jax.content.item_vectors import ItemVectors
from genrec_jax.core import artifact
from genrec_jax.core.option_checks import check_positive


@runtime_checkable
class OtherVectors(Protocol):
  """A source of vectors by item id, such as experiment.TrainedItems.

  Attributes:
    fingerprint: names the vectors.
  """

  fingerprint: str

  def vectors(
    self, item_ids: list[str]
  ) -> tuple[Float[np.ndarray, "N D"], Bool[np.ndarray, "N"]]:
    """Vectors, and which items are known."""


@dataclasses.dataclass(frozen=True)
class JoinedVectors:
  """Options of joining.

  Attributes:
    items: see OtherVectors.
    weight: of the other vectors' distances; 1 = as much as content.
    ridge: of the regression, in units of a content vector's mean square norm.
  """

  items: OtherVectors
  weight: float = 1.0
  ridge: float = 0.1

  def __post_init__(self):
    check_positive(self, "config.tokens.join", "weight", "ridge")

  def join(self, content: ItemVectors) -> ItemVectors:
    """Vectors in a space of their own, of the items that content is of.

    Raises:
      ValueError: no item is known to the other source.
    """
    other_NE, known = self.items.vectors(content.item_ids[1:])
    if not known.any():
      raise ValueError(
        f"the vectors of config.tokens.join know none of {len(known)} items:"
        " their run is of another catalogue."
      )
    content_ND = _of_mean_norm(content.vectors[1:])
    other_NE = _of_mean_norm(other_NE)
    if not known.all():
      predict = _ridge(content_ND[known], other_NE[known], self.ridge)
      other_NE = np.where(known[:, None], other_NE, predict(content_ND))
    joined = np.concatenate([content_ND, self.weight**0.5 * other_NE], axis=1)
    pad = np.zeros((1, joined.shape[1]))
    options = {
      "items": self.items.fingerprint,
      "weight": self.weight,
      "ridge": self.ridge,
    }
    space = artifact.content_hash(content.space, options)
    version = artifact.content_hash(content.version, options)
    return dataclasses.replace(
      content,
      vectors=np.concatenate([pad, joined]).astype(np.float32),
      version=version,
      space=space,
      manifest={
        **content.manifest,
        "version": version,
        "space": space,
        "content_space": content.space,
        "width": joined.shape[1],
      },
    )


def _of_mean_norm(
  vectors_ND: Float[np.ndarray, "N D"],
) -> Float[np.ndarray, "N D"]:
  """Scaled so that those that are not 0 have norm 1 on average."""
  norm_N = np.linalg.norm(vectors_ND, axis=1)
  return vectors_ND.astype(np.float64) / max(norm_N[norm_N > 0].mean(), 1e-12)


def _ridge(x_ND: np.ndarray, y_NE: np.ndarray, ridge: float) -> Any:
  """The function from content to the other vectors, with an intercept."""
  x_mean, y_mean = x_ND.mean(axis=0), y_NE.mean(axis=0)
  x = x_ND - x_mean
  gram = x.T @ x + ridge * len(x) / x.shape[1] * np.eye(x.shape[1])
  weights_DE = np.linalg.solve(gram, x.T @ (y_NE - y_mean))
  return lambda rows_ND: (rows_ND - x_mean) @ weights_DE + y_mean
