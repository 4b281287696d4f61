# SPDX-License-Identifier: Apache-2.0
"""config.mesh: which meshes there are, and what is said of the others."""

import fnmatch
import importlib
import pathlib

import jax
from jax.sharding import PartitionSpec as P
import numpy as np
import pytest

from genrec_jax.core.build import build_options
from genrec_jax.core.sharding import PRESETS, MeshOptions, put, rows_of_process
from genrec_jax.experiment.program import Program
from genrec_jax.experiment.sections import check_config

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_CONFIGS = sorted(
  p.stem
  for p in (_ROOT / "configs").glob("[a-z]*_*.py")
  if p.stem != "rqkmeans_amazon"  # makes codes, and has no system
)
_AXES = {
  "item/embedding": ("rows", "width"),
  "in/kernel": ("width", "hidden"),
  "experts/in": ("expert", "width", None),
  "slots/in": ("slot", "width", "hidden"),
}


def _shape(*sizes):
  return jax.ShapeDtypeStruct(sizes, np.float32)


def _specs(options, tree):
  shardings = options.place().shardings(tree, _AXES)
  return jax.tree.map(lambda s: s.spec, shardings)


def test_a_preset_splits_what_it_names():
  tree = {
    "item": {"embedding": _shape(16, 24)},
    "layer": {"in": {"kernel": _shape(24, 32), "bias": _shape(32)}},
    # A scanned stack of layers, and the scalar per row of an optimizer.
    "layers": {"in": {"kernel": _shape(3, 24, 32)}},
    "second": {"item": {"embedding": _shape(16)}},
    "experts": {"in": _shape(8, 24, 32)},
    "slots": {"in": _shape(8, 24, 32)},
  }
  everything = ("data", "model")
  expected = {
    "dp": {},
    "fsdp": {"width": ("data",)},
    "tp": {"hidden": ("model",), "expert": ("model",)},
    "slots": {"slot": ("model",), "expert": ("model",)},
    "rowwise_tables": {"rows": everything},
  }
  assert PRESETS.keys() == expected.keys()
  for preset, by in expected.items():
    rows, width, hidden, expert, slot = (
      by.get(x) for x in ("rows", "width", "hidden", "expert", "slot")
    )
    specs = _specs(MeshOptions(preset, {"data": 2, "model": 4}), tree)
    assert specs == {
      "item": {"embedding": P(rows, width)},
      "layer": {"in": {"kernel": P(width, hidden), "bias": P(None)}},
      "layers": {"in": {"kernel": P(None, width, hidden)}},
      "second": {"item": {"embedding": P(rows)}},
      "experts": {"in": P(expert, width, None)},
      "slots": {"in": P(slot, width, hidden)},
    }


@pytest.mark.parametrize(
  "axes",
  [{"data": 6}, {"data": 3, "model": -1}, {"data": -1, "model": -1}]
  + [{"data": 0}, {"data": 16}, {"data": -1, "model": 0}, {"data": 2}],
)
def test_sizes_whose_product_is_not_the_devices(axes):
  with pytest.raises(ValueError, match=r"mesh\.axes=.*of the 8 device"):
    MeshOptions("dp", axes).place()


def test_one_size_may_be_what_is_left():
  mesh = MeshOptions("tp", {"data": -1, "model": 4}).place().mesh
  assert dict(mesh.shape) == {"data": 2, "model": 4}
  assert MeshOptions().place().mesh.size == 8


def test_two_logical_axes_on_one_mesh_axis():
  options = MeshOptions("fsdp", {"data": 8}, {"hidden": "data"})
  with pytest.raises(
    ValueError, match=r"layer/in/kernel: 'width' and 'hidden' .*axis 'data'"
  ):
    _specs(options, {"layer": {"in": {"kernel": _shape(8, 8)}}})


def test_sizes_that_devices_do_not_divide():
  with pytest.raises(ValueError, match="50 width, not a multiple of the 8"):
    _specs(MeshOptions("fsdp"), {"in": {"kernel": _shape(50, 64)}})
  with pytest.raises(ValueError, match="6 expert, not a multiple of the 4"):
    tree = {"experts": {"in": _shape(6, 8, 8)}}
    _specs(MeshOptions("tp", {"data": 2, "model": 4}), tree)
  with pytest.raises(ValueError, match="101 rows.*config.system.row_multiple"):
    tree = {"item": {"embedding": _shape(101, 8)}}
    _specs(MeshOptions("rowwise_tables"), tree)


@pytest.mark.parametrize(
  ("node", "message"),
  [
    ({"preset": "fspd"}, "preset='fspd'.*Did you mean 'fsdp'"),
    ({"axes": {"modle": 2}}, "axis 'modle'.*Did you mean 'model'"),
    ({"rules": {"widht": "data"}}, "axis 'widht'.*Did you mean 'width'"),
    ({"rules": {"width": "dta"}}, "axis 'dta'.*Did you mean 'data'"),
    ({"shape": 8}, "unknown key 'shape' in config.mesh"),
  ],
)
def test_an_unknown_name_gets_a_suggestion(node, message):
  with pytest.raises(ValueError, match=message):
    build_options(MeshOptions, node, where="config.mesh")


def test_a_batch_is_put_where_its_rows_belong():
  placement = MeshOptions("tp", {"data": 4, "model": 2}).place()
  batch = {"x": np.arange(24).reshape(8, 3)}
  whole = put(batch, placement.by_rows)["x"]
  np.testing.assert_array_equal(whole, batch["x"])
  assert {s.data.shape for s in whole.addressable_shards} == {(2, 3)}
  rows = rows_of_process(placement.by_rows, 8)
  np.testing.assert_array_equal(rows, np.arange(8))
  again = put(batch, placement.by_rows, rows, 8)["x"]
  np.testing.assert_array_equal(again, whole)


@pytest.mark.parametrize("name", _CONFIGS)
def test_every_matrix_of_a_system_says_what_its_dimensions_are(name):
  module = importlib.import_module(f"configs.{name}")
  config = check_config(module.get_config("quicktest"))
  program = Program.from_config(config, 100, MeshOptions().place())
  params = program.abstract_state().params
  unnamed = []
  for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]:
    path = "/" + jax.tree_util.keystr(path, simple=True, separator="/")
    named = any(
      fnmatch.fnmatchcase(path, f"*/{end}")
      for end in program.system.logical_axes
    )
    if path.endswith(("/kernel", "/embedding")) and not named:
      unnamed.append(path)
  assert not unnamed, f"{unnamed}: name them in the module's logical_axes"
