# SPDX-License-Identifier: Apache-2.0
"""How samples are drawn of a model that generates the codes of items.

    SampledItems   draws through the trie, each for itself   decoding/sampling
    BeamItems      the best beams, all different             decoding/beam
    SampledCodes   draws of all codes            decoding/unconstrained

A sample is one item (N = 1) and its codes (T = M); of codes that no item has,
item 0, which is no sample (core/rollout_seams.py: Drawer). Models that write
lists have drawers of their own (list_drawers.py).
"""

from collections.abc import Sequence
import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from genrec_jax.core import seams
from genrec_jax.core.option_checks import check_counts, check_positive
from genrec_jax.core.types import Drawn
from genrec_jax.decoding.beam import beam_search
from genrec_jax.decoding.code_log_probs import code_log_probs
from genrec_jax.decoding.decoder import Decoder
from genrec_jax.decoding.sampling import sample_items
from genrec_jax.decoding.trie import Trie
from genrec_jax.decoding.unconstrained import legal_share, sample_codes


class _OfItems:
  """What drawers of single items share."""

  num_samples: int

  within_trie: ClassVar[bool] = True

  def check_system(self, system: seams.Model) -> None:
    """Raises a ValueError where a model does not generate items."""
    seams.require(system, seams.DecoderModel, "config.system")

  def log_probs(
    self,
    decoder: Decoder,
    codes_GKT: Int[Array, "G K T"],
    level_sizes: tuple[int, ...],
  ) -> Float[Array, "G K T"]:
    """Of the codes of samples, by decoding/code_log_probs.py."""
    return code_log_probs(decoder, codes_GKT, level_sizes)

  def legal_share(self, decoder: Decoder, trie: Trie) -> Float[Array, "G"]:
    """Of beams over all codes, how many are an item's."""
    return legal_share(decoder, trie, self.num_samples)

  def codes_of(
    self, trie: Trie, item_GKN: Int[Array, "G K 1"]
  ) -> Int[Array, "G K T"]:
    """The codes of items; of what is no item they mean nothing."""
    return trie.codes(trie.leaves(item_GKN[:, :, 0]))


@dataclasses.dataclass(frozen=True)
class SampledItems(_OfItems):
  """Draws through the trie; an item may come twice.

  Attributes:
    num_samples: K.
    temperature: of all levels, or of each.
    top_p: mass of the codes that are drawn from; 1 = all.
  """

  num_samples: int
  temperature: float | Sequence[float] = 1.0
  top_p: float = 1.0

  def __post_init__(self):
    check_counts(self, "config.rollout.drawer", "num_samples")
    check_positive(self, "config.rollout.drawer", "top_p")

  def __call__(
    self, decoder: Decoder, trie: Trie, rng: Key[Array, ""]
  ) -> Drawn:
    """See core/rollout_seams.py: Drawer."""
    return _drawn(
      *sample_items(
        decoder,
        trie,
        _keys(decoder, rng),
        self.num_samples,
        temperature=self.temperature,
        top_p=self.top_p,
      )
    )


@dataclasses.dataclass(frozen=True)
class BeamItems(_OfItems):
  """The best items of a beam search; no item comes twice, nothing is drawn.

  Attributes:
    num_samples: K.
    num_beams: prefixes kept, at least K; 0 = K.
  """

  num_samples: int
  num_beams: int = 0

  def __post_init__(self):
    check_counts(self, "config.rollout.drawer", "num_samples")
    if self.num_beams and self.num_beams < self.num_samples:
      raise ValueError(
        f"config.rollout.drawer.num_beams={self.num_beams} must be 0 or at"
        f" least num_samples={self.num_samples}."
      )

  def __call__(
    self, decoder: Decoder, trie: Trie, rng: Key[Array, ""]
  ) -> Drawn:
    """See core/rollout_seams.py: Drawer."""
    del rng
    beams = self.num_beams or self.num_samples
    found = beam_search(decoder, trie, beams)
    return _drawn(*(x[:, : self.num_samples] for x in found))


@dataclasses.dataclass(frozen=True)
class SampledCodes(_OfItems):
  """Draws of all codes of a level; what no item has is no sample.

  So much of what is drawn is well-formed as the model has learnt, which
  objectives.FormatReward rewards. Of items that share all codes the lowest id.

  Attributes:
    num_samples: K.
    temperature: of all levels, or of each.
    top_p: mass of the codes that are drawn from; 1 = all.
  """

  num_samples: int
  temperature: float | Sequence[float] = 1.0
  top_p: float = 1.0

  within_trie: ClassVar[bool] = False

  def __post_init__(self):
    check_counts(self, "config.rollout.drawer", "num_samples")
    check_positive(self, "config.rollout.drawer", "top_p")

  def __call__(
    self, decoder: Decoder, trie: Trie, rng: Key[Array, ""]
  ) -> Drawn:
    """See core/rollout_seams.py: Drawer."""
    found = sample_codes(
      decoder,
      trie,
      _keys(decoder, rng),
      self.num_samples,
      temperature=self.temperature,
      top_p=self.top_p,
    )
    legal_GK = found.depth_BK == trie.num_levels
    # Without a meaning where the codes are nobody's.
    leaves_GK = jnp.where(legal_GK, found.leaves_BK, 0)
    ids_GK = trie.items_N[trie.first_item[-1][leaves_GK]]
    ids_GK = jnp.where(legal_GK, ids_GK, 0)
    return Drawn(ids_GK[..., None], found.codes_BKM, legal_GK)


def _keys(decoder: Decoder, rng: Key[Array, ""]) -> Key[Array, "G"]:
  """One for each request that the decoder has read."""
  rows = jax.eval_shape(lambda: decoder.start()[1]).shape[0]
  return jax.random.split(rng, rows)


def _drawn(ids_GK: Array, scores_GK: Array, codes_GKM: Array) -> Drawn:
  there_GK = (ids_GK > 0) & jnp.isfinite(scores_GK)
  return Drawn(ids_GK[..., None], codes_GKM, there_GK)
