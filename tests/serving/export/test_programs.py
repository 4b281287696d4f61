# SPDX-License-Identifier: Apache-2.0
"""What can be a program, and what is said of what cannot."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.serving.export.functions import Function
from genrec_jax.serving.export.options import ExportOptions
from genrec_jax.serving.export.programs import exported


def _function(call):
  def shapes(rows):
    return (jax.ShapeDtypeStruct((rows, 3), np.float32),)

  return Function("twice", call, ("x_BD",), shapes)


def _read(data):
  return jax.export.deserialize(bytearray(data))


def test_a_program_is_for_its_platforms_and_for_any_number():
  program = _read(exported(_function(lambda x: 2 * x), None, ("cuda", "cpu")))
  assert program.platforms == ("cuda", "cpu")
  for rows in (1, 7):
    x = np.arange(3.0 * rows, dtype=np.float32).reshape(rows, 3)
    np.testing.assert_array_equal(program.call(x), 2 * x)
  elsewhere = _read(exported(_function(lambda x: 2 * x), 2, ("tpu",)))
  with pytest.raises(ValueError, match="used on '\\('cpu',\\)'"):
    elsewhere.call(np.zeros((2, 3), np.float32))


def test_what_needs_to_know_the_number_says_so():
  def even(x_BD):
    if x_BD.shape[0] > 4:
      return x_BD
    return 2 * x_BD

  assert exported(_function(even), 2, ("cpu",))
  with pytest.raises(ValueError, match="any number .*--batch_sizes"):
    exported(_function(even), None, ("cpu",))


def test_what_only_some_platforms_can_names_the_others():
  def on_the_host(x_BD):
    return jax.pure_callback(lambda x: x, x_BD, x_BD)

  with pytest.raises(ValueError, match="'twice' .* for cpu, tpu .*NotImpl"):
    exported(_function(on_the_host), 2, ("cpu", "tpu"))

  def kernel(x_BD):
    return jax.lax.platform_dependent(
      x_BD,
      cpu=lambda x: jax.pure_callback(lambda x: x, x, x),
      default=jnp.sin,
    )

  assert exported(_function(kernel), 2, ("cuda", "tpu"))
  with pytest.raises(ValueError, match="exported for cpu .*leave these out"):
    exported(_function(kernel), 2, ("cuda", "cpu"))


@pytest.mark.parametrize(
  ("options", "said"),
  [
    ({"platforms": ("cuda", "gpu")}, "the platform 'gpu' is unknown"),
    ({"platforms": ()}, "name a platform: cpu, cuda, tpu"),
    ({"batch_sizes": (4, 0)}, "must be at least 1"),
    ({"num_results": 0}, "must be at least 1"),
    ({"batch_sizes": (), "any_size": False}, "answers nothing"),
  ],
)
def test_options_that_cannot_be(options, said):
  with pytest.raises(ValueError, match=said):
    ExportOptions(**options)
