# SPDX-License-Identifier: Apache-2.0
"""Steps compiled by the real TPU compiler, in processes of their own.

libtpu must meet its environment before JAX starts and stays in a process for
good; the suite's own process keeps to its virtual CPU devices.
"""

import importlib
import importlib.util
import json
import pathlib

import pytest

from genrec_jax.ops.attention_flops import (
  attention_backward_flops,
  attention_flops,
)
from tests import commands
from tests.config_parts import with_every_part

_ROOT = pathlib.Path(__file__).resolve().parents[2]
# Shared parts; codes and no system; and what is another config on other data.
_NOTHING_NEW = (
  *("__init__", "commerce", "common", "files", "generators", "kuairand"),
  *("rqkmeans_amazon", "onerec_kuairand", "ranker_files", "rqvae_files"),
  *("sasrec_files", "tiger_files"),
  *("commerce_retail", "commerce_synthetic"),
)
_CONFIGS = sorted(
  p.stem for p in (_ROOT / "configs").glob("*.py") if p.stem not in _NOTHING_NEW
)
_VECTORS = {"train", "query", "items", "retrieve"}
_BOTH_STACKS = ("encoder_", "decoder_")
_DECODED = ("train", "decode")
# All that is trained on this log scores its impressions.
_STEPS = {n: {"train", "score"} for n in _CONFIGS if n.endswith("_kuairand")}
_STEPS |= {
  **{n: {"train"} for n in ("rqvae_amazon", "letter_amazon", "varlen_amazon")},
  **{
    name: {"train", "decode"}
    for name in (
      *("tiger_amazon", "tiger_varlen_amazon", "seater_amazon"),
      *("generator_amazon", "onerec_retail", "onerec_v2_kuairand"),
    )
  },
  "cobra_industrial": {"train", "items", "decode"},
  "rankmixer_industrial": {"train", "score"},
  "liger_amazon": {"train", "items", "decode"},
  "lemur_synthetic": {"train", "score"},
  "longer_synthetic": {"train", "score"},
  # Retrievers and rankers in one.
  "hstu_joint_movielens": _VECTORS | {"score"},
  "lum_kuairand": _VECTORS,
  "two_tower_kuairand": _VECTORS | {"score"},
  "token_baseline_kuairand": {"train", "decode", "score"},
}
_HERE, _LONG = "tests/tpu/test_compile.py", "tests/evaluation"
# Which file compiles them.
_ELSEWHERE = {
  ("hstu_long", "quicktest"): f"{_LONG}/test_long_history.py",
  ("hstu_trillion", "quicktest"): _HERE,
  ("tiger_amazon", "quicktest"): _HERE,
  ("tiger_amazon", "decoder_only-quicktest"): _HERE,
  ("tiger_amazon", "lazy-quicktest"): _HERE,
  ("cobra_amazon", "quicktest"): _HERE,
}
_COMPILED = with_every_part(
  [n for n in _CONFIGS if n not in {name for name, _ in _ELSEWHERE}], _ELSEWHERE
)
# The layers of a stack are alike, and each is compiled anew.
_ONE_LAYER = "--config.system.backbone.num_layers=1"
_COMPILES = pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None, reason="needs the extra `aot`"
)

_SCANNED = """
import functools, json, sys
from genrec_jax.tpu.topology import open_slice
slice_ = open_slice(sys.argv[1])
import jax, jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec as P
from genrec_jax.tpu.compile import Step, compile_step

mesh = Mesh(slice_.devices, ("data",), axis_types=(AxisType.Auto,))

# By hand: the partitioner may shard a loop unlike its unrolled form.
@functools.partial(
  jax.shard_map, mesh=mesh, in_specs=(P("data"), P(None, "data")),
  out_specs=P("data"))
def layers(x_BD, w_LDD):
  def layer(x_BD, w_dD):
    w_DD = jax.lax.all_gather(w_dD, "data", tiled=True)
    return jnp.tanh(x_BD @ w_DD), None
  if SCAN:
    return jax.lax.scan(layer, x_BD, w_LDD)[0]
  for i in range(w_LDD.shape[0]):
    x_BD, _ = layer(x_BD, w_LDD[i])
  return x_BD

def loss(x_BD, w_LDD):
  return jnp.mean(layers(x_BD, w_LDD) ** 2)

def shape(*dims, axes):
  return jax.ShapeDtypeStruct(
    dims, jnp.float32, sharding=NamedSharding(mesh, P(*axes)))

arguments = (
  shape(256, 128, axes=("data",)),
  shape(6, 128, 128, axes=(None, "data")),
)
for SCAN in (True, False):
  step = jax.jit(jax.grad(lambda x, w: loss(x, w), argnums=(0, 1)))
  report = compile_step(Step("train", step, arguments), slice_)
  print(json.dumps(report.to_json()))
"""

