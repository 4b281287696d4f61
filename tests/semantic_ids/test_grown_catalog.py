# SPDX-License-Identifier: Apache-2.0
"""A catalogue that has grown: new items by the encoder of the live table."""

import json
import logging
import shutil

import numpy as np
import pytest

from genrec_jax.content.item_vectors import ItemVectors
from genrec_jax.content.tfidf import TfidfSvd
from genrec_jax.report.semantic_ids.quality import make_quality
from genrec_jax.semantic_ids import stages
from genrec_jax.semantic_ids.item_tokens import ItemTokens

_TITLES = [
  f"{color} {thing}"
  for color in ("red", "green", "blue", "black")
  for thing in ("pen", "chair", "lamp", "vase")
]
_IDS = [f"i{n}" for n in range(len(_TITLES))]
# Two that are like items that are there, and one of whose words none is known.
_NEW = {"n1": "red pen", "n2": "black vase", "n3": "quixotic zyzzyva"}


def _config(live, width=4):
  encoder = {"name": "content.TfidfSvd", "width": width, "min_texts": 1}
  return {
    "name": "grown",
    "content": {
      "directory": str(live / "vectors"),
      "template": "{title}",
      "encoder": encoder,
    },
    "tokens": {
      "directory": str(live / "tokens"),
      "tokenizer": {
        "name": "quantizers.ResidualKMeans",
        "level_sizes": (4, 4),
        "iterations": 5,
      },
      "unique": {"name": "semantic_ids.DedupLevel", "size": 8},
    },
  }


@pytest.fixture
def live(tmp_path, make_catalog):
  """The folder of a table that a model is trained for."""
  catalog = make_catalog(item=_IDS, title=_TITLES)
  stages.make_tokens(_config(tmp_path / "live"), catalog, tmp_path / "live")
  return tmp_path / "live"


@pytest.fixture
def grown(make_catalog):
  return make_catalog(item=[*_IDS, *_NEW], title=[*_TITLES, *_NEW.values()])


def _files(folder):
  return {
    path: path.read_bytes() for path in folder.rglob("*") if path.is_file()
  }


def _by_hand(live, title):
  """Codes of a title, by the parts that were kept."""
  fitted = TfidfSvd(path=str(live / "tokens" / "encoder")).fit(())
  tokenizer = ItemTokens.load(live / "tokens").tokenizer()
  return tokenizer.encode(fitted.encode([title]))[0]


@pytest.mark.parametrize("vectors", ["there", "gone", "of an old table"])
def test_new_items_are_coded_in_the_space_of_the_live_table(
  live, grown, tmp_path, vectors, caplog
):
  if vectors == "gone":
    shutil.rmtree(live / "vectors")
  elif vectors == "of an old table":
    shutil.rmtree(live / "tokens" / "encoder")
    path = live / "tokens" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["checksum"]
    manifest["files"] = {
      name: value
      for name, value in manifest["files"].items()
      if not name.startswith("encoder")
    }
    path.write_text(json.dumps(manifest))
  before, table = _files(live), ItemTokens.load(live / "tokens")
  with pytest.raises(ValueError, match="3 of 20 items have no codes.*--assign"):
    stages.make_tokens(_config(live), grown, tmp_path)
  with caplog.at_level(logging.WARNING):
    tokens = stages.assign_new(_config(live), grown, tmp_path)
  assert tokens.version == table.version and tokens.revision == 2
  assert stages.make_tokens(_config(live), grown, tmp_path).head == tokens.head
  np.testing.assert_array_equal(
    tokens.for_catalog(_IDS), table.for_catalog(_IDS)
  )
  # As an item of the same title had them, up to the level that tells apart.
  for name, old in (("n1", "red pen"), ("n2", "black vase")):
    twin = _IDS[_TITLES.index(old)]
    new, known = tokens.for_catalog([name, twin])
    assert new[:2].tolist() == known[:2].tolist() and new[2] != known[2]
    if vectors != "of an old table":
      assert new[:2].tolist() == _by_hand(live, old).tolist()
  # Nothing of the live model's has changed but the table's own history.
  after = _files(live)
  assert all(
    after[path] == old or path.name == "history.jsonl"
    for path, old in before.items()
  )
  made = stages.make_vectors(_config(live), grown, tmp_path)
  assert made.manifest["counts"]["zero"] == 1
  assert not made.for_catalog(["n3"]).any()
  report = make_quality(_config(live), grown, tmp_path)
  assert report["items"] == len(_IDS) + 3
  assert stages.retire(_config(live), tmp_path, ["n1"]).revision == 3


def test_another_encoder_is_refused_and_nothing_is_to_be_deleted(
  live, grown, tmp_path
):
  with pytest.raises(ValueError, match="'width': 4.*'width': 3") as error:
    stages.assign_new(_config(live, width=3), grown, tmp_path)
  assert "--config.content.directory" in str(error.value)
  vectors = ItemVectors.load(live / "vectors")
  path = live / "vectors" / "vectors.npy"
  path.write_bytes(path.read_bytes()[:-4])
  with pytest.raises(ValueError, match="Restore the folder") as damaged:
    ItemVectors.load(live / "vectors")
  with pytest.raises(ValueError, match="name another folder") as there:
    ItemTokens.make(live / "tokens", vectors, None)
  for found in (error, damaged, there):
    assert "delete" not in str(found.value).lower()
