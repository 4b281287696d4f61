# SPDX-License-Identifier: Apache-2.0
"""The package as a whole: its version, its guards, the suite's own settings."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import genrec_jax


def test_version_is_what_pyproject_declares():
  assert re.fullmatch(r"\d+\.\d+\.\d+", genrec_jax.__version__)


def test_rank_promotion_raises():
  with pytest.raises(ValueError, match="rank_promotion"):
    jnp.zeros(3) + jnp.zeros((2, 3))


def test_there_are_eight_virtual_devices():
  assert len(jax.devices()) == 8
  assert {d.platform for d in jax.devices()} == {"cpu"}


def test_warnings_are_errors():
  with pytest.raises(RuntimeWarning):
    np.log(np.zeros(1))
