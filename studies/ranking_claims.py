# SPDX-License-Identifier: Apache-2.0
"""Measures published claims about ranking, each by itself.

    python studies/ranking_claims.py [--only=53,92] [--out=claims.json]

Exact claims are computed, costs are counted from compiled programs or timed,
and claims about models are tried on clicks whose cause is known
(studies/simulated_clicks.py), several seeds each. One line a claim:
our figure, and whether the claim holds by it. Where models are trained it rests
on seeds: all that a claim says must have a t interval over seeds, of new
parameters and new data, that leaves out 0, and at the end the p-values of the
claims that were asked are corrected together (Holm). With --seeds=1 there is no
verdict. docs/ranking_claims.md has them all, with those that real data answer.
On a free CPU core none takes more than about three minutes. The file is long
because every claim has its own experiment here, one function each.
"""

from collections.abc import Callable, Sequence
import functools
import json
import time
from typing import Any

from absl import app, flags, logging
import jax
import numpy as np

from genrec_jax.bench.candidates import time_candidates
from genrec_jax.bench.layouts import analytic, time_layouts
from genrec_jax.core import atomic
from genrec_jax.layers.history_pooling import (
  DifferenceProduct,
  OuterProduct,
  SumPooling,
  TargetAttention,
)
from genrec_jax.layers.interactions import Concat, DotInteraction
from genrec_jax.ops.attention_flops import causal_pairs
from genrec_jax.ops.factorization import pair_dots, pair_sum
from genrec_jax.ops.relative_bias import alibi_slopes
from genrec_jax.ranking.utility import ValueFunction
from genrec_jax.tpu import topology as tpu_topology
from studies import signals
from studies.satiation import gains
from studies.simulated_clicks import Counted, Drifting, fit
from studies.step_costs import (
  attention_memory,
  feature_flops_per_label,
  sequence_flops,
)
from studies.verdicts import Result, correct, difference, over_seeds

_ONLY = flags.DEFINE_list("only", [], "Numbers of claims; default: all.")
_OUT = flags.DEFINE_string("out", None, "JSON file to write.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "Trainings of each model.")
_STEPS = flags.DEFINE_integer("steps", 300, "Of a training.")
_TOPOLOGY = flags.DEFINE_string(
  "topology", None, "91: also compile for it (v5e:2x2); needs libtpu."
)

_CLAIMS: dict[int, Callable[[], Result]] = {}


def _claim(*numbers: int):
  """Registers a function that answers one or more claims."""

  def register(function):
    for number in numbers:
      _CLAIMS[number] = function
    return function

  return register


def _result(holds: bool | str, **figures: Any) -> Result:
  verdict = holds if isinstance(holds, str) else "fails"
  return {"verdict": "holds" if holds is True else verdict, **figures}


def _mean(values: Sequence[float]) -> float:
  return round(float(np.mean(values)), 4)


def _gain(after: Sequence[float], before: Sequence[float]) -> str:
  """Mean difference over seeds, and its 95 % t interval over them."""
  found = difference(after, before)
  if found is None:
    return f"{np.mean(after) - np.mean(before):+.4f} (one seed)"
  return f"{found.mean:+.4f} (over seeds {found.low:+.4f} to {found.high:+.4f})"


def _fit(world, pooling, interactions, features, history=("category",)):
  return fit(
    world,
    pooling,
    interactions,
    features,
    history,
    seeds=range(_SEEDS.value),
    steps=_STEPS.value,
  )


@_claim(31)
def value_function() -> Result:
  """How much the order by -100, 1, 10 hangs on these values.

  The formula is a definition, which nothing can refute; a choice of weights
  that half or twice one of them hardly changes would be robust.
  """
  tasks = ("downvote", "skip", "click")
  rng = np.random.default_rng(0)
  requests, shown, top = 500, 100, 10
  logits = rng.normal(size=(requests, shown, 3)) + np.array([-4.0, 2.0, 0.0])
  p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)

  def best(weights):
    value = ValueFunction(tasks, weights)
    each = np.stack([value(one) for one in p])
    return np.argsort(-each, axis=1, kind="stable")[:, :top]

  def shared(a, b):
    pairs = zip(a, b, strict=True)
    return _mean([len(np.intersect1d(x, y)) / top for x, y in pairs])

  published = best((-100.0, 1.0, 10.0))
  changed = {
    "downvote halved": (-50.0, 1.0, 10.0),
    "downvote doubled": (-200.0, 1.0, 10.0),
    "downvote left out": (0.0, 1.0, 10.0),
    "click halved": (-100.0, 1.0, 5.0),
    "click doubled": (-100.0, 1.0, 20.0),
    "skip left out": (-100.0, 0.0, 10.0),
  }
  kept = {k: shared(published, best(w)) for k, w in changed.items()}
  return _result(
    "a definition; by these values "
    + ("robust" if min(kept.values()) >= 0.8 else "fragile"),
    share_of_top_10_kept=kept,
  )


