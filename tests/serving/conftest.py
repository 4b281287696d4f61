# SPDX-License-Identifier: Apache-2.0
"""Rankers by formula, on one prepared data set."""

import functools

import pytest

from tests.serving.formula_ranker import formula_ranker, prepared


@pytest.fixture(scope="session")
def histories(tmp_path_factory):
  return prepared(tmp_path_factory.mktemp("ranking") / "data")


@pytest.fixture
def make_ranker(histories):
  """make_ranker(tires=0.5): see formula_ranker.py."""
  return functools.partial(formula_ranker, histories)
