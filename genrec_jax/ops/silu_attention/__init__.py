# SPDX-License-Identifier: Apache-2.0
"""Pointwise (SiLU) attention: one signature, three implementations."""

from genrec_jax.ops.silu_attention.api import IMPLEMENTATIONS, silu_attention
from genrec_jax.ops.silu_attention.block_sizes import BlockSizes

__all__ = ["IMPLEMENTATIONS", "BlockSizes", "silu_attention"]
