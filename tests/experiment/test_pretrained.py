# SPDX-License-Identifier: Apache-2.0
"""Parameters read from files: the file's, bit by bit, or an error."""

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from configs import hstu_movielens
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.pretrained import (
  identities,
  load_parts,
  preload,
  read_file,
  warn_of_others,
)
from genrec_jax.train.checkpoints import Checkpoints
from genrec_jax.train.loop import LoopOptions
from genrec_jax.train.parameter_source import ParameterSource


def _params():
  return {
    "body": {
      "layer_0": {"kernel": jnp.zeros((2, 3)), "bias": jnp.zeros(3)},
      "layer_1": {"kernel": jnp.zeros((3, 3))},
    },
    "bodywork": jnp.zeros(2),
  }


def _tensors(join="/", start=("body",)):
  rng = np.random.default_rng(0)
  flat = traverse_util.flatten_dict(_params()["body"])
  return {
    join.join((*start, *path)): rng.normal(size=x.shape).astype(np.float32)
    for path, x in flat.items()
  }


def _load(path, part="body", prefix="body", params=None):
  sources = {part: ParameterSource(str(path), prefix)}
  read = {part: read_file(str(path))}
  return preload(_params() if params is None else params, sources, read)


@pytest.mark.parametrize(
  ("join", "start", "prefix"),
  [
    ("/", ("body",), "body"),
    (".", ("model", "encoder"), "model.encoder"),
    (".", (), ""),
  ],
)
def test_a_part_is_the_files_and_the_rest_is_as_it_was(
  tmp_path, join, start, prefix
):
  tensors = _tensors(join, start)
  if start:
    tensors["other"] = np.ones(4, np.float32)
  save_file(tensors, tmp_path / "a.safetensors")
  result = _load(tmp_path / "a.safetensors", prefix=prefix)
  expected = _tensors()
  for path, x in traverse_util.flatten_dict(result, sep="/").items():
    np.testing.assert_array_equal(x, expected.get(path, 0 * x))
    assert x.dtype == np.float32
  assert jax.tree.structure(result) == jax.tree.structure(_params())


def test_one_array_and_half_precision(tmp_path):
  value = np.array([0.5, 3.0], np.float16)
  save_file({"w": value}, tmp_path / "a.safetensors")
  result = _load(tmp_path / "a.safetensors", "bodywork", "w")
  np.testing.assert_array_equal(result["bodywork"], value)
  assert result["bodywork"].dtype == np.float32


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (
      {"body/layer_0/kernel": np.ones((3, 2), np.float32)},
      r"body/layer_0/kernel: \(2, 3\), and \(3, 2\) there",
    ),
    (
      {"body/layer_0/bias": None},
      r"body/layer_0/bias: \(3,\), and absent there",
    ),
    (
      {"body/layer_2/kernel": np.ones((3, 3), np.float32)},
      r"body/layer_2/kernel: \(3, 3\) there, and absent here",
    ),
    (
      {"body/layer_0/bias": np.ones(3, np.int32)},
      "body/layer_0/bias: float32, and int32 there",
    ),
  ],
)
def test_what_does_not_fit_is_named(tmp_path, change, message):
  tensors = {**_tensors(), **change}
  tensors = {name: x for name, x in tensors.items() if x is not None}
  save_file(tensors, tmp_path / "a.safetensors")
  with pytest.raises(ValueError, match=message) as caught:
    _load(tmp_path / "a.safetensors")
  assert "a.safetensors with prefix 'body'" in str(caught.value)
  assert str(caught.value).count("\n") == 1


def test_files_and_parts_that_there_are_not(tmp_path):
  path = tmp_path / "a.safetensors"
  with pytest.raises(ValueError, match="a.safetensors is missing"):
    _load(path)
  save_file(_tensors(), path)
  with pytest.raises(ValueError, match=r"\['bode'\] is no part.*body/layer_0"):
    _load(path, part="bode")
  parts = ("body", "body/layer_0")
  sources = {p: ParameterSource(str(path), p) for p in parts}
  with pytest.raises(ValueError, match="layer_0/kernel twice, as 'body'"):
    preload(_params(), sources, {p: read_file(str(path)) for p in parts})
  path.write_bytes(path.read_bytes()[:-5])
  with pytest.raises(ValueError, match="a.safetensors is truncated"):
    _load(path)


def test_options_name_unknown_keys():
  node = {"steps": 1, "pretrained": {"body": {"path": "a", "prefx": "b"}}}
  with pytest.raises(ValueError, match=r"'prefx' in .*\['body'\].*'prefix'"):
    LoopOptions(**node)
  node["pretrained"]["body"] = {"path": "a"}
  assert LoopOptions(**node).pretrained["body"] == ParameterSource("a", "")


def _run(workdir, seed, pretrained, num_items=100):
  c = hstu_movielens.get_config("quicktest-no_bias")
  c.seed, c.data.num_items = seed, num_items
  c.system.backbone.num_layers = 1
  c.train.pretrained = pretrained
  return Run.start(c, workdir)


@pytest.mark.slow
def test_parts_of_a_run(tmp_path):
  old = _run(tmp_path / "old", 1, {})
  program = old.program()
  with program.in_force():
    state = program.init_state()
  progress = {"fingerprint": old.histories.manifest.fingerprint}
  with Checkpoints(tmp_path / "old" / "best") as best:
    best.save(state, data={}, progress=progress, config={})
  with Checkpoints(tmp_path / "old" / "checkpoints") as latest:
    latest.save(state, data={}, progress=progress, config={})
  source = {"path": str(tmp_path / "old"), "prefix": "backbone"}
  new = _run(tmp_path / "new", 2, {"backbone": source})
  params, fresh = load_parts(new, None), new.init_params()
  assert list(identities(new)) == ["backbone"]
  expected = {**fresh, "backbone": state.params["backbone"]}
  jax.tree.map(np.testing.assert_array_equal, params, expected)
  # Every device takes its share of them.
  program = new.program(new.mesh.place())
  with program.in_force():
    placed = program.init_state(params).params
  jax.tree.map(np.testing.assert_array_equal, placed, expected)

  # A row per item means nothing where items are others.
  table = {"item_embedding": {**source, "prefix": "item_embedding"}}
  other = _run(tmp_path / "other", 2, table, num_items=99)
  with pytest.raises(ValueError, match="a row per item.*other items"):
    load_parts(other, None)


def test_a_resumed_run_says_which_source_is_another_by_now(tmp_path, capsys):
  path = tmp_path / "body.safetensors"
  save_file(_tensors(start=()), path)
  sources = {"backbone": {"path": str(path), "prefix": ""}}
  run = _run(tmp_path / "new", 1, sources)
  before = identities(run)
  assert list(before) == ["backbone"]
  capsys.readouterr()
  warn_of_others(run, before)
  assert not capsys.readouterr().err
  save_file({"other": np.ones(3, np.float32)}, path)
  warn_of_others(run, before)
  assert "is not what this run started from any more" in capsys.readouterr().err
  # One that is gone is not needed.
  path.unlink()
  warn_of_others(run, before)
  assert not capsys.readouterr().err
