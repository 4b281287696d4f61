# SPDX-License-Identifier: Apache-2.0
"""BERT's encoder as pure functions, and its weights from a local folder.

    x_0 = LN(word[t] + position[l] + type[0])
    y_n = LN(x_n + Attention(x_n));  x_{n+1} = LN(y_n + W2 gelu(W1 y_n))
    v   = sum_l mask_l x_l / sum_l mask_l;   v / |v|

Post-norm, bidirectional, softmax(q k / sqrt(K)), biases everywhere, the exact
(erf) gelu (Devlin et al., arXiv 1810.04805); the mean and the l2 norm are
sentence-transformers' pooling (arXiv 1908.10084). The folder has config.json
and model.safetensors. Shapes: B texts, L tokens, D width, H heads of width K,
F inner width; layers are stacked in front, (N, ...), and scanned. float32.
"""

import dataclasses
import json
import os
import pathlib

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
import numpy as np
import safetensors
from safetensors.numpy import load_file

Params = dict[str, Array | dict[str, Array]]

_LINEAR = {
  "query": "attention.self.query",
  "key": "attention.self.key",
  "value": "attention.self.value",
  "out": "attention.output.dense",
  "up": "intermediate.dense",
  "down": "output.dense",
}
_NORMS = {"mid": "attention.output.LayerNorm", "end": "output.LayerNorm"}
_EMBEDDINGS = ("word_embeddings", "position_embeddings")


@dataclasses.dataclass(frozen=True)
class Bert:
  """The sizes of a model; names as in its config.json but for layers."""

  hidden_size: int
  num_hidden_layers: int
  num_attention_heads: int
  max_position_embeddings: int
  layer_norm_eps: float


def read_config(folder: str | os.PathLike) -> Bert:
  """Reads config.json.

  Raises:
    ValueError: missing, damaged, or no model of this kind.
  """
  path = pathlib.Path(folder) / "config.json"
  try:
    values = json.loads(path.read_text(encoding="utf-8"))
  except (OSError, ValueError) as e:
    raise ValueError(f"{path} is missing or damaged ({e}).") from e
  wanted = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
  }
  for key, value in wanted.items():
    found = values.get(key, value if key != "model_type" else None)
    if found != value:
      raise ValueError(
        f"{path}: {key}={found!r}; this encoder computes {value!r} alone."
      )
  fields = [field.name for field in dataclasses.fields(Bert)]
  missing = [name for name in fields if name not in values]
  if missing:
    raise ValueError(f"{path} lacks {', '.join(missing)}.")
  return Bert(**{name: values[name] for name in fields})


def read_params(folder: str | os.PathLike, bert: Bert) -> Params:
  """Reads model.safetensors into stacked float32 arrays.

  Raises:
    ValueError: missing, truncated, or not of these sizes (names the tensor).
  """
  path = pathlib.Path(folder) / "model.safetensors"
  if not path.is_file():
    raise ValueError(f"{path} is missing.")
  try:
    tensors = load_file(path)
  except (safetensors.SafetensorError, OSError) as e:
    raise ValueError(
      f"{path} is truncated or damaged ({e}). Copy it again."
    ) from e
  prefix = "bert." if "bert.embeddings.LayerNorm.weight" in tensors else ""

  def take(name: str) -> np.ndarray:
    if prefix + name not in tensors:
      raise ValueError(f"{path} has no tensor {prefix + name}.")
    return tensors[prefix + name].astype(np.float32)

  def stack(name: str) -> Array:
    layers = range(bert.num_hidden_layers)
    return jnp.asarray(
      np.stack([take(f"encoder.layer.{n}.{name}") for n in layers])
    )

  params: Params = {
    name: jnp.asarray(take(f"embeddings.{name}.weight")) for name in _EMBEDDINGS
  }
  params["type"] = jnp.asarray(take("embeddings.token_type_embeddings.weight"))
  params["start_scale"] = jnp.asarray(take("embeddings.LayerNorm.weight"))
  params["start_shift"] = jnp.asarray(take("embeddings.LayerNorm.bias"))
  layers: dict[str, Array] = {}
  for name, source in _LINEAR.items():
    # Stored as (out, in).
    layers[f"{name}_w"] = jnp.swapaxes(stack(f"{source}.weight"), 1, 2)
    layers[f"{name}_b"] = stack(f"{source}.bias")
  for name, source in _NORMS.items():
    layers[f"{name}_scale"] = stack(f"{source}.weight")
    layers[f"{name}_shift"] = stack(f"{source}.bias")
  _check_sizes(params, layers, bert, path)
  return {**params, "layers": layers}


