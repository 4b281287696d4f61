# SPDX-License-Identifier: Apache-2.0
"""Exact search: every item is scored against every query, on the devices.

    score(b, v) = <query_b, item_v>    float32; ids and scores of the k best

Item vectors (V + 1, D) go to the devices once, in `build`; row 0 is the pad
and is never returned. With several devices each holds an equal share of the
rows, finds its own k best, and the shares are merged: ids, scores and the order
of ties (lower id first) are those of one device. Where the one device is the
host's CPU, the host sorts what its scores leave (ops/host_top_k.py).

Memory: scores live (B, block_items) float32 at a time, whatever V is; a mask of
allowed items is B V / 8 bytes on the host and, split, on the devices: 256
requests over 10 million items are 320 MB. allowed=None needs none.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, UInt32
import numpy as np

from genrec_jax.data.item_mask import BITS, ItemMask
from genrec_jax.ops.host_top_k import host_top_k
from genrec_jax.ops.top_k import sharded_top_k

_AXIS = "items"


class BruteForce:
  """Exact retriever; make one with `BruteForce.build(item_vectors)`."""

  def __init__(
    self,
    items: Float[Array, "rows D"],
    mesh: Mesh,
    num_items: int,
    block_items: int = 65_536,
  ):
    """Takes vectors that already lie on devices.

    Args:
      items: rows split over all axes of the mesh; row 0 is the pad, and rows
        beyond num_items fill the array up.
      mesh: the devices, of one or several processes.
      num_items: V.
      block_items: items that a device scores at once.
    """
    self._items = items
    self._mesh = mesh
    self._block_items = block_items
    self.num_items = num_items

  @classmethod
  def build(
    cls,
    item_vectors: Float[Array, "V1 D"] | Float[np.ndarray, "V1 D"],
    *,
    devices: Sequence[jax.Device] | None = None,
    block_items: int = 65_536,
  ) -> "BruteForce":
    """Puts item vectors, row 0 = pad, on devices (default: this process's).

    A later build with vectors of the same shape compiles nothing anew.
    """
    num_rows, _ = item_vectors.shape
    if num_rows < 2:
      raise ValueError(
        f"item_vectors has {num_rows} rows; it needs row 0 (pad) and at least"
        " one item"
      )
    devices = jax.local_devices() if devices is None else list(devices)
    mesh = jax.make_mesh(
      (len(devices),), (_AXIS,), axis_types=(AxisType.Auto,), devices=devices
    )
    rows = -(-num_rows // len(devices)) * len(devices)
    host = np.zeros((rows, item_vectors.shape[1]), np.float32)
    host[:num_rows] = jax.device_get(item_vectors)
    sharding = NamedSharding(mesh, PartitionSpec(_AXIS))
    items = jax.device_put(host, sharding)
    return cls(items, mesh, num_rows - 1, block_items)

  def search(
    self,
    query: Float[Array, "B D"] | Float[np.ndarray, "B D"],
    k: int,
    allowed: ItemMask | None = None,
  ) -> tuple[
    Int[Array, "B K"] | Int[np.ndarray, "B K"],
    Float[Array, "B K"] | Float[np.ndarray, "B K"],
    dict[str, Any],
  ]:
    """Returns ids and scores of the k best allowed items per query, and {}.

    Places beyond the number of allowed items hold id 0 and score -inf.

    Args:
      query: query vectors.
      k: places to fill; may exceed the catalogue.
      allowed: items that may be returned; None allows all.
    """
    if query.shape[1] != self._items.shape[1]:
      raise ValueError(
        f"queries have width {query.shape[1]} and items"
        f" {self._items.shape[1]}; both must come from the same system"
      )
    if allowed is not None:
      allowed.check(query.shape[0], self.num_items)
    query = jax.device_put(
      jnp.asarray(query, jnp.float32)
      if isinstance(query, jax.Array)
      else np.asarray(query, np.float32),
      NamedSharding(self._mesh, PartitionSpec()),
    )
    words = None if allowed is None else self._words(allowed)
    sizes = {
      "k": k,
      "num_valid": self.num_items + 1,
      "block": self._block_items,
    }
    if self._is_host:
      ids, scores = host_top_k(query, self._items, words, **sizes)
    else:
      ids, scores = sharded_top_k(
        query, self._items, words, mesh=self._mesh, **sizes
      )
    return ids, scores, {}

  @property
  def _is_host(self) -> bool:
    """Whether the one device is the host's CPU."""
    return self._mesh.size == 1 and self._mesh.devices.item().platform == "cpu"

  def _words(self, allowed: ItemMask) -> UInt32[Array, "B W"]:
    """Each device's words, bit 0 of the first being its first row."""
    rows = self._items.shape[0] // self._mesh.size
    words = -(-rows // BITS)

    def of_device(index):
      device = (index[1].start or 0) // words
      return allowed.words_from(device * rows, rows)

    return jax.make_array_from_callback(
      (len(allowed), words * self._mesh.size),
      NamedSharding(self._mesh, PartitionSpec(None, self._mesh.axis_names)),
      of_device,
    )
