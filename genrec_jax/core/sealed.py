# SPDX-License-Identifier: Apache-2.0
"""JSON objects that carry a checksum of themselves.

    text = json.dumps(seal(values), indent=2)      {..., "checksum": "5b0c1f0e"}
    values = unseal(json.loads(text), path, fix)

It is the CRC-32 of all other keys, so that layout and order do not matter. An
object without the key was written before there were any, or by hand, and is
taken as it is: who edits such a file takes the line out.
"""

from collections.abc import Mapping
import json
import pathlib
from typing import Any
import zlib

_KEY = "checksum"


def seal(values: Mapping[str, Any]) -> dict[str, Any]:
  """The values with their checksum, which comes last."""
  values = {key: value for key, value in values.items() if key != _KEY}
  return {**values, _KEY: _checksum(values)}


def unseal(
  values: Mapping[str, Any], path: pathlib.Path, fix: str
) -> dict[str, Any]:
  """The values without their checksum.

  Args:
    values: as they were read.
    path: of the file, for errors.
    fix: what to do about a damaged one: a sentence.

  Raises:
    ValueError: they are not what was written.
  """
  rest = {key: value for key, value in values.items() if key != _KEY}
  if values.get(_KEY, _checksum(rest)) != _checksum(rest):
    raise ValueError(
      f"{path} is damaged: it is not what was written. {fix} If it was edited"
      f' on purpose, take its line "{_KEY}" out.'
    )
  return rest


def read_json(path: pathlib.Path, fix: str) -> dict[str, Any]:
  """The object of a file, its checksum not yet looked at.

  Raises:
    ValueError: it holds none.
  """
  try:
    values = json.loads(path.read_bytes())
  except ValueError as error:
    raise ValueError(f"{path} is damaged ({error}). {fix}") from error
  if not isinstance(values, dict):
    raise ValueError(f"{path} is damaged: it holds no JSON object. {fix}")
  return values


def read_sealed(path: pathlib.Path, fix: str) -> dict[str, Any]:
  """The values of a file; ValueError where it is damaged."""
  return unseal(read_json(path, fix), path, fix)


def _checksum(values: Mapping[str, Any]) -> str:
  # As JSON reads it back: lists of tuples, text of keys.
  plain = json.loads(json.dumps(values))
  return f"{zlib.crc32(json.dumps(plain, sort_keys=True).encode()):08x}"