@_claim(39)
def lists_one_by_one() -> Result:
  """A list made item by item, its rivals, and users who tire or do not."""
  found = gains((0.0, 0.1, 0.25, 0.5, 1.0, 2.0))
  none = found.pop(0.0)
  return _result(
    all(i.low > 0 for by in found.values() for i in by.values())
    and none["greedy"].low == none["greedy"].high == 0.0,
    rests_on="95 % intervals over 1,000 simulated users; nothing is trained",
    clicks_on_ten_places_more_than={
      f"{name}, strength {strength:g}": [
        round(x, 4) for x in (i.mean, i.low, i.high)
      ]
      for strength, by in {0.0: none, **found}.items()
      for name, i in by.items()
    },
  )


@_claim(40)
def xyz_flops() -> Result:
  """Of a sequence ranker's compiled step, by tokens of a row."""
  rows = {tokens: sequence_flops(tokens) for tokens in (16, 64, 256)}
  by_tokens = {
    str(n): {
      "forward": round(f.forward / f.xyz, 2),
      "train": round(f.train / f.xyz, 2),
    }
    for n, f in rows.items()
  }
  short = by_tokens["16"]
  return _result(
    "a lower bound, 6 times loose"
    if short["forward"] >= 2 and short["train"] >= 5.5
    else "fails",
    flops_per_xyz=by_tokens,
  )


@_claim(49)
def factorization_identity() -> Result:
  """Both forms are equal, and one grows with F, the other with its square."""
  x_FD = jax.random.normal(jax.random.key(0), (64, 32))
  apart = abs(float(pair_sum(x_FD).sum() - pair_dots(x_FD).sum()))

  def flops(fn, count):
    shape = jax.ShapeDtypeStruct((count, 32), np.float32)
    return jax.jit(fn).lower(shape).compile().cost_analysis()["flops"]

  growth = {
    name: round(flops(fn, 512) / flops(fn, 64), 1)
    for name, fn in (
      ("identity", lambda x: pair_sum(x).sum()),
      ("pairs", lambda x: pair_dots(x).sum()),
    )
  }
  relative = apart / abs(float(pair_dots(x_FD).sum()))
  return _result(
    relative < 1e-4 and growth["identity"] < 9 and growth["pairs"] > 50,
    relative_difference=relative,
    flops_at_8_times_the_features=growth,
  )


@_claim(53)
def softmax_over_history() -> Result:
  """DIN with and without it, where the number of like events counts."""
  world, aucs = Counted(), {}
  for softmax in (False, True):
    for features in (("category",), ("category", "length")):
      pooling = TargetAttention((16,), softmax=softmax)
      aucs[softmax, len(features)] = _fit(world, pooling, Concat(), features)
  plain = np.subtract(aucs[False, 1], aucs[True, 1])
  with_length = np.subtract(aucs[False, 2], aucs[True, 2])
  return over_seeds(
    "holds",
    [plain - 0.02, plain / 2 - with_length],
    auc={
      f"{'softmax' if s else 'none'}{', length' if n > 1 else ''}": _mean(v)
      for (s, n), v in aucs.items()
    },
    none_less_softmax=_gain(aucs[False, 1], aucs[True, 1]),
    with_length_of_history=_gain(aucs[False, 2], aucs[True, 2]),
  )


@_claim(54)
def outer_product() -> Result:
  """Numbers that the activation unit reads of vectors of width d = 8."""
  d, widths = 8, {}
  history, candidate = np.ones((1, 3, d)), np.ones((1, d))
  for name, pair in (
    ("outer product", OuterProduct()),
    ("difference and product", DifferenceProduct()),
  ):
    params = TargetAttention((4,), pair).init(
      jax.random.key(0), history, candidate, np.ones((1, 3), bool)
    )["params"]
    widths[name] = params["unit"]["Dense_0"]["kernel"].shape[0]
  return _result(
    "2 d + d^2 for event, outer product and candidate; 3 d + d^2 has one"
    " vector more",
    inputs_at_width_8=widths,
    published=3 * d + d * d,
  )


@_claim(55)
def counters() -> Result:
  """A counter beside DIN, where it sees all that is counted, or a quarter."""
  gains = {}
  for name, shown in (("all seen", 40), ("a quarter seen", 10)):
    world = Counted(shown=shown)
    pooling = TargetAttention((16,))
    without = _fit(world, pooling, Concat(), ("category",))
    with_count = _fit(world, pooling, Concat(), ("category", "count"))
    gains[name] = (
      _gain(with_count, without),
      np.subtract(with_count, without),
    )
  seen, cut = (gain for _, gain in gains.values())
  return over_seeds(
    "only where its history holds what is counted",
    [cut, cut / 5 - seen],
    gain_in_auc_of_a_counter={k: text for k, (text, _) in gains.items()},
  )


