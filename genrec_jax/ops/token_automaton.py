# SPDX-License-Identifier: Apache-2.0
"""A finite automaton over types of tokens, on the device.

    states(token_BL, segment_ids_BL)      the state after each token
    advance(state, token)                 the state after one more
    allowed(state)                        which tokens may come next

Its tables are those of a grammar (data/token_grammar.py). State 0 is before the
first token of a segment; the last state is that of an error, which nothing
leaves and after which nothing is allowed. Padding (token 0) keeps a state, so
the last column of right-padded prompts is the state to go on from.
"""

import dataclasses
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TokenAutomaton:
  """See the module docstring; arrays of NumPy or of the device.

  Attributes:
    type_V: type of each token.
    next_state_SK: state after a token of each type.
    allowed_SV: tokens that may come next.
  """

  type_V: Any
  next_state_SK: Any
  allowed_SV: Any

  def advance(
    self, state: Int[Array, "..."], token: Int[Array, "..."]
  ) -> Int[Array, "..."]:
    """The state after one more token of each; tokens are of the vocabulary."""
    kind = jnp.asarray(self.type_V)[token]
    return jnp.asarray(self.next_state_SK)[state, kind]

  def allowed(self, state: Int[Array, "..."]) -> Bool[Array, "... V"]:
    """Which tokens may come next."""
    return jnp.asarray(self.allowed_SV)[state]

  def states(
    self,
    token_BL: Int[Array, "B L"],
    segment_ids_BL: Int[Array, "B L"] | None = None,
  ) -> Int[Array, "B L"]:
    """The state after each token; every segment starts anew.

    Args:
      token_BL: packed rows.
      segment_ids_BL: as in a batch; None = a row is one segment. Where it is 0
        the state stays.
    """
    begins_BL = jnp.zeros(token_BL.shape, bool)
    if segment_ids_BL is not None:
      before_BL = jnp.pad(segment_ids_BL, ((0, 0), (1, 0)))[:, :-1]
      changed_BL = segment_ids_BL != before_BL
      begins_BL = changed_BL & (segment_ids_BL > 0)

    def step(state_B, column):
      token_B, begins_B = column
      state_B = self.advance(jnp.where(begins_B, 0, state_B), token_B)
      return state_B, state_B

    start_B = jnp.zeros(token_BL.shape[0], jnp.int32)
    _, states_LB = lax.scan(step, start_B, (token_BL.T, begins_BL.T))
    return states_LB.T
