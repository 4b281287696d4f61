# SPDX-License-Identifier: Apache-2.0
"""Queries against the batch's documents, without those of the same query.

    l_i = - log( e^{s_ii T} / sum_j A_ij e^{s_ij T} )     s_ij = cos(q_i, d_j)
    A_ij = 0 where i != j and the queries of i and j are the same, else 1

of the positions i at which the user did what is asked for: SQDC of arXiv
2511.10962, where T = 50. What was shown for the same query may answer it as
well, and is no negative. The paper prints the sum over i, here it is the mean,
which no batch size scales. It does not say whether one document at several
positions is a negative of itself; as printed it is, and mask_item changes that.

A model of it gives outputs.query and outputs.item, (B, L, E), with
aux["asked_BL"] and aux["known_BL"], which of them mean something; what does
not is no i and no j.
Shapes: T positions, E width.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from genrec_jax.core.option_checks import check_positive
from genrec_jax.core.types import Batch, Items, Mean, Outputs
from genrec_jax.ops.norm import l2_normalize
from genrec_jax.ops.precision import SCORES

_MASKED = -1e9


def contrast(
  query_TE: Float[Array, "T E"],
  document_TE: Float[Array, "T E"],
  negative_TT: Bool[Array, "T T"],
  scale: float,
) -> Float[Array, "T"]:
  """l of every position, in float32.

  Args:
    query_TE: of any length.
    document_TE: likewise.
    negative_TT: A beside the diagonal, whose entries are not read.
    scale: T.
  """
  query_TE, document_TE = (
    l2_normalize(x.astype(jnp.float32)) for x in (query_TE, document_TE)
  )
  score_TT = jnp.matmul(query_TE, document_TE.T, precision=SCORES) * scale
  own_TT = jnp.eye(len(score_TT), dtype=bool)
  kept_TT = jnp.where(negative_TT | own_TT, score_TT, _MASKED)
  return jax.nn.logsumexp(kept_TT, axis=1) - jnp.diagonal(score_TT)


@dataclasses.dataclass(frozen=True)
class QueryDocumentContrast:
  """See the module docstring.

  Attributes:
    tasks: of the layout's labels, in order.
    taken: those of them that make a document an answer.
    scale: T, 1 / temperature.
    mask_query: documents shown for the same query are no negatives.
    mask_item: nor is the same document at another position.
  """

  tasks: tuple[str, ...]
  taken: tuple[str, ...]
  scale: float = 50.0
  mask_query: bool = True
  mask_item: bool = False

  def __post_init__(self):
    check_positive(self, "config.objective", "scale")
    wrong = [task for task in self.taken if task not in self.tasks]
    if wrong or not self.taken:
      raise ValueError(
        f"objective.taken={self.taken}: name at least one task, of {self.tasks}"
        " alone."
      )

  def __call__(
    self,
    outputs: Outputs,
    batch: Batch,
    *,
    rng: Key[Array, ""],
    items: Items,
    where: Bool[Array, "B L"] | None = None,
    weights: Float[Array, "B L"] | None = None,
  ) -> tuple[Float[Array, ""], dict[str, Mean]]:
    """The mean over answers; 0 where there is none.

    Raises:
      ValueError: a model without queries and documents.
    """
    del rng, items
    aux = outputs.aux or {}
    if "asked_BL" not in aux or "known_BL" not in aux:
      raise ValueError(
        "objectives.QueryDocumentContrast compares queries with documents, and"
        " the system gives none: use one that encodes both, such as"
        " models.ContentRanker."
      )
    real_BL = batch["segment_ids_BL"] > 0
    if where is not None:
      real_BL = real_BL & where
    mask = sum(1 << self.tasks.index(task) for task in self.taken)
    done_BL = (batch["label_BL"] & mask > 0) & (batch["labelled_BL"] > 0)
    document_T = (real_BL & aux["known_BL"]).reshape(-1)
    answer_T = (done_BL & aux["asked_BL"]).reshape(-1) & document_T
    negative_TT = jnp.broadcast_to(document_T[None, :], 2 * document_T.shape)
    if self.mask_query:
      negative_TT = negative_TT & ~_same(batch["query_BL"])
    if self.mask_item:
      negative_TT = negative_TT & ~_same(batch["item_BL"])
    flat = (-1, outputs.query.shape[-1])
    # What no content was made of may be anything, and 0 * nan is nan.
    query_TE = jnp.where(answer_T[:, None], outputs.query.reshape(flat), 0)
    document_TE = jnp.where(document_T[:, None], outputs.item.reshape(flat), 0)
    loss_T = contrast(query_TE, document_TE, negative_TT, self.scale)
    if weights is not None:
      weights = weights.reshape(-1)
    mean = Mean.of(loss_T, where=answer_T, weights=weights)
    return mean.compute(), {"contrast": mean}


def _same(ids_BL: Int[Array, "B L"]) -> Bool[Array, "T T"]:
  ids_T = ids_BL.reshape(-1)
  return ids_T[:, None] == ids_T[None, :]
