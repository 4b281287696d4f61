# SPDX-License-Identifier: Apache-2.0
"""Makes golden files of other sizes with PyTorch, independent of our models.

    python tests/golden/make_reference.py tests/golden     # needs torch, numpy

Written from the formulae alone, user by user and unpadded, with PyTorch's
automatic gradients, so it shares no code, no layout and no framework with
genrec_jax. It reproduces the format of hstu_research.npz and
sasrec_research.npz; weights are large, so no non-linearity is near linear.
The sums run in float64 (a float32 gradient of the deeper SASRec is itself off
by 7e-5 of its largest element) and are stored as float32.
"""

import pathlib
import sys

import numpy as np
import torch
import torch.nn.functional as F


def _normal(rng, *shape, scale):
  values = rng.normal(0, scale, shape).astype(np.float32)
  return torch.tensor(values.astype(np.float64), requires_grad=True)


def _batch(rng, users, history, output, num_items, negatives):
  n = history + output
  lengths = rng.integers(1, history + 1, users)
  lengths[0], lengths[-1] = history, 1
  ids = np.zeros((users, n), np.int64)
  times = np.zeros((users, n), np.int64)
  for row, length in enumerate(lengths):
    ids[row, :length] = rng.integers(1, num_items + 1, length)
    gaps = np.exp(rng.uniform(0, 15, length + 1)).astype(np.int64)
    times[row, : length + 1] = 1_300_000_000 + np.cumsum(gaps)
  return {
    "lengths": lengths,
    "item_ids": ids,
    "timestamps": times,
    "target_ids": rng.integers(1, num_items + 1, users),
    "negative_ids": rng.integers(1, num_items + 1, (lengths.sum(), negatives)),
  }


def _hstu_params(rng, s):
  params = {
    "_embedding_module._item_emb.weight": _normal(
      rng, s["num_items"] + 1, s["width"], scale=0.5
    ),
    "_input_features_preproc._pos_emb.weight": _normal(
      rng, s["n"], s["width"], scale=0.5
    ),
  }
  columns = 2 * s["num_heads"] * (s["dv"] + s["dqk"])
  for i in range(s["num_blocks"]):
    at = f"_hstu._attention_layers.{i}."
    inner = s["num_heads"] * s["dv"]
    params |= {
      at + "_uvqk": _normal(rng, s["width"], columns, scale=0.6),
      at + "_rel_attn_bias._ts_w": _normal(rng, 129, scale=1.0),
      at + "_rel_attn_bias._pos_w": _normal(rng, 2 * s["n"] - 1, scale=1.0),
      at + "_o.weight": _normal(rng, s["width"], inner, scale=0.4),
      at + "_o.bias": _normal(rng, s["width"], scale=0.4),
    }
  return params


def _hstu_layer(x, times, p, at, s):
  """One user's events x (L, D); times (L + 1,) end with the target's."""
  heads, length = s["num_heads"], x.shape[0]
  z = F.silu(F.layer_norm(x, x.shape[-1:], eps=1e-6) @ p[at + "_uvqk"])
  inner_v, inner_k = heads * s["dv"], heads * s["dqk"]
  u, v, q, k = torch.split(z, [inner_v, inner_v, inner_k, inner_k], dim=-1)
  place = torch.arange(length)
  offset = place[None, :] - place[:, None] + s["n"] - 1
  rab = p[at + "_rel_attn_bias._pos_w"][offset]
  seconds = (times[1:, None] - times[None, :-1]).abs().clamp(min=1)
  bucket = (torch.log(seconds.float()) / 0.301).long().clamp(0, 128)
  rab = rab + p[at + "_rel_attn_bias._ts_w"][bucket]
  past = (place[None, :] <= place[:, None]).double()
  out = []
  for h in range(heads):
    qh, kh = (y.reshape(length, heads, -1)[:, h] for y in (q, k))
    weights = F.silu(qh @ kh.T + rab) / s["n"] * past
    out.append(weights @ v.reshape(length, heads, -1)[:, h])
  y = torch.cat(out, dim=-1)
  y = u * F.layer_norm(y, y.shape[-1:], eps=1e-6)
  return x + y @ p[at + "_o.weight"].T + p[at + "_o.bias"]


def _sasrec_params(rng, s):
  width, ffn = s["width"], s["ffn"]
  params = {
    "_embedding_module._item_emb.weight": _normal(
      rng, s["num_items"] + 1, width, scale=0.5
    ),
    "_input_features_preproc._pos_emb.weight": _normal(
      rng, s["n"], width, scale=0.5
    ),
  }
  for i in range(s["num_blocks"]):
    a, f = f"attention_layers.{i}.", f"forward_layers.{i}._conv1d."
    params |= {
      a + "in_proj_weight": _normal(rng, 3 * width, width, scale=0.4),
      a + "in_proj_bias": _normal(rng, 3 * width, scale=0.3),
      a + "out_proj.weight": _normal(rng, width, width, scale=0.4),
      a + "out_proj.bias": _normal(rng, width, scale=0.3),
      f + "0.weight": _normal(rng, ffn, width, 1, scale=0.4),
      f + "0.bias": _normal(rng, ffn, scale=0.3),
      f + "3.weight": _normal(rng, width, ffn, 1, scale=0.4),
      f + "3.bias": _normal(rng, width, scale=0.3),
    }
  return params


