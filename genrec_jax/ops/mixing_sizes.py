# SPDX-License-Identifier: Apache-2.0
"""Parameters and FLOPs of stacks that mix tokens, by their sizes.

Of L layers of P feed-forward parts, one for each of T tokens of width D, of n
matrices D x F each:

    parameters  n P L T D F               FLOPs of a row forward  2 n P L T D F

With F = k D that is 2 k L T D^2 and 4 k L T D^2 for one part of two matrices
(RankMixer, arXiv 2507.15551), and three times as much for two parts that are
gated (TokenMixer-Large, arXiv 2602.06563). A sparse part counts the matrices
that a token takes. Left out are biases, norms, routers, and what makes tokens
of features; mixing costs nothing. 2 FLOPs are a multiply-add.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class MixingSizes:
  """See the module docstring.

  Attributes:
    tokens: T.
    width: D.
    hidden_width: F.
    num_layers: L.
    parts: P, of a layer.
    matrices: n; 3 where the inner vector is gated.
  """

  tokens: int
  width: int
  hidden_width: int
  num_layers: int
  parts: int = 1
  matrices: int = 2

  @property
  def parameters(self) -> int:
    """Of the feed-forward parts."""
    of_token = self.matrices * self.width * self.hidden_width
    return self.num_layers * self.parts * self.tokens * of_token

  @property
  def flops(self) -> int:
    """Of a row, forward."""
    return 2 * self.parameters
