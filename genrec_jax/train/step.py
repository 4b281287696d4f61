# SPDX-License-Identifier: Apache-2.0
"""THE train step, for every system.

    outputs = system(batch);  loss, parts = objective(outputs, batch, items)
    params  = optimizer(params, d loss / d params)
    params  = what outputs.assign sets (moving averages), last

What the optimizer freezes (train/frozen.py) is a constant of all three, but for
what a system carries from step to step (core/model_seams.py: CarryingModel),
which is set and not trained. A pure function of (state, batch): randomness
comes from the run's key folded with the step. What a system or a loss needs
beyond this belongs in the system, the objective or the layout; there is no
second step.

With a rollout (core/rollout_seams.py) the system draws samples first, with the
parameters of the state, and the loss finds them in outputs.aux["samples"]:

    drawn   = rollout.draw(system, state, requests)
    samples = rollout.score(system, requests, drawn)      with gradients
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

from flax import linen as nn, traverse_util
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from genrec_jax.core import rng, seams
from genrec_jax.core.rollout_seams import Rollout
from genrec_jax.core.sharding import Placement
from genrec_jax.core.types import Batch, Items
from genrec_jax.ops.embedding_lookup import Tape
from genrec_jax.train.frozen import Frozen, trained_by
from genrec_jax.train.rowwise import Optimizer
from genrec_jax.train.state import TrainState
from genrec_jax.train.tables import Tables, join

Objective = Callable[..., tuple[Array, dict[str, Any]]]
Step = Callable[..., tuple[TrainState, dict[str, Any]]]


def make_train_step(
  system: nn.Module,
  objective: Objective,
  optimizer: Optimizer | Frozen,
  key: Key[Array, ""],
  placement: Placement | None = None,
  rollout: Rollout | None = None,
) -> Step:
  """Builds the step: (state, batch) -> (state, metrics).

  With a rollout it is (state, batch, requests, constants) -> (state, metrics).

  Args:
    system: answers system(batch) and items(ids); has num_items.
    objective: see objectives/softmax.py.
    optimizer: an Optax transformation, or that and one for single rows, or a
      Frozen around either.
    key: the run's key.
    placement: how tables lie on devices; None for arrays that none shares.
    rollout: what makes samples, bound to its data.

  Returns:
    A function to jit. Metrics are "loss", "grad_norm" (of what is trained)
    and "users" (in the batch), scalars, and "parts": the objective's means by
    name. With a rollout also "faults": what must not be -> how often it is.
  """
  tables = Tables(system.logical_axes, placement)
  seen = seams.offers(system, seams.SeenModel)
  carries = seams.offers(system, seams.CarryingModel)
  carried = frozenset(system.carried) if carries else frozenset()

  def ask_of(params):
    variables = {"params": tables.bind(params)}
    return functools.partial(system.apply, variables)

  def loss_fn(params, deltas, rows, frozen, batch, step, sampled):
    tapes = {path: Tape(deltas.get(path)) for path in rows}
    whole = join(params, {**rows, **frozen})
    variables = {"params": tables.bind(whole, tapes)}
    # Without tapes: a row that is looked at is none that the step updates.
    constants = {"params": jax.lax.stop_gradient(tables.bind(whole))}
    outputs = system.apply(
      variables,
      batch,
      deterministic=False,
      rngs={"dropout": rng.stream(key, "dropout", step)},
    )
    if rollout is not None:
      ask = functools.partial(system.apply, variables)
      more = {**(outputs.aux or {}), "samples": rollout.score(ask, *sampled)}
      outputs = dataclasses.replace(outputs, aux=more)
    items = Items(
      system.num_items,
      lambda ids: system.apply(variables, ids, method="items"),
      rows_only=bool(tapes or tables.axes),
      seen=(lambda: system.apply(variables, method="seen")) if seen else None,
      peek=lambda ids: system.apply(constants, ids, method="items"),
    )
    loss, parts = objective(
      outputs, batch, rng=rng.stream(key, "objective", step), items=items
    )
    lookups = {p: (t.ids, t.vectors) for p, t in tapes.items()}
    return loss, (lookups, parts, outputs.assign or {})

  def step(state: TrainState, batch: Batch, requests=None, constants=None):
    held, facts, sampled = state.held, {}, ()
    if rollout is not None:
      held = rollout.renew(held, state.params, state.step)
      drawn = rollout.draw(
        ask_of,
        state.params,
        held,
        requests,
        constants,
        rng.stream(key, "rollout", state.step),
        state.step,
      )
      sampled = requests, drawn, constants
      facts = {"faults": rollout.faults(drawn)}
    # Tables with an optimizer of their own are differentiated by lookup: the
    # first trace tells how many there are, the second adds a zero to each.
    inner, trained, frozen = trained_by(optimizer, state.params)
    params, rows = tables.for_gradient(inner, trained)
    args = (rows, frozen, batch, state.step, sampled)
    deltas = tables.zero_deltas(lambda: loss_fn(params, {}, *args)[1][0], rows)
    (loss, (lookups, parts, assign)), gradients = jax.value_and_grad(
      loss_fn, argnums=(0, 1), has_aux=True
    )(params, deltas, *args)
    params, opt_state, norm = tables.apply(
      inner,
      dataclasses.replace(state, params=trained),
      gradients,
      {path: ids for path, (ids, _) in lookups.items()},
    )
    params = _assigned(
      join(params, frozen),
      {
        path: pair
        for path, pair in assign.items()
        if path not in frozen or "/".join(path) in carried
      },
    )
    metrics = {
      "loss": loss.astype(jnp.float32),
      "grad_norm": norm,
      "users": jnp.sum(jnp.max(batch["segment_ids_BL"], axis=1)),
      "parts": parts if rollout is None else parts | rollout.facts(drawn),
      **facts,
    }
    return TrainState(state.step + 1, params, opt_state, held), metrics

  return step


def _assigned(params: Any, assign: dict[tuple[str, ...], tuple]) -> Any:
  """Parameters with what the system set itself."""
  if not assign:
    return params
  flat = traverse_util.flatten_dict(params)
  for path, (where, value) in assign.items():
    if path not in flat:
      raise ValueError(
        f"the system sets {'/'.join(path)}, which is no parameter; there are"
        f" {', '.join('/'.join(p) for p in flat)}."
      )
    flat[path] = jnp.where(where, value, flat[path])
  return traverse_util.unflatten_dict(flat)
