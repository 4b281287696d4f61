# SPDX-License-Identifier: Apache-2.0
"""FLOPs of a ranker's request by what of the history has been read before.

    all     start(history)                     and candidates(kept, items)
    rest    resume_history(kept, the rest)     and candidates(kept, items)

of the compiled programs, never run (hlo/cost.py). Programs are HSTU's in
models.ActionRanker, with one token an event. FLOPs say what computing saves; a
request also makes arrays and starts programs, which no cache saves.
"""

from collections.abc import Sequence
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genrec_jax.backbones.hstu import HSTU
from genrec_jax.core import seams
from genrec_jax.core.resuming_seams import ResumingCandidates
from genrec_jax.data.dataset.feedback import Feedback
from genrec_jax.data.dataset.impressions import no_impressions
from genrec_jax.data.layouts.actions import ActionOriented
from genrec_jax.hlo import text as hlo
from genrec_jax.hlo.cost import program_cost
from genrec_jax.layers.action_heads import LinearHead
from genrec_jax.layers.attention import SiluAttention
from genrec_jax.models.action_ranker import ActionRanker
from genrec_jax.train.state import init_params

_HEADS = 2
# What a program is told of places that were read before.
_TOLD = ("segment_ids_BL", "positions_BL", "time_BL", "query_time_BL")
_MORE = ("role_BL", "limit_BL")


def speed_ups(
  events: int,
  read: Sequence[int],
  candidates: Sequence[int],
  *,
  width: int = 256,
  layers: int = 4,
) -> list[dict[str, Any]]:
  """FLOPs of each request, and how many times fewer they are.

  Args:
    events: of the history, at most 500: attention computes all pairs of a
      block.
    read: events that were read before, below `events`; 0 = none.
    candidates: of a request.
    width: of the model.
    layers: of it.
  """
  system, layout = _ranker(events, width, layers)
  nothing = no_impressions(1, 1)
  history, _ = layout.apart(layout.impression_batch(nothing))
  params = jax.eval_shape(
    lambda: init_params(
      system, _training_row(layout, events), jax.random.key(0)
    )
  )
  shapes = jax.eval_shape(lambda: dict(history))
  start = functools.partial(system.apply, method="start")
  # What is kept has classes of its own, which take arrays and no shapes.
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), params)
  kept = jax.jit(lambda p, b: start({"params": p}, b))(zeros, dict(history))
  kept, classes = jax.tree.flatten(kept)
  whole = _flops(lambda p, b: start({"params": p}, b), params, shapes)
  rows = jax.eval_shape(
    lambda p, b: _resumed(system, p, (), None, b)[1], params, shapes
  )
  rest = {0: whole}
  for count in set(read) - {0}:
    before = tuple(
      tuple(_cut(x, slice(0, count)) for x in (k, v)) for k, v in rows
    )
    told = {
      name: _cut(shapes[name], slice(0, count))
      for name in (*_TOLD, *_MORE)
      if name in shapes
    }
    new = {n: _cut(x, slice(count, events)) for n, x in shapes.items()}
    rest[count] = _flops(
      functools.partial(_resumed, system), params, before, told, new
    )
  found = []
  for number in candidates:
    shown = no_impressions(1, number)
    _, asked = layout.apart(layout.impression_batch(shown))
    asked = jax.eval_shape(functools.partial(dict, asked))
    scored = _flops(
      lambda p, k, b: system.apply(
        {"params": p}, classes.unflatten(k), b, method="candidates"
      ),
      params,
      kept,
      asked,
    )
    found += [
      {
        "read": count,
        "events": events,
        "candidates": number,
        "flops": rest[count] + scored,
        "times_fewer": round((whole + scored) / (rest[count] + scored), 3),
      }
      for count in sorted({*read})
    ]
  return found


def _ranker(
  events: int, width: int, layers: int
) -> tuple[ActionRanker, ActionOriented]:
  feedback = Feedback(("click",))
  bound = feedback.bind(("", "click"))
  layout = ActionOriented(
    feedback, events, bound_feedback=bound, bound_shown=bound
  )
  system = ActionRanker(
    num_items=100,
    width=width,
    backbone=HSTU(
      num_layers=layers,
      num_heads=_HEADS,
      key_width=width // _HEADS,
      value_width=width // _HEADS,
      num_positions=events + 2,
      attention=SiluAttention(normalizer=float(events)),
      position_bias=False,
      time_bias=False,
    ),
    heads=LinearHead(1),
    num_actions=1,
  )
  seams.require(system, ResumingCandidates, "the ranker")
  return system, layout


def _training_row(layout: ActionOriented, events: int) -> dict[str, np.ndarray]:
  zeros = np.zeros((1, events + 1), np.int32)
  rows = np.zeros((1, events + 1, layout.num_columns), np.int32)
  return layout.batch(rows, zeros, zeros)


def _resumed(system, params, kept, before, batch):
  return system.apply(
    {"params": params}, kept, before, batch, method="resume_history"
  )


def _cut(x: Any, places: slice) -> jax.ShapeDtypeStruct:
  shape = (x.shape[0], places.stop - places.start, *x.shape[2:])
  return jax.ShapeDtypeStruct(shape, jnp.dtype(x.dtype))


def _flops(function: Any, *shapes: Any) -> float:
  compiled = jax.jit(function).lower(*shapes).compile()
  return float(program_cost(hlo.parse(compiled.as_text())).flops)
