# SPDX-License-Identifier: Apache-2.0
"""One table in parts, by the file's name; nothing after an error."""

import polars as pl
import pyarrow as pa
import pytest

from genrec_jax.serving.table_file import TableFile

_READ = {
  "parquet": pl.read_parquet,
  "csv": pl.read_csv,
  "jsonl": pl.read_ndjson,
}
_PARTS = [
  pl.DataFrame({"name": ["a,b", 'c"d', "é\n"], "score": [0.5, -1.0, 2.0]}),
  pl.DataFrame({"name": [], "score": []}, {"name": pl.String, "score": float}),
  pl.DataFrame({"name": ["z"], "score": [1e-7]}),
]


@pytest.mark.parametrize("kind", _READ)
def test_what_is_written_is_read(kind, tmp_path):
  path = tmp_path / f"a.{kind}"
  with TableFile(path) as file:
    for part in _PARTS:
      file.write(part)
    assert not path.exists()
  assert file.rows == 4
  assert _READ[kind](path).equals(pl.concat(_PARTS))


def test_arrow_keeps_nothing_meanwhile(tmp_path):
  before = pa.default_memory_pool().backend_name
  with TableFile(tmp_path / "a.parquet") as file:
    file.write(_PARTS[0])
    assert pa.default_memory_pool().backend_name == "system"
  assert pa.default_memory_pool().backend_name == before


@pytest.mark.parametrize("kind", _READ)
def test_an_error_leaves_nothing(kind, tmp_path):
  with pytest.raises(KeyError), TableFile(tmp_path / f"a.{kind}") as file:
    file.write(_PARTS[0])
    raise KeyError
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_what_cannot_be_written_is_raised_and_leaves_nothing(
  kind, tmp_path, monkeypatch
):
  def fail(*_):
    raise OSError("no space left")

  path = tmp_path / f"a.{kind}"
  with pytest.raises(OSError, match="no space"), TableFile(path) as file:
    file.write(_PARTS[0])
    monkeypatch.setattr(file, "_write", fail)
    file.write(_PARTS[2])
  assert not list(tmp_path.iterdir())


def test_another_format_is_refused():
  with pytest.raises(ValueError, match=r"ends in .parquet, .csv, .jsonl"):
    TableFile("recs.xlsx")
