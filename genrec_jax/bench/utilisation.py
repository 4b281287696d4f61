# SPDX-License-Identifier: Apache-2.0
"""How much of a device two ways of crossing features use: many small matrices,
and few large ones.

    small towers   dots of all pairs of feature vectors, and 40 MLPs that each
                   read the vectors and their dots (DLRM, arXiv 1906.00091, with
                   as many heads as a service has tasks)
    mixed tokens   16 tokens, mixed, with a feed-forward part for each, 2 layers
                   (RankMixer, arXiv 2507.15551)

The same random feature vectors go in, no table is read, and a pass forward and
a training step's gradients are timed apart. FLOPs are those of the matrix
products of the compiled program. MFU is their rate over the device's peak
(hlo/mfu.py), where one is known; the ratio of the two rates is the ratio of
their MFUs on any device. Published is 4.47 against 44.57 %, of a service's own
two models.
"""

from collections.abc import Mapping, Sequence
import math
import statistics
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genrec_jax.bench.timing import compile_timed, seconds_of_calls
from genrec_jax.hlo.mfu import cost_or_why, mfu
from genrec_jax.layers.feature_tokens import FeatureGroups, SlicedTokens
from genrec_jax.layers.interactions import DotInteraction
from genrec_jax.layers.mixing_blocks import MixBlock
from genrec_jax.layers.mixing_stack import MixingStack
from genrec_jax.layers.mlp import Mlp
from genrec_jax.layers.slot_feed_forward import SlotFeedForward
from genrec_jax.report.cells import line

_FEATURES, _FEATURE_WIDTH = 32, 16
_TOWERS, _TOWER_WIDTHS = 40, (64, 32)
_TOKENS, _LAYERS, _INNER = 16, 2, 4
FEW, MANY = "mixed tokens", "small towers"
PASSES = ("forward", "train")


class SmallTowers(nn.Module):
  """A logit from each of many MLPs over vectors and their dots.

  Attributes:
    towers: how many.
    widths: of each one's layers.
    dtype: of the products; parameters are float32.
  """

  towers: int
  widths: tuple[int, ...]
  dtype: str = "float32"

  @nn.compact
  def __call__(self, x_FD: Float[Array, "*b F D"]) -> Float[Array, "*b T"]:
    """Logits, one a tower."""
    z = DotInteraction()(x_FD.astype(self.dtype))

    def tower(number):
      h = Mlp(self.widths, dtype=self.dtype, name=f"tower_{number}")(z)
      return nn.Dense(1, dtype=self.dtype, name=f"logit_{number}")(h)

    return jnp.concatenate([tower(n) for n in range(self.towers)], axis=-1)


def feature_models(
  width: int, dtype: str, towers: int = _TOWERS
) -> dict[str, nn.Module]:
  """Both, by name: (B, F, D0) -> (B, ...).

  Args:
    width: of a token.
    dtype: of the products.
    towers: small ones.
  """
  names = tuple(f"feature_{n}" for n in range(_FEATURES))
  groups = FeatureGroups(names, (("all", ("*",)),))
  feed = SlotFeedForward(_INNER * width, dtype=dtype)
  stack = MixingStack(
    tokens=SlicedTokens(groups, _TOKENS, width, dtype),
    block=MixBlock(ffn=feed, dtype=dtype),
    num_layers=_LAYERS,
    dtype=dtype,
  )
  return {MANY: SmallTowers(towers, _TOWER_WIDTHS, dtype), FEW: stack}


def time_utilisation(
  *,
  rows: Sequence[int],
  width: int,
  dtype: str,
  repeats: int,
  towers: int = _TOWERS,
) -> dict[str, Any]:
  """Seconds, FLOPs and MFU of both, by pass and rows of a batch, and ratios.

  Args:
    rows: of a batch, each of these.
    width: of a token; the published one is 768.
    dtype: of the products, "float32" or "bfloat16".
    repeats: timed calls.
    towers: small ones.
  """
  models = {}
  for name, model in feature_models(width, dtype, towers).items():
    x = jnp.zeros((1, _FEATURES, _FEATURE_WIDTH))
    params = jax.jit(model.init)(jax.random.key(0), x)
    found = {
      f"{what} {count}": _time(model, params, what, count, dtype, repeats)
      for count in rows
      for what in PASSES
    }
    models[name] = {
      "parameters": sum(x.size for x in jax.tree.leaves(params)),
      "passes": found,
    }
  few, many = (models[name]["passes"] for name in (FEW, MANY))
  return {
    "models": models,
    "rate_of_mixed_tokens_over_small_towers": {
      key: _ratio(few[key], many[key]) for key in few
    },
    "token_width": width,
    "towers": towers,
    "dtype": dtype,
    "repeats": repeats,
  }


def table(result: Mapping[str, Any]) -> str:
  """One row a model and pass, as Markdown."""
  head = ["model", "parameters", "pass, rows", "seconds", "GFLOP"]
  lines = [line([*head, "GFLOP / s", "MFU"]), line(["---"] * 7)]
  for name, model in result["models"].items():
    for what, row in model["passes"].items():
      rate = row["flops_per_second"]
      cells = [
        f"{row['seconds']:.4g}",
        "-" if rate is None else f"{row['flops'] / 1e9:.4g}",
        "-" if rate is None else f"{rate / 1e9:.4g}",
        "-" if row["mfu"] is None else f"{100 * row['mfu']:.2f} %",
      ]
      lines.append(line([name, f"{model['parameters']:,}", what, *cells]))
  ratios = result["rate_of_mixed_tokens_over_small_towers"]
  said = ", ".join(f"{k} {v}" for k, v in ratios.items())
  return "\n".join([*lines, "", f"{FEW} / {MANY}, of the rates: {said}"])


def _time(model, params, what, rows, dtype, repeats) -> dict[str, Any]:
  shape = (rows, _FEATURES, _FEATURE_WIDTH)
  x = jax.random.normal(jax.random.key(1), shape, jnp.float32)

  def forward(params, x):
    return model.apply(params, x)

  def loss(params, x):
    return jnp.mean(nn.softplus(forward(params, x).astype(jnp.float32)))

  function = forward if what == "forward" else jax.value_and_grad(loss)
  compiled, compile_seconds = compile_timed(jax.jit(function), params, x)
  taken = seconds_of_calls(lambda: compiled(params, x), repeats)
  seconds = statistics.median(taken)
  cost, why = cost_or_why(compiled)
  kind = jax.devices()[0].device_kind
  flops = None if cost is None else float(cost.flops)
  used = None if flops is None else mfu(flops, seconds, kind, dtype)
  if not why and used is None:
    why = f"no peak is listed for {kind} in hlo/mfu.py"
  return {
    "seconds": float(f"{seconds:.4g}"),
    "compile_seconds": round(compile_seconds, 2),
    "flops": flops,
    "flops_per_second": None if flops is None else flops / seconds,
    "mfu": None if used is None else float(f"{used:.4g}"),
    "mfu_note": why,
  }


def _ratio(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> float | None:
  """Of the rates; None where one is not known."""
  rates = [one["flops_per_second"] for one in (ours, theirs)]
  if None in rates:
    return None
  ratio = rates[0] / rates[1]
  return round(ratio, 2) if math.isfinite(ratio) else None
