# SPDX-License-Identifier: Apache-2.0
"""T5's parts: projections without biases, relative buckets, feed-forward.

    x + W_o softmax(RMSNorm(x) W_q (y W_k)^T + bias) y W_v      (no 1/sqrt(K))
    x + W_2 relu(RMSNorm(x) W_1)

Initial scales are T5's (Raffel et al., JMLR 2020): a unit-variance input gives
scores of about unit variance, which is what stands for 1/sqrt(K). The maths of
attention is in ops/; these modules hold its matrices, so that training on whole
rows and decoding token by token use the same ones.
"""

from typing import Protocol, runtime_checkable

from flax import linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from genrec_jax.core.seams import LogicalAxes
from genrec_jax.layers.dropout import Dropout
from genrec_jax.ops.relative_buckets import relative_buckets

# Dimensions of the matrices, by which a mesh splits them.
LOGICAL_AXES = {
  "query/kernel": ("width", "hidden"),
  "key/kernel": ("width", "hidden"),
  "value/kernel": ("width", "hidden"),
  "output/kernel": ("hidden", "width"),
  "in/kernel": ("width", "hidden"),
  "out/kernel": ("hidden", "width"),
  # Heads times buckets: small, and every device reads all of it.
  "bias/embedding": (None, None),
  "encoder_bias/embedding": (None, None),
  "decoder_bias/embedding": (None, None),
}


class Heads(nn.Module):
  """The four matrices of multi-head attention.

  Attributes:
    width: D.
    num_heads: H.
    head_width: E; H E need not be D.
    dtype: of the products; parameters are float32.
    num_key_heads: G heads of keys and values, which serve H / G of queries
      each; None = H.
  """

  width: int
  num_heads: int
  head_width: int
  dtype: str = "float32"
  num_key_heads: int | None = None

  def setup(self):
    inner = self.num_heads * self.head_width
    keys = inner
    if self.num_key_heads is not None:
      keys = self.num_key_heads * self.head_width

    def dense(features, std):
      return nn.Dense(
        features,
        use_bias=False,
        dtype=self.dtype,
        kernel_init=nn.initializers.normal(std),
      )

    self.query = dense(inner, (self.width * self.head_width) ** -0.5)
    self.key = dense(keys, self.width**-0.5)
    self.value = dense(keys, self.width**-0.5)
    self.output = dense(self.width, inner**-0.5)

  def queries(self, x: Float[Array, "... D"]) -> Float[Array, "... H E"]:
    """Queries by head."""
    return self._split(self.query(x))

  def keys_values(
    self, x: Float[Array, "... D"]
  ) -> tuple[Float[Array, "... G E"], Float[Array, "... G E"]]:
    """Keys and values by head; without a call these matrices are not there."""
    return self._split(self.key(x)), self._split(self.value(x))

  def merge(self, y: Float[Array, "... H E"]) -> Float[Array, "... D"]:
    """Heads -> width."""
    return self.output(y.reshape(*y.shape[:-2], -1))

  def _split(self, x):
    return x.reshape(*x.shape[:-1], -1, self.head_width)


@runtime_checkable
class PositionWise(Protocol):
  """A feed-forward part that a config may name, a module of a layer's own.

  Attributes:
    logical_axes: names of its parameters' dimensions (core/sharding.py).
  """

  logical_axes: LogicalAxes

  def __call__(
    self, x: Float[Array, "... D"], deterministic: bool
  ) -> Float[Array, "... D"]:
    """Position-wise, width kept."""


class FeedForward(nn.Module):
  """W_2 dropout(relu(W_1 x)), without biases."""

  width: int
  hidden_width: int
  dropout: float
  dtype: str = "float32"

  logical_axes = {
    "in/kernel": ("width", "hidden"),
    "out/kernel": ("hidden", "width"),
  }

  @nn.compact
  def __call__(
    self, x: Float[Array, "... D"], deterministic: bool
  ) -> Float[Array, "... D"]:
    """Position-wise, width kept."""

    def dense(features, fan_in, name):
      return nn.Dense(
        features,
        use_bias=False,
        dtype=self.dtype,
        kernel_init=nn.initializers.normal(fan_in**-0.5),
        name=name,
      )

    h = nn.relu(dense(self.hidden_width, self.width, "in")(x))
    h = Dropout(self.dropout)(h, deterministic=deterministic)
    return dense(self.width, self.hidden_width, "out")(h)


class RelativeBuckets(nn.Module):
  """A learned bias per head and bucket of the relative position.

  Attributes:
    num_heads: H.
    num_buckets: in all.
    max_distance: farther pairs share a bucket.
    both_sides: whether keys may follow their query.
    init_std: of the table.
  """

  num_heads: int
  num_buckets: int = 32
  max_distance: int = 128
  both_sides: bool = False
  init_std: float = 1.0

  def setup(self):
    self.embedding = self.param(
      "embedding",
      nn.initializers.normal(self.init_std),
      (self.num_heads, self.num_buckets),
      jnp.float32,
    )

  def by_offset(self, offsets: np.ndarray) -> Float[Array, "H ..."]:
    """The bias at offsets p_key - p_query, which are known when tracing."""
    buckets = relative_buckets(
      offsets,
      num_buckets=self.num_buckets,
      max_distance=self.max_distance,
      both_sides=self.both_sides,
    )
    return self.embedding[:, buckets]

  def of_row(self, length: int) -> Float[Array, "H L L"]:
    """The bias of every query and key of a row, by their indices."""
    index = np.arange(length)
    return self.by_offset(index[None, :] - index[:, None])

  def of_pairs(
    self, offset: Int[Array, "B K M"], seconds: Int[Array, "..."] | None
  ) -> Float[Array, "B H K M"]:
    """The bias at offsets p_key - p_query <= 0, which may be traced."""
    del seconds
    reach = self.max_distance
    table_HR = self.by_offset(-np.arange(reach + 1))
    bias_HBKM = table_HR[:, jnp.clip(-offset, 0, reach)]
    return jnp.moveaxis(bias_HBKM, 0, 1)
