# SPDX-License-Identifier: Apache-2.0
"""Linen modules (x_BLD, SequenceInfo) -> h_BLD."""

from genrec_jax.backbones.causal import CausalTransformer
from genrec_jax.backbones.cross_causal import CrossCausal
from genrec_jax.backbones.encoder_decoder import EncoderDecoder
from genrec_jax.backbones.hstu import HSTU
from genrec_jax.backbones.lazy_decoder import LazyDecoder
from genrec_jax.backbones.merged_history import MergedHistory
from genrec_jax.backbones.pre_norm_decoder import PreNormDecoder
from genrec_jax.backbones.stu import STU
from genrec_jax.backbones.transformer import PreNormTransformer, ResearchSASRec

__all__ = [
  "CausalTransformer",
  "CrossCausal",
  "EncoderDecoder",
  "HSTU",
  "LazyDecoder",
  "MergedHistory",
  "PreNormDecoder",
  "PreNormTransformer",
  "ResearchSASRec",
  "STU",
]