@_claim(56)
def cost_per_label() -> Result:
  """Training FLOPs of a label, by length of the history."""
  figures = {}
  for events in (32, 128, 512):
    row = sequence_flops(events, rows=1).train
    figures[str(events)] = {
      "sequence, all its labels": row / events,
      "sequence, one label": row,
      "DIN": feature_flops_per_label(events),
    }
  first, last = figures["32"], figures["512"]
  growth = {k: round(last[k] / first[k], 1) for k in first}
  return _result(
    "holds against DIN-like encoders; against a sequence encoded anew for each"
    " label it saves the factor n"
    if growth["sequence, one label"] > 8 * growth["sequence, all its labels"]
    else "fails",
    flops_per_label={
      n: {k: f"{v:.3g}" for k, v in row.items()} for n, row in figures.items()
    },
    growth_from_32_to_512_events=growth,
  )


@_claim(57)
def bits_of_signals() -> Result:
  """A choice among all items, and a click on one that is shown."""
  truth = signals.tastes(np.random.default_rng(0))
  exact, found, above = {}, {}, []
  for rate in (0.05, 0.5):
    exact[str(rate)] = {
      k: round(v, 4) for k, v in signals.bits(truth, rate).items()
    }
    runs = [
      signals.learned(truth, rate, 12_000, np.random.default_rng(seed))
      for seed in range(_SEEDS.value)
    ]
    found[str(rate)] = {k: _mean([r[k] for r in runs]) for k in runs[0]}
    above.append([r["choice"] - r["click"] for r in runs])
  holds = all(e["choice"] > e["click"] for e in exact.values())
  return over_seeds(
    "holds" if holds else "fails",
    above,
    bits_about_the_user_by_click_rate=exact,
    rank_correlation_of_learned_tastes=found,
  )


@_claim(81)
def candidates_in_one_pass() -> Result:
  """Seconds by number of candidates, and that scores are the same."""
  runs = {
    m: time_candidates(
      layout="action_oriented",
      num_items=2000,
      events=256,
      candidates=m,
      micro_batch=128,
      repeats=5,
      alone=4,
    )
    for m in (128, 512, 2048)
  }
  seconds = np.array([r["one_pass_seconds"] for r in runs.values()])
  slope, start = np.polyfit(np.array(list(runs)), seconds, 1)
  fitted = slope * np.array(list(runs)) + start
  apart = max(r["largest_relative_difference"] for r in runs.values())
  return _result(
    bool(apart < 1e-5 and np.abs(fitted / seconds - 1).max() < 0.5),
    one_pass_seconds={str(m): r["one_pass_seconds"] for m, r in runs.items()},
    milliseconds_per_candidate=round(1e3 * slope, 4),
    history_seconds=runs[2048]["history_seconds"],
    largest_relative_difference=apart,
  )


@_claim(87)
def half_the_tokens() -> Result:
  """FLOPs of one token an event over those of two, 512 events."""
  found = analytic(512)
  pairs = causal_pairs(512) / causal_pairs(1024)
  return _result(
    abs(pairs - 0.25) < 1e-3 and found["linear_flops"] == 0.5,
    one_over_two_tokens={k: round(v, 4) for k, v in found.items()},
  )


@functools.cache
def _layouts() -> Result:
  return time_layouts(events=512, batch_size=2, num_items=2000, steps=3)


def _faster(variant: str, published: float, asked: float) -> Result:
  """Training steps a second over those of two tokens and learned biases."""
  found = _layouts()["training_speed"][variant]
  return _result(
    bool(found >= asked),
    training_speed_percent=found,
    published_percent=published,
    asked_percent=asked,
  )


@_claim(88)
def one_token_an_event() -> Result:
  """Learned biases in both; what is asked is the issue's of this layout."""
  return _faster("action_oriented, learned", 78.7, 60.0)


@_claim(89)
def slopes_for_biases() -> Result:
  """Two tokens an event in both; half of what is published is asked."""
  return _faster("interleaved, slopes", 25.0, 12.5)


@_claim(90)
def one_token_and_slopes() -> Result:
  """Half of what is published is asked."""
  return _faster("action_oriented, slopes", 94.8, 47.4)


@_claim(93)
def tail_of_latency() -> Result:
  """The 99th percentile of one request's seconds, of both layouts."""
  seconds = {
    k: v["score_p99_seconds"] for k, v in _layouts()["variants"].items()
  }
  before, after = (
    seconds[f"{layout}, learned"]
    for layout in ("interleaved", "action_oriented")
  )
  return _result(
    bool(after <= 0.75 * before),
    p99_seconds=seconds,
    change_percent=round(100 * (after / before - 1)),
  )


