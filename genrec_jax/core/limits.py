# SPDX-License-Identifier: Apache-2.0
"""What numbers and dtypes of a config may be, by the names of their keys.

A name means one thing in every part (`dropout` is a share of what is left out,
`num_layers` a count), so that one table holds for all of them. What depends on
a second value is the part's own to check.
"""

from collections.abc import Mapping
import math
import re
from typing import Any

# Names, what they may be, and how that is said. The first that fits decides.
_LIMITS = (
  (
    r"steps|count|readers|batch_size|row_length|row_multiple|max_length"
    r"|max_items|eval_users|keep_checkpoints|log_every_steps|num_results"
    r"|num_(encoder_|decoder_)?layers|num_(heads|beams|experts)"
    r"|((key|value|ffn|head|hidden|vector|feature)_)?width",
    lambda x: x >= 1,
    "at least 1",
  ),
  (
    r"(\w+_)?dropout|b1|b2|label_smoothing|hold_out_items",
    lambda x: 0 <= x < 1,
    "at least 0 and below 1",
  ),
  (
    r"learning_rate|temperature|eps|normalizer|embedding_scale|clip_norm",
    lambda x: x > 0,
    "above 0",
  ),
  (
    r"(\w+_)?weight|weight_decay|\w+_init_std|warmup_steps|patience"
    r"|(eval|checkpoint)_every_steps|num_positions",
    lambda x: x >= 0,
    "at least 0",
  ),
  # As wide as what JAX and NumPy take for one.
  ("seed", lambda x: 0 <= x < 2**32, "at least 0 and below 2**32"),
)

# Of key `dtype`: what matrix products are computed in.
_DTYPES = ("float32", "bfloat16", "float16")


def check_numbers(values: Mapping[str, Any], where: str) -> None:
  """Raises a ValueError that names the first value that cannot be.

  Args:
    values: key -> value of one node; what is no number is passed over, but
      where the key asks for one.
    where: path of the node in the config.
  """
  for key, value in values.items():
    if key == "dtype" and value not in _DTYPES:
      raise ValueError(
        f"{where}.dtype must be {', '.join(_DTYPES[:-1])} or {_DTYPES[-1]},"
        f" got {value!r}."
      )
    limit = next((x for x in _LIMITS if re.fullmatch(x[0], key)), None)
    if isinstance(value, str) and limit is not None:
      raise ValueError(f"{where}.{key} must be a number, got {value!r}.")
    if isinstance(value, bool) or not isinstance(value, int | float):
      continue
    if not math.isfinite(value):
      raise ValueError(f"{where}.{key} must be finite, got {value}.")
    if limit is not None and not limit[1](value):
      raise ValueError(f"{where}.{key} must be {limit[2]}, got {value}.")
