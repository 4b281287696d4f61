# SPDX-License-Identifier: Apache-2.0
"""Our models against golden values of the reference implementations.

A file holds parameters, one batch with its negatives, and the reference's
outputs, loss and gradients (hstu_research.npz and sasrec_research.npz in
tests/golden; any other sizes in the same format; an HSTU with both relative
biases, one or none). The parameters are put into our model, and everything it
computes must agree.
"""

from collections.abc import Callable, Mapping
import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genrec_jax.backbones.hstu import HSTU
from genrec_jax.backbones.transformer import ResearchSASRec
from genrec_jax.core.types import Items
from genrec_jax.golden.agreement import Agreement
from genrec_jax.layers.attention import SiluAttention
from genrec_jax.models.next_item import NextItem
from genrec_jax.objectives.negatives import Drawn
from genrec_jax.objectives.softmax import SampledSoftmax

Arrays = dict[str, np.ndarray]

_NEEDED = (
  "lengths",
  "item_ids",
  "timestamps",
  "target_ids",
  "negative_ids",
  "user_embeddings",
  "loss",
  "temperature",
  "num_blocks",
  "num_heads",
)
_ITEM = "_embedding_module._item_emb.weight"
_POSITION = "_input_features_preproc._pos_emb.weight"
# Our name of a relative bias -> the end of the file's name of it.
_BIASES = {
  "position": "_rel_attn_bias._pos_w",
  "time": "_rel_attn_bias._ts_w",
}


@dataclasses.dataclass(frozen=True)
class _Given:
  """The negatives of the file."""

  ids_TN: np.ndarray

  def draw(self, rng, positions) -> tuple[Drawn, ...]:
    """See Negatives."""
    return (Drawn(jnp.asarray(self.ids_TN)),)


def _hstu_to_tree(p: Mapping[str, np.ndarray]) -> dict:
  tree = {}
  for i in range(int(p["num_blocks"])):
    at = f"_hstu._attention_layers.{i}."
    tree[f"layer_{i}"] = {
      "uvqk": {"kernel": p[at + "_uvqk"]},
      "output": {"kernel": p[at + "_o.weight"].T, "bias": p[at + "_o.bias"]},
    }
    biases = {k: p[at + end] for k, end in _BIASES.items() if at + end in p}
    if biases:
      tree[f"layer_{i}"]["relative_bias"] = biases
  return tree


def _hstu_from_tree(tree: Mapping) -> Arrays:
  arrays = {}
  for name, layer in tree.items():
    at = f"_hstu._attention_layers.{name.removeprefix('layer_')}."
    arrays |= {
      at + "_uvqk": layer["uvqk"]["kernel"],
      at + "_o.weight": layer["output"]["kernel"].T,
      at + "_o.bias": layer["output"]["bias"],
    }
    for kind, value in layer.get("relative_bias", {}).items():
      arrays[at + _BIASES[kind]] = value
  return arrays


def _sasrec_to_tree(p: Mapping[str, np.ndarray]) -> dict:
  tree = {}
  for i in range(int(p["num_blocks"])):
    at = f"attention_layers.{i}."
    kernels = np.split(p[at + "in_proj_weight"], 3)
    biases = np.split(p[at + "in_proj_bias"], 3)
    attention = {
      name: {"kernel": kernel.T, "bias": bias}
      for name, kernel, bias in zip(
        ("query", "key", "value"), kernels, biases, strict=True
      )
    }
    attention["output"] = {
      "kernel": p[at + "out_proj.weight"].T,
      "bias": p[at + "out_proj.bias"],
    }
    at = f"forward_layers.{i}._conv1d."
    tree[f"attention_{i}"] = attention
    tree[f"ffn_{i}"] = {
      "in": {"kernel": p[at + "0.weight"][:, :, 0].T, "bias": p[at + "0.bias"]},
      "out": {
        "kernel": p[at + "3.weight"][:, :, 0].T,
        "bias": p[at + "3.bias"],
      },
    }
  return tree


def _sasrec_from_tree(tree: Mapping) -> Arrays:
  arrays = {}
  for name, part in tree.items():
    kind, i = name.split("_")
    if kind == "attention":
      at = f"attention_layers.{i}."
      inner = [part[k] for k in ("query", "key", "value")]
      arrays |= {
        at + "in_proj_weight": np.concatenate([k["kernel"].T for k in inner]),
        at + "in_proj_bias": np.concatenate([k["bias"] for k in inner]),
        at + "out_proj.weight": part["output"]["kernel"].T,
        at + "out_proj.bias": part["output"]["bias"],
      }
    else:
      at = f"forward_layers.{i}._conv1d."
      arrays |= {
        at + "0.weight": part["in"]["kernel"].T[:, :, None],
        at + "0.bias": part["in"]["bias"],
        at + "3.weight": part["out"]["kernel"].T[:, :, None],
        at + "3.bias": part["out"]["bias"],
      }
  return arrays


def _hstu(p: Mapping[str, np.ndarray], length: int) -> nn.Module:
  at = "_hstu._attention_layers.0."
  position_bias, time_bias = (at + end in p for end in _BIASES.values())
  buckets = {}
  if time_bias:
    buckets["num_buckets"] = p[at + _BIASES["time"]].shape[0]
  return HSTU(
    num_layers=int(p["num_blocks"]),
    num_heads=int(p["num_heads"]),
    key_width=int(p["dqk"]),
    value_width=int(p["dv"]),
    num_positions=length,
    attention=SiluAttention(normalizer=float(length)),
    position_bias=position_bias,
    time_bias=time_bias,
    **buckets,
  )


