# SPDX-License-Identifier: Apache-2.0
"""How the fused kernel cuts its work, and what that takes of a core's VMEM.

A step of the forward grid computes `forward_q` x `forward_k` pairs, one of the
backward grid `backward_k` x `backward_q`, in stripes of rows whose values stay
near the registers. Larger blocks pay the work per step (rotations of the
position table, boundaries of time buckets) less often, and waste more pairs at
the diagonal. The backward pass keeps dq of a whole row in VMEM, so long rows
go by fewer heads at a time.
"""

from collections.abc import Mapping
import dataclasses

_MIB = 2**20
_LANES = 128


@dataclasses.dataclass(frozen=True)
class BlockSizes:
  """Sizes of blocks, all 128 times a power of two except the stripes.

  Attributes:
    forward_q: queries of a forward block.
    forward_k: keys of a forward block.
    forward_stripe: queries of a stripe.
    backward_q: queries of a backward block.
    backward_k: keys of a backward block.
    backward_stripe: keys of a stripe.
    heads: computed together; they share a bias. None = as many as fit.
    vmem_bytes: what the kernel may use.
  """

  forward_q: int = 1024
  forward_k: int = 1024
  forward_stripe: int = 64
  backward_q: int = 1024
  backward_k: int = 512
  backward_stripe: int = 128
  heads: int | None = None
  vmem_bytes: int = 100 * _MIB

  def __post_init__(self):
    for name in ("forward_q", "forward_k", "backward_q", "backward_k"):
      size = getattr(self, name)
      if not isinstance(size, int) or size < _LANES or size & (size - 1):
        raise ValueError(
          f"BlockSizes.{name}={size} must be {_LANES} times a power of two, so"
          " that blocks divide each other and rows."
        )
    for name in ("forward_stripe", "backward_stripe"):
      size = getattr(self, name)
      if size < 16 or _LANES % size:
        raise ValueError(
          f"BlockSizes.{name}={size} must be 16, 32, 64 or {_LANES}."
        )
    if self.backward_q > 1024:
      raise ValueError(
        f"BlockSizes.backward_q={self.backward_q} is more than 1024: the search"
        " for bucket boundaries is unrolled over its tiles."
      )

  def clipped(self, queries: int, keys: int) -> "BlockSizes":
    """Blocks no longer than rows need, rounded up to 128."""

    def clip(size, length):
      while size > _LANES and size // 2 >= length:
        size //= 2
      return size

    return dataclasses.replace(
      self,
      forward_q=clip(self.forward_q, queries),
      forward_k=clip(self.forward_k, keys),
      backward_q=clip(self.backward_q, queries),
      backward_k=clip(self.backward_k, keys),
    )


# 4 x 512 x 512 floats of a step's tiles and spills fit the 16 MiB of v4.
_SMALL = BlockSizes(
  forward_q=512,
  forward_k=512,
  backward_q=512,
  backward_k=256,
  vmem_bytes=15 * _MIB,
)
DEFAULTS: Mapping[str, BlockSizes] = {
  "v4": _SMALL,
  "v5e": BlockSizes(),
  "v5p": BlockSizes(vmem_bytes=60 * _MIB),
  "v6e": BlockSizes(),
}
_KINDS = {
  "TPU v4": "v4",
  "TPU v5": "v5p",
  "TPU v5p": "v5p",
  "TPU v5 lite": "v5e",
  "TPU v5e": "v5e",
  "TPU v6 lite": "v6e",
  "TPU v6e": "v6e",
}


def default_block_sizes(device_kind: str) -> BlockSizes:
  """Of a chip by jax's name of it; v4's, the smallest, for any other."""
  return DEFAULTS[_KINDS.get(device_kind, "v4")]


