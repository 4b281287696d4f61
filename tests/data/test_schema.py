# SPDX-License-Identifier: Apache-2.0
"""Records survive their bytes; manifests say when they cannot be read."""

import dataclasses
import json
import timeit

from hypothesis import given, strategies as st
from hypothesis.extra import numpy as npst
import numpy as np
import pytest

from genrec_jax.data import schema

MANIFEST = schema.Manifest(
  source="sources.Files",
  checksums={"log.csv": "ab"},
  counts={"in": 3, "out": 3, "dropped": {}},
  item_table={},
  fields={"item": "int32", "time": "int32"},
  epoch_seconds=978_300_019,
  num_users=1,
  num_items=3,
  num_events=3,
  num_shards=1,
  split={"name": "data.LeaveOneOut"},
  actions=[""],
  median_gap_seconds=60,
  options={},
  fingerprint="0123456789abcdef",
)


@given(st.data())
def test_a_record_survives_its_bytes(data):
  others = [name for name in schema.FIELDS if name != "item"]
  names = ["item", *data.draw(st.sets(st.sampled_from(others)))]
  fields = {n: d for n, d in schema.FIELDS.items() if n in names}
  length = data.draw(st.integers(0, 20))
  record = {
    name: data.draw(npst.arrays(dtype, length))
    for name, dtype in fields.items()
  }
  record["user"] = np.array(data.draw(st.integers(0, 2**31 - 1)), np.int32)
  codec = schema.Codec(fields)
  decoded = codec.decode(codec.encode(record))
  assert decoded.keys() == record.keys()
  for name, array in record.items():
    assert decoded[name].dtype == array.dtype
    assert decoded[name].shape == array.shape
    # Bits, because a value may be NaN.
    assert decoded[name].tobytes() == array.tobytes()


def test_decoding_takes_microseconds():
  codec = schema.Codec(schema.FIELDS)
  record = {name: np.ones(200, d) for name, d in schema.FIELDS.items()}
  data = codec.encode({**record, "user": np.array(3, np.int32)})
  best = min(timeit.repeat(lambda: codec.decode(data), number=500, repeat=5))
  # 2 us on an idle machine (10 with type checks, as here).
  assert best / 500 < 50e-6


@pytest.mark.parametrize("damage", [b"", b"\0" * 8, b"\0" * 13])
def test_bytes_of_something_else_are_refused(damage):
  codec = schema.Codec({"item": "int32", "time": "int32"})
  with pytest.raises(ValueError, match="do not belong|multiple of element"):
    codec.decode(damage)


def test_bytes_with_other_fields_are_refused():
  record = {"item": np.ones(2, np.int32), "user": np.array(0, np.int32)}
  data = schema.Codec({"item": "int32"}).encode(record)
  with pytest.raises(ValueError, match="do not belong together"):
    schema.Codec({"item": "int32", "time": "int32"}).decode(data)


def test_fields_of_a_wrong_type_are_refused():
  codec = schema.Codec({"item": "int32"})
  with pytest.raises(ValueError, match="item must be int32"):
    codec.encode({"item": np.ones(2, np.int64), "user": np.int32(0)})
  with pytest.raises(ValueError, match="cannot be stored"):
    schema.Codec({"item": "int64"})


def test_manifest_survives_its_text(tmp_path):
  MANIFEST.save(tmp_path)
  assert schema.Manifest.load(tmp_path) == MANIFEST
  assert [p.name for p in tmp_path.iterdir()] == ["manifest.json"]


def test_manifest_that_cannot_be_read_says_why(tmp_path):
  with pytest.raises(ValueError, match="no prepared data set"):
    schema.Manifest.load(tmp_path)
  path = tmp_path / "manifest.json"
  values = dataclasses.asdict(MANIFEST)
  path.write_text(json.dumps({**values, "schema_version": 99}))
  with pytest.raises(ValueError, match="schema version 99, this code reads 1"):
    schema.Manifest.load(tmp_path)
  path.write_text(json.dumps({**values, "colour": 1}))
  with pytest.raises(ValueError, match="colour"):
    schema.Manifest.load(tmp_path)
  path.write_text('{"source": ')
  with pytest.raises(ValueError, match="damaged"):
    schema.Manifest.load(tmp_path)
