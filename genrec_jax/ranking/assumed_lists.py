# SPDX-License-Identifier: Apache-2.0
"""Lists that a model of one sequence makes itself: item, action, next item.

    place 1   the candidate of most value behind the prompt
    place j   that of most value behind the prompt, the items placed before it
              and what is assumed to have come of each (assumed_actions.py)

As ranking/slates.sequential, but on the device and in one program: the prompt
is read once, and its keys and values are shared by all candidates and places. K
places of N candidates of T tokens cost K N T tokens. What is told of a
candidate is as of the request. Ties go to the candidate that was given first.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key
import numpy as np

from genrec_jax.core import finite, seams
from genrec_jax.core.suggest import choices_hint
from genrec_jax.data.dataset.impressions import Impressions
from genrec_jax.ops.action_masks import task_logits
from genrec_jax.ranking.assumed_actions import RULES, Rule
from genrec_jax.ranking.utility import ValueFunction


class AssumedList(NamedTuple):
  """K places of each request, the first one first.

  Attributes:
    order_BK: numbers among the candidates; -1 where there are no more.
    probabilities_BKT: of the tasks, by which each was chosen; 0 likewise.
    assumed_BKAC: of each of the A tokens of an action how much of its values
      was assumed; the first is that it is not known.
  """

  order_BK: Int[Array, "B K"]
  probabilities_BKT: Float[Array, "B K T"]
  assumed_BKAC: Float[Array, "B K A C"]


def assumed_list(
  ask: Callable[..., Any],
  batch: Mapping[str, Any],
  weights_T: Float[Array, "T"],
  places: int,
  rule: Rule,
  key: Key[Array, ""],
) -> AssumedList:
  """Lists of the candidates of a batch of impressions.

  Args:
    ask: (method, *args) -> what that method of a seams.AssumingModel answers.
    batch: prompts and candidates (layouts.TypedTokens.impression_batch).
    weights_T: what the tasks are worth (ranking/utility.py).
    places: K.
    rule: of assumed_actions.RULES.
    key: of what a rule draws.

  Raises:
    ValueError: no places.
  """
  if places < 1:
    raise ValueError(f"places={places} must be at least 1.")
  token_BNT = batch["candidate_token_BNT"]
  left_BN = jnp.asarray(batch["candidate_BN"]) > 0

  def place(carry, key):
    cache, left_BN = carry
    considered = ask("consider", cache, token_BNT)
    log_p_BNC = ask("action_log_probs", considered)
    p_BNT = jax.nn.sigmoid(task_logits(log_p_BNC))
    value_BN = jnp.einsum("bnt,t->bn", p_BNT, weights_T)
    # NaN comes first, so that nobody overlooks it.
    value_BN = jnp.where(jnp.isnan(value_BN), jnp.inf, value_BN)
    chosen_B = jnp.argmax(jnp.where(left_BN, value_BN, -jnp.inf), axis=1)
    there_B = left_BN.any(axis=1)
    p_BT = jnp.take_along_axis(p_BNT, chosen_B[:, None, None], axis=1)[:, 0]
    assumed = []

    def assume(logits_B1C, number):
      assumed.append(rule(logits_B1C, number, key))
      return assumed[-1]

    cache = ask("place", considered, chosen_B, assume)
    left_BN &= jnp.arange(left_BN.shape[1])[None, :] != chosen_B[:, None]
    order_B = jnp.where(there_B, chosen_B, -1)
    p_BT = jnp.where(there_B[:, None], p_BT, 0.0)
    return (cache, left_BN), (order_B, p_BT, jnp.concatenate(assumed, axis=1))

  carry = ask("open_list", batch, places), left_BN
  _, by_place = jax.lax.scan(place, carry, jax.random.split(key, places))
  return AssumedList(*(x.swapaxes(0, 1) for x in by_place))


@dataclasses.dataclass(frozen=True)
class ListMaker:
  """A trained model that makes lists; the instance itself is the function.

  Attributes:
    lists_fn: (batch of impressions, key) -> AssumedList; jitted.
    layout: makes prompts and tokens of candidates.
  """

  lists_fn: Callable[[Any, Any], AssumedList]
  layout: seams.ImpressionLayout

  @classmethod
  def of(
    cls,
    system: Any,
    params: Any,
    layout: Any,
    value: ValueFunction,
    places: int,
    rule: str = "likely",
  ) -> "ListMaker":
    """Of a system, and its parameters on this process's devices.

    Args:
      system: that makes lists.
      params: of it.
      layout: its own, bound to the data.
      value: of the layout's tasks.
      places: K.
      rule: what is assumed of a placed item, of assumed_actions.RULES.

    Raises:
      ValueError: a system that makes no lists, or another rule.
    """
    seams.require(system, seams.AssumingModel, "config.system")
    seams.require(layout, seams.ImpressionLayout, "config.pipeline.layout")
    if rule not in RULES:
      raise ValueError(f"rule={rule!r} is unknown.{choices_hint(rule, RULES)}")
    weights_T = jnp.asarray(value.weights, jnp.float32)

    @jax.jit
    def lists(params, batch, key):
      def ask(method, *args):
        return system.apply({"params": params}, *args, method=method)

      return assumed_list(ask, batch, weights_T, places, RULES[rule], key)

    return cls(functools.partial(lists, params), layout)

  def __call__(
    self, impressions: Impressions, key: Key[Array, ""] | None = None
  ) -> AssumedList:
    """Lists of the candidates of requests, on the host.

    Args:
      impressions: requests and their candidates; 0 = none.
      key: of what a rule draws; None = always the same.

    Raises:
      ValueError: probabilities that are not finite.
    """
    batch = self.layout.impression_batch(impressions)
    key = jax.random.key(0) if key is None else key
    found = jax.device_get(self.lists_fn(batch, key))
    finite.check_scores(np.asarray(found.probabilities_BKT))
    return AssumedList(*map(np.asarray, found))
