# SPDX-License-Identifier: Apache-2.0
"""What is opened and what is refused, and that it answers as the run."""

import json
import pickle

import jax
import numpy as np
import pytest

from genrec_jax.core import sealed
from genrec_jax.data.dataset.impressions import no_impressions
from genrec_jax.data.dataset.requests import iter_requests, requests_at
from genrec_jax.data.item_mask import ItemMask
from genrec_jax.serving.export import Bundle, tensors
from genrec_jax.serving.export.manifest import read_manifest, write_manifest


def _flip(path, place, bit):
  data = bytearray(path.read_bytes())
  data[place] ^= 1 << bit
  path.write_bytes(data)


def test_a_flipped_bit_is_refused_by_the_name_of_its_file(bundle):
  names = [
    p.relative_to(bundle).as_posix() for p in bundle.rglob("*") if p.is_file()
  ]
  assert set(read_manifest(bundle)["files"]) == set(names) - {"manifest.json"}
  assert len(names) == 13
  rng = np.random.default_rng(0)
  for name in names:
    path, size = bundle / name, (bundle / name).stat().st_size
    # Of the manifest a byte in three: it is what all others rest on.
    some = range(0, size, 3) if name == "manifest.json" else (0, size - 1)
    for place in (*some, rng.integers(size)):
      bit = int(rng.integers(8))
      _flip(path, place, bit)
      with pytest.raises(ValueError, match=f"/{name} "):
        read_manifest(bundle)
      _flip(path, place, bit)
  (bundle / "config.json").unlink()
  with pytest.raises(ValueError, match="/config.json is missing"):
    Bundle.open(bundle)


def _rewritten(bundle, **changes):
  """The manifest with other values and a checksum that fits them."""
  path = bundle / "manifest.json"
  values = json.loads(path.read_text()) | changes
  path.write_text(json.dumps(sealed.seal(values)))


@pytest.mark.parametrize(
  ("changes", "said"),
  [
    ({"format": 2}, "manifest.json is of format 2, and .* reads 1"),
    ({"kind": "item_tokens"}, "describes 'item_tokens' of schema version 1"),
    ({"schema_version": 9}, "schema version 9"),
    ({"platforms": ["tpu"]}, "programs for tpu, and this process runs on cpu"),
    ({"num_items": 2**62}, "says that it has 4,611,.* its catalogue has 38"),
    (
      {"programs": {"query": {"any": "../elsewhere"}}},
      r"no checksum of \.\./elsewhere",
    ),
    ({"sizes": ["4"]}, "has no programs for any requests; it has them for 4"),
  ],
)
def test_what_is_for_others_is_refused(bundle, changes, said):
  _rewritten(bundle, **changes)
  with pytest.raises(ValueError, match=said):
    Bundle.open(bundle)


def test_a_folder_that_is_none_and_a_number_without_programs_are_refused(
  bundle, tmp_path
):
  with pytest.raises(
    ValueError, match="is no bundle: manifest.json is missing"
  ):
    Bundle.open(tmp_path)
  with pytest.raises(ValueError, match="no programs for 5 requests"):
    Bundle.open(bundle, rows=5)


def _sealed_anew(bundle):
  """A manifest that fits the files, as one that was damaged before has."""
  values = read_values(bundle)
  (bundle / "manifest.json").unlink()
  write_manifest(bundle, values)


def read_values(bundle):
  values = json.loads((bundle / "manifest.json").read_text())
  gone = ("kind", "schema_version", "format", "version", "files", "checksum")
  return {k: v for k, v in values.items() if k not in gone}


@pytest.mark.parametrize("rows", [None, 4])
def test_a_bundle_that_answers_otherwise_is_refused(bundle, rows):
  path = bundle / "parameters.safetensors"
  kept = tensors.load(path)
  table = dict(kept)["item_embedding/embedding"].copy()
  table[7:9] = table[8:6:-1]  # Two items change places.
  tensors.save(path, kept | {"item_embedding/embedding": table})
  _sealed_anew(bundle)
  with pytest.raises(ValueError, match="does not answer as the run did"):
    Bundle.open(bundle, rows=rows)
  tensors.save(path, kept)
  _sealed_anew(bundle)
  Bundle.open(bundle, rows=rows)


def test_a_layout_that_makes_other_arrays_is_refused(bundle):
  path = bundle / "config.json"
  config = json.loads(path.read_text())
  config["pipeline"]["layout"]["max_length"] = 31
  path.write_text(json.dumps(config))
  _sealed_anew(bundle)
  with pytest.raises(ValueError, match="makes other arrays of the golden"):
    Bundle.open(bundle)


@pytest.mark.parametrize("rows", [None, 4])
def test_it_finds_what_the_run_finds_and_reads_no_pickle(
  stored, rows, monkeypatch
):
  run, loaded, written = stored

  def refuse(*_, **__):
    raise AssertionError("a pickle")

  for name in ("load", "loads", "Unpickler"):
    monkeypatch.setattr(pickle, name, refuse)
  bundle = Bundle.open(written.directory, rows=rows)
  search, k = run.search(loaded.params), bundle.manifest["num_results"]
  (requests,) = iter_requests(run.histories, "validation", 64)
  requests = requests_at(requests, np.arange(3))
  seen = [record["item"] for record in requests.history]
  num_items = run.histories.manifest.num_items
  for allowed in (None, ItemMask.all_but(seen, num_items)):
    ids, scores, aux = bundle.search(requests, k + 2, allowed)
    expected_ids, expected, _ = search(requests, k + 2, allowed)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert aux == {} and ids.shape == (3, k + 2)
    few = bundle.search(requests, 2, allowed)[0]
    np.testing.assert_array_equal(few, ids[:, :2])
  assert bundle.catalog.ids == run.catalog.ids
  with pytest.raises(ValueError, match="finds items, and says of none"):
    bundle.score(no_impressions(3, 1))


def test_what_is_no_number_is_refused(stored):
  bundle = Bundle.open(stored[2].directory)
  (requests,) = iter_requests(stored[0].histories, "validation", 64)
  broken = jax.tree.map(lambda x: x * np.nan, bundle.parameters)
  changed = {**vars(bundle), "parameters": broken}
  fields = {n: changed[n] for n in Bundle.__dataclass_fields__}
  with pytest.raises(ValueError, match="not finite"):
    Bundle(**fields).search(requests, 3)
