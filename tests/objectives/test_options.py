# SPDX-License-Identifier: Apache-2.0
"""Options of objectives that cannot be are refused by their keys."""

import functools
import math

import pytest

from genrec_jax.objectives import (
  BatchItemSoftmax,
  ChildAlignment,
  CodeAlignment,
  CodeCrossEntropy,
  FullSoftmax,
  InBatchContrastive,
  PrefixRanking,
  SampledSoftmax,
  UniformShared,
  VariableLengthBound,
)

_NEVER = (-1.0, math.nan, math.inf)
_SOFTMAXES = (
  BatchItemSoftmax,
  ChildAlignment,
  CodeAlignment,
  CodeCrossEntropy,
  FullSoftmax,
  functools.partial(SampledSoftmax, UniformShared(2)),
)


def _refused(make, key, value, words):
  name = key.rpartition(".")[2]
  with pytest.raises(ValueError) as error:
    make(**{name: value})
  assert str(error.value) == f"config.{key}={value!r} must be {words}."


@pytest.mark.parametrize("value", (0.0, *_NEVER))
def test_temperatures_are_above_0(value):
  for make in _SOFTMAXES:
    _refused(make, "objective.temperature", value, "above 0")
  key = "objective.contrastive.temperature"
  _refused(InBatchContrastive, key, value, "above 0")


@pytest.mark.parametrize("value", (1.0, 1.5, *_NEVER))
def test_a_share_of_the_mass_is_below_1(value):
  key, words = "objective.label_smoothing", "at least 0 and below 1"
  _refused(CodeCrossEntropy, key, value, words)
  CodeCrossEntropy(label_smoothing=0.0)


@pytest.mark.parametrize("value", _NEVER)
def test_margins_and_weights_are_0_or_more(value):
  for make, name in (
    (PrefixRanking, "margin"),
    (VariableLengthBound, "beta"),
    (VariableLengthBound, "free_nats"),
    (VariableLengthBound, "length_weight"),
  ):
    _refused(make, f"objective.{name}", value, "a number of 0 or more")
    make(**{name: 0.0})


def test_counts_have_a_least_value():
  words = "at least 1, a whole number"
  for value in (0, -1):
    _refused(ChildAlignment, "objective.num_items", value, words)
  words = "at least 0, a whole number"
  _refused(VariableLengthBound, "objective.warm_steps", -1, words)
  VariableLengthBound(warm_steps=0)
