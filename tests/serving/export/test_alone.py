# SPDX-License-Identifier: Apache-2.0
"""A bundle in a process that has jax alone, by the program of docs/serving.md.

What is compared with is the model itself under jax.jit, on one device: bits at
a fixed number of requests, 1e-6 where the number is open.
"""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys

from flax import traverse_util
import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from tests import quick_xla

_PAGE = pathlib.Path(__file__).parents[3] / "docs" / "serving.md"
# What jax itself is made of, and what it serializes with.
_JAX = ("jax", "jaxlib", "numpy", "scipy", "ml_dtypes", "opt_einsum")
_WITH = ("flatbuffers",)
_BEHIND = """
import sys

four = {name: x[:4] for name, x in batch.items()}
twice = {name: 2 * x for name, x in parameters.items()}
fixed = program("query", "4")
query_4 = fixed(parameters, four)
found_4 = program("retrieve", "4")(query_4, vectors, allowed[:4])
np.savez(
  sys.argv[1],
  vectors=vectors,
  query_4=query_4,
  query_8=query,
  query_twice=fixed(twice, four),
  **{f"{name}_8": x for name, x in found.items()},
  **{f"{name}_4": x for name, x in found_4.items()},
)
for name in ("genrec_jax", "flax", "safetensors"):
  try:
    __import__(name)
  except ModuleNotFoundError:
    continue
  sys.exit(f"{name} is there")
"""


def _jax_alone(folder):
  """A folder with the packages of jax and no other."""
  folder.mkdir()
  for name in (*_JAX, *_WITH):
    (place,) = importlib.util.find_spec(name).submodule_search_locations
    place = pathlib.Path(place)
    # Shared libraries of a wheel lie beside its package.
    for part in (place, place.with_name(f"{name}.libs")):
      if part.is_dir():
        (folder / part.name).symlink_to(part)
  return folder


def _bits(x):
  return np.asarray(x).view(np.uint32)


@pytest.mark.optimized
def test_jax_alone_answers_as_the_model(stored, tmp_path):
  run, loaded, written = stored
  (program,) = re.findall(
    r"```python\n(import json.*?)```", _PAGE.read_text(), re.S
  )
  script = tmp_path / "alone.py"
  script.write_text(program + _BEHIND)
  done = subprocess.run(
    # Without `site`, or there would be the packages of this environment.
    [sys.executable, "-S", str(script), "answers.npz"],
    cwd=written.directory.parent,
    env=os.environ
    | {
      "PYTHONPATH": str(_jax_alone(tmp_path / "packages")),
      # Programs of this process are compiled with these flags too.
      "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {quick_xla.FLAGS}",
    },
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  assert len(done.stdout.splitlines()) == 1
  with np.load(written.directory.parent / "answers.npz") as file:
    answers = dict(file)

  params = jax.tree.map(np.asarray, loaded.params)

  def method(name):
    return jax.jit(
      lambda params, *args: run.system.apply(
        {"params": params}, *args, method=name
      )
    )

  query_of = method("query")
  golden = written.directory / "golden.safetensors"
  kept = load_file(golden)
  batch = {
    n.removeprefix("lists/batch/"): x
    for n, x in kept.items()
    if n.startswith("lists/batch/")
  }
  four = {name: x[:4] for name, x in batch.items()}
  twice = jax.tree.map(lambda x: 2 * x, params)
  vectors = np.asarray(method("items")(params))
  for name, expected in (
    ("query_4", query_of(params, four)),
    ("query_twice", query_of(twice, four)),
    ("vectors", vectors),
  ):
    np.testing.assert_array_equal(_bits(answers[name]), _bits(expected))
  expected = np.asarray(query_of(params, batch))
  np.testing.assert_allclose(answers["query_8"], expected, rtol=0, atol=1e-6)

  # Lists against every item's score, sorted.
  words = kept["lists/allowed_BW"]
  bits = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")
  for rows in (8, 4):
    query = answers[f"query_{rows}"].astype(np.float64)
    scores = query @ vectors.astype(np.float64).T
    scores[bits[:rows, : scores.shape[1]] == 0] = -np.inf
    ids, found = answers[f"ids_BK_{rows}"], answers[f"scores_BK_{rows}"]
    best = -np.sort(-scores, axis=1)[:, : found.shape[1]]
    np.testing.assert_allclose(found, best, atol=1e-6)
    there = ids > 0
    assert (there == np.isfinite(best)).all() and not there.all()
    mine = np.take_along_axis(scores, ids, axis=1)
    np.testing.assert_allclose(mine[there], found[there], atol=1e-6)


def test_parameters_are_files_by_path_and_programs_tell_no_folder(stored):
  _, loaded, written = stored
  kept = load_file(written.directory / "parameters.safetensors")
  flat = traverse_util.flatten_dict(loaded.params, sep="/")
  assert set(kept) == set(flat)
  for name, x in flat.items():
    np.testing.assert_array_equal(kept[name], np.asarray(x))
  here = str(_PAGE.parents[1]).encode()
  for path in (written.directory / "programs").iterdir():
    assert here not in path.read_bytes()
