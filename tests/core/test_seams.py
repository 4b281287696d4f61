# SPDX-License-Identifier: Apache-2.0
"""What an object, a class or a module lacks of a seam, and that it is said."""

import dataclasses

from flax import linen as nn
import pytest

from genrec_jax.core import seams
from genrec_jax.semantic_ids.quantizers.base import MadeByRun


@dataclasses.dataclass(frozen=True)
class _Made:
  vectors_version: str
  workdir: str


class _Silent(nn.Module):
  """A backbone that says nothing of itself."""


class _Model(nn.Module):
  backbone: nn.Module

  logical_axes = {}
  item_tables = ()

  @property
  def uses_time(self):
    return self.backbone.uses_time

  @property
  def max_length(self):
    return self.backbone.max_length

  def __call__(self, batch, *, deterministic):
    raise NotImplementedError


def test_a_field_counts_of_the_class_and_of_the_object():
  assert seams.offers(_Made, MadeByRun)
  assert seams.offers(_Made("v", "w"), MadeByRun)
  assert seams.missing(str, MadeByRun) == ("vectors_version",)


def test_a_property_that_fails_is_not_there():
  model = _Model(_Silent())
  assert set(seams.missing(model, seams.Model)) == {"uses_time", "max_length"}
  with pytest.raises(ValueError, match="config.system .* lacks uses_time, max"):
    seams.require(model, seams.Model, "config.system")


def test_members_of_those_that_a_seam_is_made_of():
  assert set(seams.members(seams.RequestModel)) == {
    *("feature_rows", "history_columns", "num_actions"),
    *("unknown_action", "context_ids"),
  }
  assert seams.is_seam(seams.Model) and not seams.is_seam(_Made)
  assert not seams.is_seam("Model")
