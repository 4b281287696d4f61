# SPDX-License-Identifier: Apache-2.0
"""Config nodes become objects; what is wrong is named, with the choices."""

from ml_collections import ConfigDict
import pytest

from genrec_jax.core.build import build, build_options, to_plain
from genrec_jax.layers.attention import SiluAttention
from genrec_jax.objectives.negatives import UniformShared
from genrec_jax.train.loop import LoopOptions

_SAMPLED = {
  "name": "objectives.SampledSoftmax",
  "temperature": 0.1,
  "negatives": {"name": "objectives.UniformShared", "count": 7},
}


def test_nested_nodes_are_built_first():
  objective = build(ConfigDict(_SAMPLED))
  assert objective.temperature == 0.1
  assert objective.negatives == UniformShared(count=7)


def test_extra_arguments_reach_the_object():
  node = {"name": "layers.SiluAttention"}
  assert build(node, normalizer=3.0) == SiluAttention(normalizer=3.0)


def test_the_caller_and_the_config_cannot_both_set_a_key():
  node = {"name": "layers.SiluAttention", "normalizer": 1.0}
  with pytest.raises(ValueError, match=r"config\.normalizer is set by the"):
    build(node, normalizer=3.0)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"temprature": 1}, "'temprature'.*Did you mean 'temperature'"),
    ({"name": "objectives.SampledSoftmx"}, "mean 'SampledSoftmax'"),
    ({"name": "objectives.softmax.FullSoftmax"}, "name is 'objectives.FullSo"),
    ({"name": "softmax"}, "must be 'package.Name'"),
    ({"name": ["softmax"]}, "must be a mapping with a 'name'"),
    ({"name": "objectives._finish"}, "offers no '_finish'"),
  ],
)
def test_unknown_keys_and_names(change, message):
  with pytest.raises(ValueError, match=message):
    build(_SAMPLED | change)


def test_an_unknown_key_of_a_nested_node_is_named_by_its_path():
  bad = _SAMPLED | {"negatives": _SAMPLED["negatives"] | {"size": 3}}
  with pytest.raises(ValueError, match=r"'size' in config\.negatives"):
    build(bad)


def test_a_missing_key_is_named():
  node = _SAMPLED | {"negatives": {"name": "objectives.InBatchNegatives"}}
  with pytest.raises(ValueError, match=r"needs count; set config\.negatives"):
    build(node)


def test_nothing_outside_the_package_can_be_built():
  with pytest.raises(ValueError, match="must be 'package.Name'"):
    build({"name": "os.system", "command": "true"})


def test_options_are_a_dataclass():
  assert build_options(LoopOptions, {"steps": 3}, where="c").steps == 3
  with pytest.raises(ValueError, match="'step' in c.*Did you mean 'steps'"):
    build_options(LoopOptions, {"step": 3}, where="c")


def test_plain_resolves_references():
  c = ConfigDict({"a": 1})
  c.b = c.get_ref("a")
  c.a = 5
  assert to_plain(c) == {"a": 5, "b": 5}
