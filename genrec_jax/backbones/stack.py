# SPDX-License-Identifier: Apache-2.0
"""A stack of equal layers: unrolled or scanned, rematerialised or not.

    x = layer_{n-1}(... layer_0(x)),    x (B, L, D)

Unrolled, layer i owns the parameters `layer_0` ... `layer_{n-1}`. Scanned
(`scan`), one program is compiled and run n times, so compiling does not take
longer with depth; parameters are `layers/...` with a leading axis of n, and
`layers/w[i]` is what `layer_i/w` is unrolled. The two start from different
random values and are not each other's checkpoints.

Rematerialised (`remat`), the backward pass computes a layer again from its
input: what is kept is n times x instead of all that is inside.
"""

from collections.abc import Callable

from flax import linen as nn
from jaxtyping import Array, Float

from genrec_jax.core.types import SequenceInfo


def run_layers(
  make: Callable[..., nn.Module],
  num_layers: int,
  x_BLD: Float[Array, "B L D"],
  info: SequenceInfo,
  *,
  deterministic: bool,
  scan: bool,
  remat: bool,
) -> Float[Array, "B L D"]:
  """Runs layers (x, info, deterministic) -> x inside a compact module.

  Args:
    make: name -> layer.
    num_layers: n.
    x_BLD: input of the first layer.
    info: given to every layer.
    deterministic: no dropout.
    scan: one scanned layer instead of n unrolled ones.
    remat: compute layers again in the backward pass.
  """

  def apply(layer, x_BLD, info):
    return layer(x_BLD, info, deterministic)

  if remat:
    # Within a scan nothing could merge the two computations anyway.
    apply = nn.remat(apply, prevent_cse=not scan)
  if not scan:
    for i in range(num_layers):
      x_BLD = apply(make(name=f"layer_{i}"), x_BLD, info)
    return x_BLD

  def body(layer, x_BLD, info):
    return apply(layer, x_BLD, info), None

  scanned = nn.scan(
    body,
    variable_axes={"params": 0},
    split_rngs={"params": True, "dropout": True},
    in_axes=nn.broadcast,
    length=num_layers,
  )
  return scanned(make(name="layers"), x_BLD, info)[0]