_CANDIDATES = """
import json, sys
from genrec_jax.tpu.topology import open_slice
slice_ = open_slice(sys.argv[1])
import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec as P
from configs import hstu_ranking_kuairand
from genrec_jax.core.build import build, to_plain
from genrec_jax.data.dataset.impressions import no_impressions
from genrec_jax.tpu.compile import Step, compile_step

config = to_plain(hstu_ranking_kuairand.get_config())
layout = build(config["pipeline"]["layout"], where="layout")
system = build(config["system"], where="system", num_items=7502)
whole = layout.impression_batch(no_impressions(1, 256))
whole.pop("candidate_BN")
before = whole["item_BL"].shape[1] - 256
history = {k: v[:, :before] for k, v in whole.items()}
candidates = {k: v[:, before:] for k, v in whole.items()}
mesh = Mesh(slice_.devices, ("data",), axis_types=(AxisType.Auto,))

def shapes(tree):
  sharding = NamedSharding(mesh, P())
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)

def method(name):
  return jax.jit(
    lambda params, *args: system.apply({"params": params}, *args, method=name))

with jax.set_mesh(mesh):
  params = jax.eval_shape(lambda: system.init(
    jax.random.key(0), jax.tree.map(jax.numpy.asarray, history),
    deterministic=True))["params"]
  kept = jax.eval_shape(method("start"), params, history)
  for name, args in (("start", (history,)), ("candidates", (kept, candidates))):
    step = Step(name, method(name), (shapes(params), *map(shapes, args)))
    print(json.dumps(compile_step(step, slice_).to_json()))
"""


def _run(path: pathlib.Path, program: str, topology: str) -> list[dict]:
  """The lines of JSON that a program prints."""
  path.write_text(program)
  done = commands.run([path, topology], cwd=_ROOT)
  assert done.returncode == 0, done.stdout + done.stderr
  return [json.loads(line) for line in done.stdout.splitlines()]


def _compile_tpu(*flags: str, expect: int = 0) -> dict:
  done = commands.run(["scripts/compile_tpu.py", *flags], cwd=_ROOT)
  assert done.returncode == expect, done.stdout + done.stderr
  return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("name", "form"), _ELSEWHERE)
def test_what_is_compiled_elsewhere_is_named_there(name, form):
  file = _ELSEWHERE[name, form]
  # The full size has the same parts.
  asked = f"{name}.py" if file != _HERE else f"{name}.py:{form}"
  assert asked in (_ROOT / file).read_text()


@pytest.mark.slow
@_COMPILES
def test_scanned_costs_what_unrolled_costs_on_a_tpu(tmp_path):
  scanned, unrolled = _run(tmp_path / "scanned.py", _SCANNED, "v5e:2x2")
  assert scanned["unknown_loops"] == unrolled["unknown_loops"] == []
  rows = 256 // 4
  assert unrolled["flops_per_chip"] == 3 * 6 * 2 * rows * 128 * 128
  assert scanned["flops_per_chip"] == unrolled["flops_per_chip"]

  def sent(report):
    traffic = report["collectives_per_chip"].values()
    return sum(t["sent_bytes"] for t in traffic)

  assert sent(unrolled) > 0
  assert sent(scanned) == sent(unrolled)


@_COMPILES
@pytest.mark.slow
def test_a_history_and_candidates_behind_it_compile(tmp_path):
  start, candidates = _run(tmp_path / "behind.py", _CANDIDATES, "v5e:2x2")
  assert start["fits"] and candidates["fits"]
  assert start["flops_per_chip"] > 0 and candidates["flops_per_chip"] > 0
  # Nothing of either is done by the host, or loops as the data will.
  assert not start["unknown_loops"] and not candidates["unknown_loops"]


@_COMPILES
@pytest.mark.slow
@pytest.mark.parametrize("name", _COMPILED)
def test_every_system_compiles(name):
  flags = [f"--config=configs/{name}.py:quicktest", "--topology=v5e:2x2"]
  config = importlib.import_module(f"configs.{name}").get_config("quicktest")
  for stack in ("", *_BOTH_STACKS):
    if f"num_{stack}layers" in config.system.get("backbone", {}):
      flags.append(f"--config.system.backbone.num_{stack}layers=1")
  facts = _compile_tpu(*flags)
  assert set(facts["steps"]) == _STEPS.get(name, _VECTORS)
  _assert_costs(facts)


def _assert_costs(facts: dict) -> None:
  """It fits four chips, and what its steps take is known."""
  assert facts["fits"] and facts["chips"] == 4
  for step in facts["steps"].values():
    # Rows travel in as many rounds as the ids need, one where they are even.
    assert all(
      "item_embedding/shard_map" in n
      or "item_content.vectors" in n
      or "(step)/shard_map" in n
      # Codes are put into groups until all have room.
      or "quantizer._groups" in n
      # An expert multiplies as many blocks as its tokens fill.
      or ".routed/" in n
      for n in step["unknown_loops"]
    )
    memory = step["bytes_per_chip"]
    assert memory["peak"] >= memory["arguments"]
  train = facts["steps"]["train"]
  assert train["flops_per_chip"] > 0
  assert train["collectives_per_chip"]
  assert 0 < train["bound_mfu"] < 1


