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

A layer is a module (x_BLD, info, deterministic) -> x_BLD and its keys and
values; or with a cache (y_BKD, keys, deterministic, before), where `keys` says
what new tokens see and `before` holds the layer's part of the cache. What a
stack computes once for all of its layers (`common`) is given to each by name.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genrec_jax.core.types import Dim, SequenceInfo
from genrec_jax.layers.cache import Cache
from genrec_jax.layers.further_tokens import seen_in_run, with_run
from genrec_jax.ops.beam_attention import BeamKeys, KeysValues


class LayerStack(nn.Module):
  """What stacks of attention have in common, with or without a cache.

  A subclass says what its layers are and has the fields num_layers, num_heads,
  key_width, value_width, attention (layers/attention.py), dtype, scan and
  remat.
  """

  def layer(self) -> Callable[..., nn.Module]:
    """name -> layer."""
    raise NotImplementedError

  def common(self, info: SequenceInfo) -> dict[str, Any]:
    """Keyword arguments of all layers that depend on rows, or on new tokens."""
    del info
    return {}

  def __call__(
    self,
    x_BLD: Float[Array, "B L D"],
    info: SequenceInfo,
    *,
    deterministic: bool,
  ) -> Float[Array, "B L D"]:
    """Embedded rows (B, L, D) -> hidden states (B, L, D)."""
    return self._layers(
      run_layers,
      x_BLD,
      info,
      self.common(info),
      deterministic=deterministic,
      remat=self.remat,
    )[0]

  def init_cache(self, batch: Dim, length: int) -> Cache:
    """See layers/cache.py, as of the two methods that follow."""
    widths = (self.key_width, self.value_width)
    return Cache.empty(
      batch, length, self.num_layers, self.num_heads, widths, self.dtype
    )

  def start(
    self, x_BLD: Float[Array, "B L D"], info: SequenceInfo, length: int
  ) -> tuple[Float[Array, "B L D"], Cache]:
    """Hidden states of histories, one per row, and their cache."""
    h_BLD, kept = self._layers(
      run_layers,
      x_BLD,
      info,
      self.common(info),
      deterministic=True,
      remat=False,
      keep=True,
    )
    return h_BLD, self.init_cache(x_BLD.shape[0], length).behind(kept, info)

  def step(
    self,
    y_BKD: Float[Array, "B K D"],
    cache: Cache,
    info: SequenceInfo,
    parents_BK: Int[Array, "B K"] | None = None,
  ) -> tuple[Float[Array, "B K D"], Cache]:
    """Hidden states of one more token of each beam, and the cache with it."""
    cache = cache.follow(parents_BK, y_BKD.shape[1])
    full = self.attention.full
    keys = cache.seen(info, self.attention.window, full)
    before = [cache.layer(i) for i in range(self.num_layers)]
    h_BKD, new = self._layers(
      step_layers, y_BKD, before, keys, self.common(info)
    )
    return cache.then(h_BKD, new, info, causal=not full)

  @property
  def extends(self) -> bool:
    """Whether `extend` can be called: events that a window spares as long as
    they are the last ones are not kept as they were read."""
    return not self.attention.full

  def extend(
    self, x_BND: Float[Array, "B N D"], cache: Cache, info: SequenceInfo
  ) -> tuple[Float[Array, "B N D"], Cache]:
    """Hidden states of N more tokens of each row, and the cache with them."""
    keys = seen_in_run(cache, info, self.attention.window)
    before = [(cache.layer(i)[0], None) for i in range(self.num_layers)]
    h_BND, new = self._layers(
      step_layers, x_BND, before, keys, self.common(info)
    )
    return with_run(h_BND, cache, new, info)

  @nn.compact
  def _layers(self, run, *args, **kwargs):
    return run(self.layer(), self.num_layers, *args, scan=self.scan, **kwargs)


def run_layers(
  make: Callable[..., nn.Module],
  num_layers: int,
  x_BLD: Float[Array, "B L D"],
  info: SequenceInfo,
  common: Mapping[str, Any],
  *,
  deterministic: bool,
  scan: bool,
  remat: bool,
  keep: bool = False,
) -> tuple[Float[Array, "B L D"], list[KeysValues | None]]:
  """Runs layers over whole rows inside a compact module.

  Args:
    make: name -> layer.
    num_layers: n.
    x_BLD: input of the first layer.
    info: given to every layer.
    common: likewise, by name.
    deterministic: no dropout.
    scan: one scanned layer instead of n unrolled ones.
    remat: compute layers again in the backward pass.
    keep: return keys and values of all layers too.
  """

  def apply(layer, x_BLD, info, common):
    x_BLD, kept = layer(x_BLD, info, deterministic, **common)
    return x_BLD, kept if keep else None

  if remat:
    # Within a scan nothing could merge the two computations anyway.
    apply = nn.remat(apply, prevent_cse=not scan)
  if scan:
    scanned = _scanned(apply, num_layers, nn.broadcast)
    x_BLD, kept = scanned(make(name="layers"), x_BLD, info, common)
    return x_BLD, _apart(kept, num_layers)
  kept = []
  for i in range(num_layers):
    x_BLD, own = apply(make(name=f"layer_{i}"), x_BLD, info, common)
    kept.append(own)
  return x_BLD, kept


def step_layers(
  make: Callable[..., nn.Module],
  num_layers: int,
  y_BKD: Float[Array, "B K D"],
  before: Sequence[tuple[KeysValues | None, KeysValues | None]],
  keys: BeamKeys,
  common: Mapping[str, Any],
  *,
  scan: bool,
) -> tuple[Float[Array, "B K D"], list[KeysValues]]:
  """Runs layers over new tokens; a scan copies the cache together.

  Args:
    make: name -> layer.
    num_layers: n.
    y_BKD: input of the first layer.
    before: shared and own keys and values of each layer.
    keys: what the new tokens see.
    common: given to every layer by name.
    scan: one scanned layer instead of n unrolled ones.

  Returns:
    Hidden states, and keys and values of the new tokens in each layer.
  """
  if scan:

    def body(layer, y_BKD, before, keys, common):
      return layer(y_BKD, keys, True, before, **common)

    together = jax.tree.map(lambda *x: jnp.stack(x), *before)
    scanned = _scanned(body, num_layers, (0, nn.broadcast, nn.broadcast))
    y_BKD, new = scanned(make(name="layers"), y_BKD, together, keys, common)
    return y_BKD, _apart(new, num_layers)
  new = []
  for i in range(num_layers):
    y_BKD, own = make(name=f"layer_{i}")(y_BKD, keys, True, before[i], **common)
    new.append(own)
  return y_BKD, new


def _scanned(body, num_layers, in_axes):
  return nn.scan(
    body,
    variable_axes={"params": 0},
    split_rngs={"params": True, "dropout": True},
    in_axes=in_axes,
    length=num_layers,
  )


def _apart(tree, num_layers):
  return [jax.tree.map(lambda x, i=i: x[i], tree) for i in range(num_layers)]
