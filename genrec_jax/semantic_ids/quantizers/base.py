# SPDX-License-Identifier: Apache-2.0
"""What tokenizers share: options that fit, and a fitted one that codes.

    fitted = ResidualKMeans((256, 256, 256)).fit(vectors_ND, seed=0)
    codes_NM = fitted.encode(vectors_ND)          0-based within their level
    fitted.save(directory);  tokenizer.load(directory).decode(codes_NM)

A fitted tokenizer is a frozen dataclass of arrays and plain values, and a
pytree of its arrays; its fingerprint is a hash of all of them. Vectors are
coded in blocks of one fixed shape, so that a vector gets the same codes alone
as among a million others: the bits of a matrix product may depend on its shape.
Shapes: N vectors of width D, M levels, C codes of a level.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from typing import Any, Protocol, runtime_checkable

import jax
from jaxtyping import Float, Int
import numpy as np
from tqdm import tqdm

from genrec_jax.core import atomic, sealed
from genrec_jax.core.checksums import sha256
from genrec_jax.core.names import public_name, resolve

_ROWS = 1024
_ARRAYS, _MANIFEST = "tokenizer.npz", "tokenizer.json"


@runtime_checkable
class Tokenizer(Protocol):
  """Options, as a config names them."""

  def fit(self, vectors_ND: Float[np.ndarray, "N D"], *, seed: int) -> Any:
    """Learns codes from the vectors of a catalogue (without a padding row)."""


@runtime_checkable
class MadeByRun(Protocol):
  """A tokenizer that a run has trained, on vectors of a version."""

  vectors_version: str


@runtime_checkable
class MadeOfData(Protocol):
  """What a run has learned from the training part of a data set.

  Attributes:
    data_fingerprint: of that data set, its split and what it holds out.
  """

  data_fingerprint: str


@runtime_checkable
class KnowsFit(Protocol):
  """A fitted tokenizer that keeps the codes of what it was fitted to.

  One whose codes depend on all items at once, such as parts of equal size.

  Attributes:
    fit_codes: codes of the vectors of the fit, in their order.
  """

  fit_codes: Int[np.ndarray, "N M"]


class Fitted:
  """Base of fitted tokenizers: frozen dataclasses, registered by `fitted`.

  A subclass has fields `width` (D) and `level_sizes`, and three pure functions
  of jax arrays: `_encode`, `_decode` and `_costs`.
  """

  width: int
  level_sizes: tuple[int, ...]

  def encode(
    self, vectors_ND: Float[np.ndarray, "N D"]
  ) -> Int[np.ndarray, "N M"]:
    """Codes of vectors.

    Raises:
      ValueError: vectors of another width, or that are not finite.
    """
    check_vectors(vectors_ND, self.width)
    empty = np.zeros((0, len(self.level_sizes)), np.int32)
    return self._in_blocks("encode", vectors_ND, empty)

  def decode(
    self, codes_NM: Int[np.ndarray, "N M"]
  ) -> Float[np.ndarray, "N D"]:
    """The vectors that codes stand for.

    Raises:
      ValueError: codes outside their level.
    """
    check_codes(codes_NM, self.level_sizes)
    empty = np.zeros((0, self.width), np.float32)
    return self._in_blocks("decode", codes_NM, empty)

  def last_level_costs(
    self, vectors_ND: Float[np.ndarray, "N D"]
  ) -> Float[np.ndarray, "N C"]:
    """What each code of the last level costs, after the levels before it.

    The squared distance, and the code's price where there is one; encode takes
    the cheapest.
    """
    check_vectors(vectors_ND, self.width)
    empty = np.zeros((0, self.level_sizes[-1]), np.float32)
    return self._in_blocks("costs", vectors_ND, empty)

  def save(self, directory: str | os.PathLike) -> None:
    """Writes tokenizer.npz and tokenizer.json, the second last."""
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    arrays, plain = self._split()
    with atomic.replacing(directory / _ARRAYS) as path:
      with open(path, "wb") as file:
        np.savez(file, **arrays)
    manifest = {
      "kind": public_name(type(self)),
      "values": plain,
      "fingerprint": self.fingerprint,
      "sha256": sha256([directory / _ARRAYS]),
    }
    text = json.dumps(sealed.seal(manifest), indent=2) + "\n"
    atomic.write_text(directory / _MANIFEST, text)

  @classmethod
  def load(cls, directory: str | os.PathLike) -> "Fitted":
    """Reads what save wrote.

    Raises:
      ValueError: nothing there, damaged, or of another kind.
    """
    found = load(directory)
    if not isinstance(found, cls):
      raise ValueError(
        f"{directory} holds a {type(found).__name__}, not a {cls.__name__}."
      )
    return found

  @property
  def fingerprint(self) -> str:
    """16 hexadecimal digits of a hash of all arrays and values."""
    arrays, plain = self._split()
    kind = public_name(type(self))
    digest = hashlib.sha256(json.dumps([kind, plain]).encode())
    for name, array in sorted(arrays.items()):
      digest.update(f"{name} {array.dtype} {array.shape}".encode())
      digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]

  @functools.cached_property
  def _on_device(self) -> "Fitted":
    return jax.device_put(self)

  def _split(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Fields that are arrays, or tuples of arrays, and the plain others."""
    arrays, plain = {}, {}
    for field in dataclasses.fields(self):
      value = getattr(self, field.name)
      if isinstance(value, np.ndarray):
        arrays[field.name] = value
      elif isinstance(value, tuple) and any(
        isinstance(v, np.ndarray) for v in value
      ):
        plain[field.name] = {"arrays": len(value)}
        arrays.update({f"{field.name}.{i}": v for i, v in enumerate(value)})
      else:
        plain[field.name] = value
    return arrays, plain

  def _in_blocks(
    self, name: str, rows: np.ndarray, empty: np.ndarray
  ) -> np.ndarray:
    parts = [empty]
    with tqdm(total=len(rows), desc="tokens", unit=" items", delay=2) as bar:
      for start in range(0, len(rows), _ROWS):
        block = rows[start : start + _ROWS]
        pad = np.zeros((_ROWS - len(block), *rows.shape[1:]), rows.dtype)
        with jax.default_matmul_precision("highest"):
          done = np.asarray(
            _FUNCTIONS[name](self._on_device, np.concatenate([block, pad]))
          )
        parts.append(done[: len(block)].astype(empty.dtype))
        bar.update(len(block))
    return np.concatenate(parts)


