# SPDX-License-Identifier: Apache-2.0
"""A step's share of the peak, and what is said where there is none."""

import jax
import jax.numpy as jnp
import pytest

from genrec_jax.bench import train_step

_CONFIG = {"system": {"dtype": "float32"}}


@pytest.fixture(scope="module")
def product():
  x = jax.ShapeDtypeStruct((32, 64), jnp.float32)
  return jax.jit(lambda x: x @ x.T).lower(x).compile()


def test_a_product_has_its_flops_and_a_cpu_no_peak(product):
  facts = train_step._utilisation(_CONFIG, product, 1.0, row_length=32)
  assert facts["flops_per_device"] == 2 * 32 * 32 * 64
  assert facts["mfu"] is None and "no peak is listed" in facts["mfu_note"]


def test_a_program_that_is_not_understood_has_no_mfu(product, monkeypatch):
  monkeypatch.setattr(
    jax.stages.Compiled, "as_text", lambda self: "another language"
  )
  facts = train_step._utilisation(_CONFIG, product, 1.0, row_length=32)
  assert facts["mfu"] is None and facts["flops_per_device"] is None
  assert "not understood" in facts["mfu_note"]
