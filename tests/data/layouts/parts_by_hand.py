# SPDX-License-Identifier: Apache-2.0
"""Artifacts and models that a test writes down, for layouts to look at."""

import dataclasses
import pathlib
from typing import Any


@dataclasses.dataclass(frozen=True)
class ArtifactsByHand:
  """A data set, and tables that lie nowhere."""

  histories: Any
  catalog: Any = None
  vectors_V1D: Any = None
  codes_V1M: Any = None
  others: Any = None
  tokens_V1T: Any = None
  words_WD: Any = None
  lists: Any = None
  users: Any = None
  directories = {"tokens": pathlib.Path("tokens")}

  def vectors(self):
    return self.vectors_V1D

  def collaborative(self):
    return self.others

  def retriever_lists(self):
    if self.lists is None:
      raise ValueError("no lists here")
    return self.lists

  def user_vectors(self):
    if self.users is None:
      raise ValueError("no vectors of users here")
    return self.users

  def text_tokens(self):
    return self.tokens_V1T, self.words_WD

  def codes(self):
    return self.codes_V1M


class ModelByHand:
  """A model of which only what it says of itself is asked."""

  logical_axes = {}
  uses_time = False
  max_length = 8
  item_tables = ()

  def __init__(self, **says):
    vars(self).update(says)

  def __call__(self, batch, *, deterministic):
    raise NotImplementedError