@_COMPILES
@pytest.mark.slow
@pytest.mark.parametrize("name", ["hstu_ranking_kuairand", "genrank_kuairand"])
def test_rankers_attend_in_the_fused_kernels(name):
  """Learned biases of request places, and slopes; all layers, both passes."""
  facts = _compile_tpu(
    f"--config=configs/{name}.py",
    "--topology=v5e:2x2",
    _ONE_LAYER,
    "--num_items=7502",
    "--steps=train,score",
  )
  assert facts["fits"]
  for step in facts["steps"].values():
    assert step["kernel_flops_per_chip"] > 0
    assert not step["unpriced_kernels"]
  # A chip has 16 of 64 rows, which the kernels fill up to 256 tokens.
  pairs = 16 * 256 * 256 // 2
  sizes = pairs, 2, 32, 32
  expected = attention_flops(*sizes) + attention_backward_flops(*sizes)
  assert facts["steps"]["train"]["kernel_flops_per_chip"] == expected


@_COMPILES
@pytest.mark.slow
@pytest.mark.parametrize(
  ("form", "topology", "kinds", "steps"),
  [
    ("tiger_amazon.py:decoder_only-quicktest", "v5e:2x2", [""], _DECODED),
    ("tiger_amazon.py:lazy-quicktest", "v5e:2x2", [""], _DECODED),
    (
      "tiger_amazon.py:quicktest",
      "v6e:2x2",
      ["encoder_", "decoder_"],
      _DECODED,
    ),
    ("cobra_amazon.py:quicktest", "v6e:2x2", [""], (*_DECODED, "items")),
  ],
)
def test_a_generator_decodes_without_the_host(
  form, topology, kinds, steps, tmp_path
):
  facts = _compile_tpu(
    f"--config=configs/{form}",
    f"--topology={topology}",
    *(f"--config.system.backbone.num_{kind}layers=1" for kind in kinds),
    "--num_items=12101",
    f"--hlo={tmp_path}",
  )
  assert set(facts["steps"]) == set(steps)
  _assert_costs(facts)
  for step in steps:
    text = (tmp_path / f"{step}.txt").read_text()
    assert "fusion" in text  # it is the program
    for word in ("callback", "outfeed", "infeed", "send(", "recv("):
      assert word not in text, word


@_COMPILES
@pytest.mark.slow
def test_a_table_is_neither_gathered_nor_converted():
  facts = _compile_tpu(
    "--config=configs/hstu_trillion.py:quicktest",
    "--topology=v5e:2x2",
    _ONE_LAYER,
    "--num_items=4000000",
    "--steps=train,query,retrieve",
  )
  assert facts["fits"]
  share = 4_000_000 * 1_024 * 4 / 4
  for name in ("train", "query"):
    step = facts["steps"][name]
    assert step["bytes_per_chip"]["arguments"] > share
    # A copy in bfloat16 would be half of it.
    assert step["bytes_per_chip"]["temporary"] < share / 10
    assert step["memory_traffic_bytes_per_chip"] < share / 2
    for traffic in step["collectives_per_chip"].values():
      assert traffic["bytes"] < share / 10


@_COMPILES
@pytest.mark.slow
def test_what_does_not_fit_is_said_by_the_exit_code():
  facts = _compile_tpu(
    "--config=configs/hstu_synthetic.py:quicktest",
    "--topology=v5e:2x2",
    "--steps=items,train",
    "--num_items=200000000",
    expect=3,
  )
  assert facts["fits"] is False
  items = facts["steps"]["items"]
  assert items["bytes_per_chip"]["peak"] > facts["memory_bytes_per_chip"]


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--topology=v5p:9x9x9"], "error: there is no topology 'v5p:9x9x9'"),
    (["--topology=v5e:2x2", "--steps=trian"], "Did you mean 'train'?"),
    (["--topology=v5e:2x2", "--num_items=0"], "--num_items=0"),
    (
      ["--topology=v5e:4x4"],
      "config.pipeline.batch_size=8 is not a positive multiple of the 16",
    ),
  ],
)
def test_bad_input_is_one_line(flags, message):
  if "9x9" not in flags[0] and importlib.util.find_spec("libtpu") is None:
    pytest.skip("needs the extra `aot`")
  config = "--config=configs/hstu_synthetic.py:quicktest"
  done = commands.run(["scripts/compile_tpu.py", config, *flags], cwd=_ROOT)
  assert done.returncode == 1, done.stdout + done.stderr
  assert message in done.stderr
  assert "Traceback" not in done.stderr
