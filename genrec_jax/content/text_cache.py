# SPDX-License-Identifier: Apache-2.0
"""Vectors of texts that were encoded before, on disk, by content.

    TextCache("WORKDIR/vectors_cache").encode(encoder, texts)   float32 (N, D)

A key is the SHA-256 of encoder fingerprint and text; texts that are not there
are encoded in blocks, and each block is a .npz file of its own, so that what an
interrupted run has encoded is there for the next. A damaged block is encoded
again, with a warning: nothing is lost but time.
"""

from collections.abc import Sequence
import hashlib
import os
import pathlib
from typing import Any
import uuid

from absl import logging
from jaxtyping import Float
import numpy as np
from tqdm import tqdm

from genrec_jax.core import artifact

_BLOCK = 4096


class TextCache:
  """A folder of encoded texts; several processes may write to it."""

  def __init__(self, directory: str | os.PathLike):
    self._directory = pathlib.Path(directory)

  def encode(
    self, encoder: Any, texts: Sequence[str]
  ) -> Float[np.ndarray, "N D"]:
    """Vectors of the texts, in their order; those unknown are encoded.

    Args:
      encoder: see content.Encoder.
      texts: at least one.
    """
    folder = self._directory / encoder.fingerprint
    known = _read(folder)
    keys = [_key(encoder.fingerprint, text) for text in texts]
    wanted = {k: t for k, t in zip(keys, texts, strict=True) if k not in known}
    # Texts of like length lie in one block: the encoder pads little.
    new = sorted(wanted, key=lambda k: (len(wanted[k]), k))
    if new:
      folder.mkdir(parents=True, exist_ok=True)
    if known and new:
      logging.info("%d of %d texts are encoded already", len(known), len(texts))
    with tqdm(total=len(new), desc="encode", unit=" texts", delay=2) as bar:
      for start in range(0, len(new), _BLOCK):
        block = new[start : start + _BLOCK]
        vectors = encoder.encode([wanted[k] for k in block])
        artifact.save_arrays(
          folder / f"{uuid.uuid4().hex}.npz",
          {"keys": np.array(block, "S32"), "vectors": vectors},
        )
        known.update(zip(block, vectors, strict=True))
        bar.update(len(block))
    return np.stack([known[k] for k in keys]).astype(np.float32)


def _key(fingerprint: str, text: str) -> bytes:
  digest = hashlib.sha256(f"{fingerprint}\n{text}".encode())
  return digest.hexdigest()[:32].encode()


def _read(folder: pathlib.Path) -> dict[bytes, np.ndarray]:
  found: dict[bytes, np.ndarray] = {}
  for path in sorted(folder.glob("*.npz")):
    try:
      block = artifact.load_arrays(path)
      found.update(zip(block["keys"].tolist(), block["vectors"], strict=True))
    except (ValueError, KeyError) as e:
      logging.warning("%s is left out and encoded again: %s", path, e)
  return found
