# SPDX-License-Identifier: Apache-2.0
"""Models that may go on with a history of which they have read a part.

    started, kept = model.resume_...(kept, before, batch)

`kept` are keys and values of each layer, (B, tokens, H, E) each: of nothing, or
of the places in `before`. `batch` has the places behind those, left aligned. A
call gives what reading all of it at once gives, and keys and values of all.

What is kept of a place must follow from what a batch says of that place and of
those that it sees, which are none behind it but where its own limit names them.
A model says by `resumes` that this holds of it. It does not where places stand
for several events, where a backbone reads both ways, or normalises by a length
that grows. Times and places in an input, and biases of them, are fine: they are
part of what a batch says. So whoever keeps keys and values compares batches
(service/paged_plan.py), and a place whose batch has changed, as all have where
the window of a history moves on, is read anew.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Array, Float

from genrec_jax.core.types import Batch

# Keys and values of each layer.
Kept = Sequence[tuple[Any, Any]]


@runtime_checkable
class ResumingModel(Protocol):
  """A model that may go on with a history of which it has read a part.

  Attributes:
    resumes: whether the model, as it is configured, can.
  """

  resumes: bool


@runtime_checkable
class ResumingQuery(ResumingModel, Protocol):
  """One that finds items by the dot product of vectors."""

  def resume_query(
    self, kept: Kept, before: Batch | None, batch: Batch
  ) -> tuple[Float[Array, "B D"], Kept]:
    """What `query` says of all places, and keys and values of them.

    Args:
      kept: of the places before; () where there are none.
      before: what attention needs to know of those: segment ids, positions,
        times, roles and limits, as in a batch; None where there are none.
      batch: of the places behind, at least one of each row.
    """


@runtime_checkable
class ResumingDecoder(ResumingModel, Protocol):
  """One that generates the codes of items."""

  def resume_start(
    self, kept: Kept, before: Batch | None, batch: Batch
  ) -> tuple[tuple[Any, Float[Array, "B C"]], Kept]:
    """What `start` says; arguments as of resume_query."""


@runtime_checkable
class ResumingCandidates(ResumingModel, Protocol):
  """One that scores candidates behind a history."""

  def resume_history(
    self, kept: Kept, before: Batch | None, batch: Batch
  ) -> tuple[Any, Kept]:
    """What `start` says; arguments as of resume_query."""
