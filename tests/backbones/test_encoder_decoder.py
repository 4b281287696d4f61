# SPDX-License-Identifier: Apache-2.0
"""The encoder-decoder against T5 of Hugging Face: outputs and gradients."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genrec_jax.backbones.encoder_decoder import EncoderDecoder
from genrec_jax.core.types import SequenceInfo

_PATH = pathlib.Path(__file__).parents[1] / "golden" / "parts" / "t5.npz"
_LAYERS = 2


@pytest.fixture(scope="module")
def golden():
  with np.load(_PATH, allow_pickle=False) as file:
    return dict(file)


def _dense(data, prefix, names):
  return {
    ours: {"kernel": data[f"{prefix}.{theirs}.weight"].T}
    for ours, theirs in names.items()
  }


_HEADS = {"query": "q", "key": "k", "value": "v", "output": "o"}
_FFN = {"in": "wi", "out": "wo"}


def _tree(golden, kind):
  """The reference's parameters or gradients under our names."""
  data = {
    name.removeprefix(f"{kind}:"): value
    for name, value in golden.items()
    if name.startswith(f"{kind}:")
  }
  tree = {}
  for side, parts in (("encoder", 2), ("decoder", 3)):
    norms = []
    for i in range(_LAYERS):
      layer = f"{side}.block.{i}.layer"
      tree[f"{side}_attention_{i}"] = _dense(
        data, f"{layer}.0.SelfAttention", _HEADS
      )
      if side == "decoder":
        tree[f"cross_attention_{i}"] = _dense(
          data, f"{layer}.1.EncDecAttention", _HEADS
        )
      tree[f"{side}_ffn_{i}"] = _dense(
        data, f"{layer}.{parts - 1}.DenseReluDense", _FFN
      )
      norms += [data[f"{layer}.{p}.layer_norm.weight"] for p in range(parts)]
    norms.append(data[f"{side}.final_layer_norm.weight"])
    for i, scale in enumerate(norms):
      tree[f"{side}_norms_{i}"] = {"scale": scale}
    bias = f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias"
    tree[f"{side}_bias"] = {"embedding": data[f"{bias}.weight"].T}
  return tree


@pytest.mark.slow
def test_outputs_and_gradients_are_those_of_the_reference(golden):
  model = EncoderDecoder(
    width=12, num_encoder_layers=2, num_decoder_layers=2, num_heads=3,
    head_width=4, ffn_width=20, num_buckets=8, max_distance=20,
  )  # fmt: skip
  x, y = jnp.asarray(golden["x"]), jnp.asarray(golden["y"])[:, None]
  rows, length = x.shape[:2]
  segments = np.arange(length)[None, :] < golden["lengths"][:, None]
  segments = jnp.asarray(segments, jnp.int32)
  positions = jnp.broadcast_to(jnp.arange(length), segments.shape)
  info = SequenceInfo(segments, positions, positions, positions)
  target = jnp.ones((rows, 1), jnp.int32)

  def out(params):
    variables = {"params": params}
    memory = model.apply(variables, x, info, True, method="encode")
    return model.apply(
      variables, y, target, memory, info, True, method="decode"
    )[:, 0]

  params = jax.tree.map(jnp.asarray, _tree(golden, "param"))
  with jax.default_matmul_precision("highest"):
    found = jax.jit(out)(params)
    gradients = jax.jit(jax.grad(lambda p: jnp.sum(out(p) * golden["weight"])))(
      params
    )
  np.testing.assert_allclose(found, golden["out"], atol=2e-5)
  wanted = _tree(golden, "grad")
  assert jax.tree.structure(wanted) == jax.tree.structure(gradients)
  for (path, value), right in zip(
    jax.tree_util.tree_leaves_with_path(gradients),
    jax.tree.leaves(wanted),
    strict=True,
  ):
    error = np.max(np.abs(value - right)) / np.max(np.abs(right))
    assert error < 1e-4, (jax.tree_util.keystr(path), error)
