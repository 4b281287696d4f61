# SPDX-License-Identifier: Apache-2.0
"""Rankers by formula: the fixtures of tests/serving."""

from tests.serving.conftest import histories, make_ranker

__all__ = ["histories", "make_ranker"]
