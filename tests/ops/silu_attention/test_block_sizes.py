# SPDX-License-Identifier: Apache-2.0
"""Blocks that cannot be are refused; what VMEM lacks is said in MiB."""

import pytest

from genrec_jax.ops.silu_attention.block_sizes import (
  DEFAULTS,
  BlockSizes,
  choose_heads,
  default_block_sizes,
)


@pytest.mark.parametrize(
  ("sizes", "message"),
  [
    ({"forward_q": 200}, "forward_q=200 must be 128 times a power of two"),
    ({"backward_k": 0}, "backward_k=0 must be"),
    ({"forward_q": 384}, "so that blocks divide each other and rows"),
    ({"forward_stripe": 48}, "must be 16, 32, 64 or 128"),
    ({"backward_q": 2048}, "backward_q=2048 is more than 1024"),
  ],
)
def test_bad_sizes_are_errors(sizes, message):
  with pytest.raises(ValueError, match=message):
    BlockSizes(**sizes)


def test_every_chip_has_sizes_and_an_unknown_one_the_smallest():
  assert set(DEFAULTS) == {"v4", "v5e", "v5p", "v6e"}
  assert default_block_sizes("TPU v5 lite") == DEFAULTS["v5e"]
  assert default_block_sizes("TPU of tomorrow") == DEFAULTS["v4"]


def test_short_rows_take_short_blocks():
  clipped = BlockSizes().clipped(200, 130)
  assert (clipped.forward_q, clipped.backward_q) == (256, 256)
  assert (clipped.forward_k, clipped.backward_k) == (256, 256)


def test_long_rows_go_by_fewer_heads():
  blocks = BlockSizes()
  few = choose_heads(blocks, 8, (128, 128), 32_768, 32_768, 2)
  assert 1 <= few < choose_heads(blocks, 8, (128, 128), 4096, 4096, 2)


def test_an_overrun_says_by_how_much_and_which_block_to_shrink():
  blocks = BlockSizes(vmem_bytes=12 * 2**20)
  message = r"1 head\(s\), [\d.]+ MiB more than .* tiles \(backward_q x"
  with pytest.raises(ValueError, match=message):
    choose_heads(blocks, 4, (128, 128), 4096, 4096, 2)
  wide = BlockSizes(8192, 8192, 64, 128, 128, 128, vmem_bytes=15 * 2**20)
  message = r"forward kernel needs .* tiles \(forward_stripe x forward_k\)"
  with pytest.raises(ValueError, match=message):
    choose_heads(wide, 1, (128, 128), 8192, 8192, 2)
  with pytest.raises(ValueError, match="heads=3 does not divide 4"):
    choose_heads(BlockSizes(heads=3), 4, (128, 128), 512, 512, 2)