def embed(
  params: Params,
  token_BL: Int[Array, "B L"],
  mask_BL: Bool[Array, "B L"],
  *,
  bert: Bert,
) -> Float[Array, "B D"]:
  """Unit vectors of texts; a text without a token gets zeros."""
  length = token_BL.shape[1]
  x_BLD = params["word_embeddings"][token_BL]
  place_LD = params["position_embeddings"][:length] + params["type"][:1]
  x_BLD = _norm(
    x_BLD + place_LD[None],
    params["start_scale"],
    params["start_shift"],
    bert.layer_norm_eps,
  )

  def step(x_BLD, layer):
    return _layer(x_BLD, mask_BL, layer, bert), None

  x_BLD, _ = jax.lax.scan(step, x_BLD, params["layers"])
  count_B1 = jnp.maximum(mask_BL.sum(axis=1, keepdims=True), 1)
  mean_BD = jnp.where(mask_BL[..., None], x_BLD, 0).sum(axis=1) / count_B1
  length_B1 = jnp.linalg.norm(mean_BD, axis=1, keepdims=True)
  return mean_BD / jnp.maximum(length_B1, 1e-12)


def _layer(x_BLD, mask_BL, p, bert: Bert):
  heads = bert.num_attention_heads
  width = x_BLD.shape[-1] // heads

  def dense(x, name):
    return x @ p[f"{name}_w"] + p[f"{name}_b"][None, None]

  def split(name):
    y_BLD = dense(x_BLD, name)
    return y_BLD.reshape(*y_BLD.shape[:2], heads, width)

  q_BLHK, k_BLHK, v_BLHK = split("query"), split("key"), split("value")
  a_BHLL = jnp.einsum("bqhk,bmhk->bhqm", q_BLHK, k_BLHK) * width**-0.5
  a_BHLL = jnp.where(mask_BL[:, None, None, :], a_BHLL, -1e9)
  a_BHLL = jax.nn.softmax(a_BHLL, axis=-1)
  o_BLHK = jnp.einsum("bhqm,bmhk->bqhk", a_BHLL, v_BLHK)
  o_BLD = dense(o_BLHK.reshape(x_BLD.shape), "out")
  eps = bert.layer_norm_eps
  y_BLD = _norm(x_BLD + o_BLD, p["mid_scale"], p["mid_shift"], eps)
  h_BLF = jax.nn.gelu(dense(y_BLD, "up"), approximate=False)
  return _norm(
    y_BLD + dense(h_BLF, "down"), p["end_scale"], p["end_shift"], eps
  )


def _norm(x_BLD, scale_D, shift_D, eps: float):
  centred = x_BLD - x_BLD.mean(axis=-1, keepdims=True)
  variance = jnp.square(centred).mean(axis=-1, keepdims=True)
  return (
    centred * jax.lax.rsqrt(variance + eps) * scale_D[None, None]
    + shift_D[None, None]
  )


def _check_sizes(params, layers, bert: Bert, path: pathlib.Path) -> None:
  d, n = bert.hidden_size, bert.num_hidden_layers
  inner = layers["up_w"].shape[-1]
  wanted = {
    "position_embeddings": (bert.max_position_embeddings, d),
    "query_w": (n, d, d),
    "up_w": (n, d, inner),
    "down_w": (n, inner, d),
    "word_embeddings": (params["word_embeddings"].shape[0], d),
  }
  for name, shape in wanted.items():
    found = (params[name] if name in params else layers[name]).shape
    if found != shape:
      raise ValueError(
        f"{path}: {name} has shape {found}, config.json says {shape}: the two"
        " files are of different models."
      )
  if d % bert.num_attention_heads:
    raise ValueError(
      f"{path}: width {d} is no multiple of {bert.num_attention_heads} heads."
    )