@_claim(91)
def memory_of_biases() -> Result:
  """Temporaries of attention and its gradients, by length."""
  lengths = (1024, 2048)
  places = [("CPU", None, ("reference", "chunked"))]
  if _TOPOLOGY.value:
    tpu_topology.prepare()
    places.append((_TOPOLOGY.value, _TOPOLOGY.value, ("pallas_tpu",)))
  found = {}
  for place, topology, names in places:
    for name in names:
      for bias in ("learned", "slopes"):
        sizes = [attention_memory(n, bias, name, topology) for n in lengths]
        found[f"{place}, {name}, {bias}"] = {
          "MiB": [round(s / 2**20, 1) for s in sizes],
          "growth_at_twice_the_length": round(sizes[-1] / sizes[-2], 2),
        }
  dense, blocks = (
    found[f"CPU, {name}, learned"]["growth_at_twice_the_length"]
    for name in ("reference", "chunked")
  )
  return _result(
    "by the kernel, not by the bias"
    if dense > 3.5 and blocks < 2.5
    else "fails",
    lengths=lengths,
    temporaries=found,
  )


@_claim(92)
def slopes() -> Result:
  """ALiBi's slopes of 8 heads, and of others."""
  eight = alibi_slopes(8)
  return _result(
    "for 8 heads; in general 2^(-8 h / H)"
    if eight == tuple(2.0**-h for h in range(1, 9))
    else "fails",
    of_4_heads=alibi_slopes(4),
  )


@_claim(94)
def content_features() -> Result:
  """The gain by an item's category, of items each seldom met."""
  world = Counted(items=300)
  gains = {}
  for name, pooling, interactions in (
    ("DIN", TargetAttention((16,)), Concat()),
    ("DLRM", SumPooling(), DotInteraction()),
  ):
    ids = ("item",)
    both = ("item", "category")
    without = _fit(world, pooling, interactions, ids, ids)
    with_content = _fit(world, pooling, interactions, both, both)
    gains[name] = (
      _mean(without), _mean(with_content), _gain(with_content, without),
      np.subtract(with_content, without),
    )  # fmt: skip
  din, dlrm = (gains[name][3] for name in ("DIN", "DLRM"))
  return over_seeds(
    "holds",
    [din - 2 * dlrm],
    auc_by_ids={k: v[0] for k, v in gains.items()},
    auc_with_content={k: v[1] for k, v in gains.items()},
    gain={k: v[2] for k, v in gains.items()},
    gain_of_DIN_over_that_of_DLRM=round(float(din.mean() / dlrm.mean()), 2),
  )


@_claim(95)
def window_statistics() -> Result:
  """An item's click rate of long ago, and that of the last three days."""
  world = Drifting()
  arms = {
    "ids": ("item", "category"),
    "and a static rate": ("item", "category", "static"),
    "and a window's rate": ("item", "category", "window"),
  }
  aucs = {k: _fit(world, SumPooling(), Concat(), v) for k, v in arms.items()}
  ids, static, window = (np.array(v) for v in aucs.values())
  return over_seeds(
    "holds",
    [0.005 - (static - ids), window - ids - 0.02],
    auc={k: _mean(v) for k, v in aucs.items()},
    gain_of_a_static_rate=_gain(aucs["and a static rate"], aucs["ids"]),
    gain_of_a_window=_gain(aucs["and a window's rate"], aucs["ids"]),
  )


def main(argv: list[str]) -> None:
  """Entry point."""
  if len(argv) > 1:
    raise app.UsageError(f"unknown arguments: {argv[1:]}")
  logging.set_verbosity(logging.WARNING)
  known = [str(n) for n in _CLAIMS]
  wrong = [n for n in _ONLY.value if n not in known]
  if wrong:
    raise app.UsageError(f"--only={wrong[0]}: choose of {', '.join(known)}.")
  asked = [n for n in _CLAIMS if str(n) in _ONLY.value or not _ONLY.value]
  found: dict[str, Result] = {}
  for function in dict.fromkeys(_CLAIMS[n] for n in asked):
    numbers = [str(n) for n in asked if _CLAIMS[n] is function]
    started = time.perf_counter()
    result = function()
    result["seconds"] = round(time.perf_counter() - started, 1)
    found[", ".join(numbers)] = result
    print(f"{', '.join(numbers)}: {json.dumps(result)}", flush=True)
  correct(found)
  for name, result in found.items():
    if "p_holm" in result:
      print(f"{name}, of all asked (Holm): {result['verdict']}")
  if _OUT.value:
    atomic.write_text(_OUT.value, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
  app.run(main)