def _sasrec(p: Mapping[str, np.ndarray], length: int) -> nn.Module:
  del length
  return ResearchSASRec(
    num_layers=int(p["num_blocks"]),
    num_heads=int(p["num_heads"]),
    ffn_width=p["forward_layers.0._conv1d.0.weight"].shape[0],
  )


def _batch(data: Arrays) -> tuple[dict[str, jax.Array], np.ndarray]:
  """The file's batch in our layout, and its negatives per token (B*L, N)."""
  ids, lengths = data["item_ids"], data["lengths"]
  rows, length = ids.shape
  slots = np.arange(length)[None, :]
  valid = slots < lengths[:, None]
  # The reference writes the target's id behind the history while training.
  # Where it tells padding by id (SASRec) it computes an output there too,
  # without a label; a causal model's other outputs do not change.
  answered = np.any(data["user_embeddings"] != 0, axis=-1)
  is_target = answered & (slots == lengths[:, None])
  inputs = np.where(is_target, data["target_ids"][:, None], ids)
  seen = valid | is_target
  shifted = np.concatenate([ids[:, 1:], np.zeros((rows, 1), ids.dtype)], 1)
  shifted[np.arange(rows), lengths - 1] = data["target_ids"]
  times = data["timestamps"]
  times = np.where(times > 0, times - times[times > 0].min(), 0)
  next_times = np.concatenate([times[:, 1:], times[:, -1:]], 1)
  batch = {
    "item_BL": np.where(seen, inputs, 0),
    "label_BL": np.where(valid, shifted, 0),
    "segment_ids_BL": seen,
    "positions_BL": np.broadcast_to(np.arange(length), ids.shape),
    "time_BL": times,
    "query_time_BL": next_times,
  }
  negatives = np.zeros((rows * length, data["negative_ids"].shape[1]), np.int32)
  negatives[valid.reshape(-1)] = data["negative_ids"]
  return {k: jnp.asarray(v, jnp.int32) for k, v in batch.items()}, negatives


def compare(data: Arrays, path: str) -> list[Agreement]:
  """Our model's outputs, loss and gradients against one golden file's.

  Raises:
    ValueError: the file is of neither known model, or lacks an array.
  """
  if f"param:{_ITEM}" not in data:
    raise ValueError(f"{path} has no array 'param:{_ITEM}'.")
  p = {k.removeprefix("param:"): v for k, v in data.items()}
  if "_hstu._attention_layers.0._uvqk" in p:
    make, to_tree, from_tree = _hstu, _hstu_to_tree, _hstu_from_tree
  elif "attention_layers.0.in_proj_weight" in p:
    make, to_tree, from_tree = _sasrec, _sasrec_to_tree, _sasrec_from_tree
  else:
    raise ValueError(f"{path} holds neither an HSTU nor a SASRec.")
  lacking = [name for name in _NEEDED if name not in data]
  if lacking:
    raise ValueError(f"{path} has no array {', '.join(lacking)}.")
  return _compare(data, p, make, to_tree, from_tree)


def _check_names(ours: Arrays, data: Arrays) -> None:
  """Raises a ValueError unless both have the same gradients."""
  theirs = {k for k in data if k.startswith("grad:")}
  mine = {k for k in ours if k.startswith("grad:")}
  if theirs != mine:
    lacks = ", ".join(sorted(mine - theirs)) or "none"
    unknown = ", ".join(sorted(theirs - mine)) or "none"
    raise ValueError(
      "the file's gradients are not those of our model. Ours that it lacks:"
      f" {lacks}. Its own that we do not know: {unknown}."
    )


def _compare(
  data: Arrays,
  p: Arrays,
  make: Callable,
  to_tree: Callable,
  from_tree: Callable,
) -> list[Agreement]:
  batch, negatives = _batch(data)
  num_items, width = p[_ITEM].shape[0] - 1, p[_ITEM].shape[1]
  length = data["item_ids"].shape[1]
  system = NextItem(num_items, width, length, make(p, length))
  params = {
    "item_embedding": {"embedding": p[_ITEM]},
    "position_embedding": {"embedding": p[_POSITION]},
    "backbone": to_tree(p),
  }
  params = jax.tree.map(jnp.asarray, params)
  objective = SampledSoftmax(_Given(negatives), float(data["temperature"]))

  @jax.jit
  def loss_fn(params):
    outputs = system.apply({"params": params}, batch, deterministic=True)
    items = Items(
      num_items,
      lambda ids: system.apply({"params": params}, ids, method="items"),
    )
    # The references leave out the positive alone, and not what a user takes
    # later: with labels and nothing else every position is alone.
    labels = {"label_BL": batch["label_BL"]}
    loss, _ = objective(outputs, labels, rng=jax.random.key(0), items=items)
    return loss, outputs.query

  (loss, query), gradient = jax.value_and_grad(loss_fn, has_aux=True)(params)
  gradient = jax.tree.map(np.asarray, gradient)
  ours = {"user_embeddings": np.asarray(query), "loss": np.asarray(loss)}
  ours[f"grad:{_ITEM}"] = gradient["item_embedding"]["embedding"]
  ours[f"grad:{_POSITION}"] = gradient["position_embedding"]["embedding"]
  ours |= {f"grad:{k}": v for k, v in from_tree(gradient["backbone"]).items()}
  _check_names(ours, data)
  return [
    Agreement.of(name, value, data[name], is_gradient=name.startswith("grad:"))
    for name, value in ours.items()
  ]