def _sasrec_layer(x, p, i, s):
  a, f = f"attention_layers.{i}.", f"forward_layers.{i}._conv1d."
  length, width = x.shape
  heads = s["num_heads"]
  query = F.layer_norm(x, (width,), eps=1e-8)
  weights = torch.chunk(p[a + "in_proj_weight"], 3)
  biases = torch.chunk(p[a + "in_proj_bias"], 3)
  q, k, v = (
    (y @ w.T + b).reshape(length, heads, -1).transpose(0, 1)
    for y, w, b in zip((query, x, x), weights, biases, strict=True)
  )
  scores = q @ k.transpose(1, 2) / (width // heads) ** 0.5
  future = torch.triu(torch.ones(length, length, dtype=torch.bool), 1)
  share = torch.softmax(scores.masked_fill(future, float("-inf")), dim=-1)
  y = (share @ v).transpose(0, 1).reshape(length, width)
  y = query + y @ p[a + "out_proj.weight"].T + p[a + "out_proj.bias"]
  y = F.layer_norm(y, (width,), eps=1e-8)
  hidden = F.relu(y @ p[f + "0.weight"][:, :, 0].T + p[f + "0.bias"])
  return y + hidden @ p[f + "3.weight"][:, :, 0].T + p[f + "3.bias"]


def _run(p, data, s):
  """Queries per user and the loss."""
  table = p["_embedding_module._item_emb.weight"]
  items = table / table.norm(dim=-1, keepdim=True).clamp(min=1e-6)
  queries = np.zeros((*data["item_ids"].shape, s["width"]), np.float32)
  losses, start = [], 0
  for row, length in enumerate(data["lengths"]):
    ids = torch.tensor(data["item_ids"][row, :length])
    times = torch.tensor(data["timestamps"][row, : length + 1])
    x = table[ids] * s["width"] ** 0.5
    x = x + p["_input_features_preproc._pos_emb.weight"][:length]
    for i in range(s["num_blocks"]):
      if s["model"] == "hstu":
        x = _hstu_layer(x, times, p, f"_hstu._attention_layers.{i}.", s)
      else:
        x = _sasrec_layer(x, p, i, s)
    query = x / x.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    queries[row, :length] = query.detach().numpy()
    target = torch.tensor(data["target_ids"][row : row + 1])
    label = torch.cat([ids[1:], target])
    negative = torch.tensor(data["negative_ids"][start : start + length])
    start += length
    right = (query * items[label]).sum(-1, keepdim=True) / s["temperature"]
    wrong = torch.einsum("ld,lnd->ln", query, items[negative])
    wrong = wrong / s["temperature"]
    wrong = wrong.masked_fill(negative == label[:, None], -5e4)
    logits = torch.cat([right, wrong], dim=1)
    losses.append(-F.log_softmax(logits, dim=1)[:, 0])
  return queries, torch.cat(losses).mean()


def make(path: pathlib.Path, seed: int, s: dict) -> None:
  """Writes one file."""
  rng = np.random.default_rng(seed)
  s["n"] = s["max_history"] + s["max_output"]
  params = (_hstu_params if s["model"] == "hstu" else _sasrec_params)(rng, s)
  data = _batch(
    rng, 5, s["max_history"], s["max_output"], s["num_items"], s["negatives"]
  )
  queries, loss = _run(params, data, s)
  loss.backward()
  pairs = params.items()
  sizes = ("num_items", "max_history", "max_output", "num_heads", "num_blocks")
  np.savez_compressed(
    path,
    **data,
    user_embeddings=queries,
    loss=loss.detach().numpy().astype(np.float32),
    temperature=s["temperature"],
    **{name: s[name] for name in (*sizes, "dqk", "dv")},
    **{f"param:{k}": v.detach().numpy().astype("f4") for k, v in pairs},
    **{f"grad:{k}": v.grad.numpy().astype("f4") for k, v in pairs},
  )


if __name__ == "__main__":
  folder = pathlib.Path(sys.argv[1])
  common = {
    "num_items": 97,
    "max_history": 33,
    "max_output": 7,
    "negatives": 11,
    "temperature": 0.1,
  }
  hstu = {"model": "hstu", "width": 24, "num_heads": 3, "num_blocks": 3}
  make(folder / "hstu_other.npz", 1, common | hstu | {"dqk": 5, "dv": 9})
  sasrec = {"model": "sasrec", "width": 24, "num_heads": 4, "num_blocks": 3}
  sizes = {"dqk": 6, "dv": 6, "ffn": 40}
  make(folder / "sasrec_other.npz", 2, common | sasrec | sizes)