# Compiled once for all tokenizers of the same shapes and any number of rows.
_FUNCTIONS = {
  "encode": jax.jit(lambda fitted, vectors_ND: fitted._encode(vectors_ND)),
  "decode": jax.jit(lambda fitted, codes_NM: fitted._decode(codes_NM)),
  "costs": jax.jit(lambda fitted, vectors_ND: fitted._costs(vectors_ND)),
}


def fitted(*arrays: str) -> Callable[[type], type]:
  """Class decorator: makes a Fitted dataclass a pytree of the fields named."""

  def register(cls: type) -> type:
    names = [field.name for field in dataclasses.fields(cls)]
    return jax.tree_util.register_dataclass(
      cls,
      data_fields=list(arrays),
      meta_fields=[name for name in names if name not in arrays],
    )

  return register


def load(directory: str | os.PathLike) -> Any:
  """A fitted tokenizer of any kind from the folder it was saved in.

  Raises:
    ValueError: nothing there, or damaged (names the file).
  """
  directory = pathlib.Path(directory)
  if not (directory / _MANIFEST).is_file():
    raise ValueError(f"{directory} holds no tokenizer: {_MANIFEST} is missing.")
  path, fix = directory / _MANIFEST, "Make the tokens again."
  manifest = sealed.read_sealed(path, fix)
  found = sha256([directory / _ARRAYS])
  if found != manifest["sha256"]:
    raise ValueError(
      f"{directory / _ARRAYS} is damaged: its checksum is not the one in"
      f" {_MANIFEST}. {fix}"
    )
  kind = resolve(manifest["kind"], f"{directory / _MANIFEST}: kind")
  with np.load(directory / _ARRAYS, allow_pickle=False) as file:
    arrays = dict(file)
  return kind(**_joined(arrays, manifest["values"]))


def _joined(
  arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]
) -> dict[str, Any]:
  fields = {name: a for name, a in arrays.items() if "." not in name}
  for name, value in values.items():
    if isinstance(value, Mapping) and "arrays" in value:
      value = tuple(arrays[f"{name}.{i}"] for i in range(value["arrays"]))
    elif isinstance(value, list):
      value = tuple(value)
    fields[name] = value
  return fields


def check_vectors(
  vectors_ND: Float[np.ndarray, "N D"], width: int | None = None
) -> None:
  """Raises a ValueError unless vectors are finite and of this width."""
  if width is not None and vectors_ND.shape[1] != width:
    raise ValueError(
      f"the tokenizer codes vectors of width {width}, these have"
      f" {vectors_ND.shape[1]}: use the encoder that it was fitted with."
    )
  bad = np.flatnonzero(~np.isfinite(vectors_ND).all(axis=1))
  if len(bad):
    raise ValueError(
      f"{len(bad)} of {len(vectors_ND)} vectors are not finite, the first in"
      f" row {bad[0]}."
    )


def check_codes(
  codes_NM: Int[np.ndarray, "N M"], level_sizes: tuple[int, ...]
) -> None:
  """Raises a ValueError unless codes lie within their levels."""
  if codes_NM.shape[1] != len(level_sizes):
    raise ValueError(
      f"codes have {codes_NM.shape[1]} levels, the tokenizer"
      f" {len(level_sizes)}."
    )
  outside = (codes_NM < 0) | (codes_NM >= np.array(level_sizes)[None, :])
  if outside.any():
    row, level = np.argwhere(outside)[0]
    raise ValueError(
      f"code {codes_NM[row, level]} in row {row} is outside level"
      f" {level + 1}, which has codes 0 to {level_sizes[level] - 1}."
    )


def check_sizes(
  level_sizes: tuple[int, ...], num_vectors: int, where: str
) -> None:
  """Raises a ValueError for no levels, or a level that vectors cannot fill."""
  if not level_sizes or min(level_sizes) < 1:
    raise ValueError(
      f"{where}: level_sizes={level_sizes} must have one level or more, each"
      " of at least one code."
    )
  if max(level_sizes) > num_vectors:
    raise ValueError(
      f"{where}: a level of {max(level_sizes)} codes is larger than the"
      f" catalogue, which has {num_vectors} vectors to fit it with. Lower"
      " level_sizes."
    )