def backward_bytes(
  blocks: BlockSizes,
  heads: int,
  widths: tuple[int, int],
  queries: int,
  keys: int,
  itemsize: int,
) -> dict[str, int]:
  """VMEM of the backward kernel by what takes it.

  Args:
    blocks: sizes.
    heads: computed together.
    widths: of keys and of values.
    queries: of a row.
    keys: of a row.
    itemsize: bytes of an element of q, k and v.
  """
  wide_k, wide_v = (-(-w // _LANES) * _LANES for w in widths)
  size_q, size_k = blocks.backward_q, blocks.backward_k
  both = heads * (wide_k + wide_v)
  return {
    "dq of a row (heads)": 4 * heads * wide_k * queries,
    "blocks of queries (backward_q)": 2 * itemsize * size_q * (both + wide_k),
    "blocks of keys (backward_k)": size_k * both * (4 * itemsize + 4),
    "tiles (backward_q x backward_k)": 4 * 4 * size_q * size_k,
    "position table": 2 * 4 * 8 * 4 * (max(queries, keys) + 2 * size_k),
  }


def forward_bytes(
  blocks: BlockSizes,
  heads: int,
  widths: tuple[int, int],
  itemsize: int,
  placed: bool = False,
) -> dict[str, int]:
  """VMEM of the forward kernel by what takes it.

  Args:
    blocks: sizes.
    heads: see backward_bytes.
    widths: see there.
    itemsize: see there.
    placed: positions are read, and their biases kept for a block.
  """
  wide_k, wide_v = (-(-w // _LANES) * _LANES for w in widths)
  size_q, size_k = blocks.forward_q, blocks.forward_k
  both = heads * (wide_k + wide_v)
  tiles = 4 * 4 * min(size_q, 2 * blocks.forward_stripe) * size_k
  return {
    "blocks of queries (forward_q)": size_q
    * (2 * itemsize * both + 4 * heads * wide_v),
    "blocks of keys (forward_k)": 2 * itemsize * size_k * both,
    "tiles (forward_stripe x forward_k)": tiles,
    "biases (forward_q x forward_k)": 4 * size_q * size_k * placed,
  }


def choose_heads(
  blocks: BlockSizes,
  num_heads: int,
  widths: tuple[int, int],
  queries: int,
  keys: int,
  itemsize: int,
  placed: bool = False,
) -> int:
  """The most heads together that fit; see backward_bytes and forward_bytes.

  Raises:
    ValueError: not even one head (or blocks.heads) fits; says by how much and
      which block takes most.
  """
  choices = [n for n in range(num_heads, 0, -1) if num_heads % n == 0]
  if blocks.heads is not None:
    if blocks.heads not in choices:
      raise ValueError(
        f"BlockSizes.heads={blocks.heads} does not divide {num_heads} heads."
      )
    choices = [blocks.heads]
  for heads in choices:
    kernels = {
      "forward": forward_bytes(blocks, heads, widths, itemsize, placed),
      "backward": backward_bytes(
        blocks, heads, widths, queries, keys, itemsize
      ),
    }
    name = max(kernels, key=lambda k: sum(kernels[k].values()))
    parts = kernels[name]
    total = sum(parts.values())
    if total <= blocks.vmem_bytes:
      return heads
  worst = max(parts, key=parts.get)
  raise ValueError(
    f"the {name} kernel needs {total / _MIB:.1f} MiB of VMEM with {heads}"
    f" head(s), {(total - blocks.vmem_bytes) / _MIB:.1f} MiB more than the"
    f" {blocks.vmem_bytes / _MIB:.0f} MiB it may use. Shrink the block of the"
    f" largest part: {worst}, {parts[worst] / _MIB:.1f} MiB."
  )


def plan(
  blocks: BlockSizes,
  length: int,
  num_heads: int,
  widths: tuple[int, int],
  itemsize: int,
  *,
  shrink: bool,
  placed: bool = False,
) -> tuple[BlockSizes, int, int]:
  """How to cut rows of a length.

  Args:
    blocks: largest sizes.
    length: queries and keys of a row.
    num_heads: H.
    widths: of keys and of values.
    itemsize: bytes of an element of q, k and v.
    shrink: take fewer queries per backward block where a row is too long.
    placed: see forward_bytes.

  Returns:
    Blocks that divide the padded length, that length, and heads per step.

  Raises:
    ValueError: nothing fits; see choose_heads.
  """
  while True:
    cut = blocks.clipped(length, length)
    # Powers of two: the largest is a multiple of all.
    step = max(cut.forward_q, cut.forward_k, cut.backward_q, cut.backward_k)
    padded = -(-length // step) * step
    try:
      heads = choose_heads(
        cut, num_heads, widths, padded, padded, itemsize, placed
      )
      return cut, padded, heads
    except ValueError:
      if not shrink or blocks.backward_q == _LANES:
        raise
      blocks = dataclasses.replace(blocks, backward_q=blocks.backward_q // 2)
