# SPDX-License-Identifier: Apache-2.0
"""What training changes: step, parameters, optimizer state.

The data iterator's state and the run's bookkeeping are plain JSON beside it
(train/checkpoints.py); randomness is a function of the step (core/rng.py).
"""

import dataclasses
import functools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from genrec_jax.core import rng
from genrec_jax.core.types import Batch
from genrec_jax.train.frozen import trained_by


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
  """One pytree with everything a step updates.

  Attributes:
    step: steps done, an int32 scalar.
    params: parameters, float32.
    opt_state: state of the optimizer.
    held: parameters of earlier steps, by name, which a rollout compares with
      (core/rollout_seams.py); None = none.
  """

  step: Any
  params: Any
  opt_state: Any
  held: Any = None


def init_params(system: nn.Module, batch: Batch, key: Key[Array, ""]) -> Any:
  """Fresh parameters; only the shapes of the batch matter."""
  variables = jax.jit(
    lambda k, b: system.init({"params": k}, b, deterministic=True)
  )(rng.stream(key, "init"), batch)
  return variables["params"]


def init_state(params: Any, optimizer: Any, tables: Any = None) -> TrainState:
  """A state at step 0.

  Args:
    params: parameters.
    optimizer: an Optax transformation, or a Frozen around one
      (train/frozen.py); with tables (train/tables.py) also one that updates
      single rows.
    tables: the tables among the parameters.
  """
  optimizer, trained, _ = trained_by(optimizer, params)
  # An optimizer that updates single rows has no init of its own.
  if tables is None:
    init = optimizer.init
  else:
    init = functools.partial(tables.init, optimizer)
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    opt_state=jax.jit(init)(trained),
  )


def num_parameters(params: Any) -> int:
  """How many scalars a tree of parameters has."""
  return sum(x.size for x in jax.tree.leaves(params))
