# SPDX-License-Identifier: Apache-2.0
"""One decoder that retrieves, ranks and makes lists, on KuaiRand-Pure.

    python scripts/run.py --config=configs/token_baseline_kuairand.py \
        --workdir=runs/token_baseline --config.data.path=kuairand-pure
    python scripts/evaluate.py --workdir=runs/token_baseline

A user is one sequence of typed tokens (docs/one_sequence.md): of a request its
hour and the time since the last, of a video three codes, then what is known of
it by then (age, popularity of the last seven days, author, whether the user
follows the author), then what came of it: click, long view and like as one
token. Codes are three levels of 128 by residual k-means on TF-IDF of author,
music, tag and kind of upload. One checkpoint is evaluated as a retriever, 32
beams and behind them what shares their codes, and as a ranker on the same
impressions as the other rankers of KuaiRand.

Expected: no run is finished. By its FLOPs a step takes 2 to 3 seconds of one
CPU core whatever the variant, for rows are full; an epoch is 500 to 800 steps.

Variants: `plain` has codes and actions alone (four tokens an item in place of
eight) and `no_context` tells nothing of requests; `all_tokens` asks for every
token and `no_extra_loss` for none of the extras; `no_skips` does not learn the
codes of videos that were skipped; `per_task` has a token per task in place of
one of all; `extras_first` puts the extras in front of the codes, a control for
leaks, which only ranks; `no_history` leaves out the lists from before the log.
`scenes` also measures each tab of the app by itself, and `surface` goes on from
that model, trained first, with the labels of the commonest tab alone. What the
model writes as a list, code by code, is measured against the next five long
views:

    genrec recommend --workdir=runs/token_baseline --user=ID --list_size=5
    genrec recommend --workdir=runs/token_baseline --user=ID --k=5 \
        --ranker=runs/token_baseline --assume=likely

writes such a list, or has the model place its own candidates one by one.
"""

from collections.abc import Set

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs import common, generators, kuairand
from genrec_jax.core.build import build

_VARIANTS = (
  "quicktest",
  "plain",
  "no_context",
  "extras_first",
  "all_tokens",
  "no_extra_loss",
  "no_skips",
  "per_task",
  "no_history",
  "scenes",
  "surface",
)
# What variants change of the model.
_CHANGES = {
  "plain": "codes and actions",
  "no_context": "no context",
  "extras_first": "extras first",
  "all_tokens": "loss on all tokens",
  "no_extra_loss": "no loss on extras",
  "no_skips": "no skipped codes",
  "per_task": "token per task",
  "surface": "one surface",
}
_WIDTH, _HEADS = 64, 2
_LENGTH = 512
_SIZES = (128, 128, 128)
_WEIGHTS = {
  "all_tokens": {"extra": 1.0, "context": 1.0, "other": 1.0},
  "no_extra_loss": {"extra": 0.0},
}
# The commonest tab.
_SURFACE = ("1",)
_LIST_SIZE = 5
# Events of their own behind a video.
_OTHER = ("follow", "profile")


def _extras() -> tuple[dict, ...]:
  """Age in hours, popularity, author, and whether the user follows them."""
  return (
    kuairand.feature("age.upload_dt", "LogBuckets", buckets=16, unit=3600.0),
    kuairand.feature("recent.id.7", "Percentiles", buckets=20),
    kuairand.feature("item.author_id", "Hashed", size=512),
    kuairand.feature("affinity.author_id.follow", "AtLeast"),
  )


def _quick_extras() -> tuple[dict, ...]:
  """The same of the simulator's items and actions."""
  return (
    kuairand.feature("age.id", "LogBuckets", buckets=16, unit=3600.0),
    kuairand.feature("recent.id.7", "Percentiles", buckets=4),
    kuairand.feature("item.category", "Vocabulary", size=32),
    kuairand.feature("affinity.category.cart", "AtLeast"),
  )


def _features(features: tuple[dict, ...]) -> dict:
  return {
    "name": "features.FeatureSet",
    "features": features,
    "utc_offset_hours": 8.0,
  }


def _layout(variants: Set[str]) -> dict:
  plain = "plain" in variants
  context = (
    kuairand.feature("context.hour", "Vocabulary", size=24),
    kuairand.feature("context.gap", "Percentiles", buckets=20),
  )
  weights = {}
  for name, changed in _WEIGHTS.items():
    weights |= changed if name in variants else {}
  return {
    "name": "layouts.TypedTokens",
    "feedback": kuairand.feedback(kuairand.TASKS),
    "level_sizes": _SIZES,
    "max_length": _LENGTH,
    "combined": "per_task" not in variants,
    "extras": _features(() if plain else _extras()),
    "extras_first": "extras_first" in variants,
    "context": _features(() if "no_context" in variants else context),
    "other": placeholder(dict) if plain else kuairand.feedback(_OTHER),
    "counted": kuairand.feedback(kuairand.SHOWN),
    "weights": weights,
    "skip_weight": 0.0 if "no_skips" in variants else 1.0,
    "scenes": _SURFACE if "surface" in variants else (),
    "num_candidates": 4,
  }


def _system() -> dict:
  return {
    "name": "models.TokenBaseline",
    "grammar": {},
    "width": _WIDTH,
    "dropout": 0.1,
    "dtype": "float32",
    "backbone": {
      "name": "backbones.CausalTransformer",
      "width": _WIDTH,
      "num_layers": 3,
      "num_heads": _HEADS,
      "head_width": _WIDTH // _HEADS,
      "ffn_width": 4 * _WIDTH,
      "num_buckets": 64,
      "max_distance": _LENGTH,
      "dropout": 0.1,
    },
  }


def match_grammar(c: ConfigDict) -> None:
  """Makes the system's grammar that of the layout."""
  grammar = build(c.pipeline.layout).grammar
  c.system.grammar = {
    "name": "data.TokenGrammar",
    "level_sizes": grammar.level_sizes,
    "actions": grammar.actions,
    "combined": grammar.combined,
    "extras": grammar.extras,
    "extras_first": grammar.extras_first,
    "context": grammar.context,
    "other": grammar.other,
  }


def _quicktest(c: ConfigDict) -> None:
  """The simulator's items, users and actions; levels of eight codes."""
  common.quicktest(c)
  common.quick_texts(c)
  c.split = ConfigDict(common.global_time())
  common.quick_before(c)
  # The simulator has no scenes.
  if "scenes" in c.evals:
    del c.evals.scenes
  tasks, layout = kuairand.QUICK_TASKS, c.pipeline.layout
  layout.scenes = ()
  c.value = ConfigDict(dict.fromkeys(tasks, 1.0))
  c.evals.shown_items.feedback.tasks = layout.feedback.tasks = tasks
  layout.level_sizes = c.tokens.tokenizer.level_sizes = (8, 8, 8)
  layout.max_length = c.pipeline.row_length = 96
  layout.counted.tasks = tasks
  if layout.other is not None:
    layout.other.tasks = ("purchase",)
  if layout.extras.features:
    layout.extras.features = _quick_extras()
  if c.retrieval:
    c.retrieval.update(num_beams=4, num_results=11)
    c.evals.next_item.ks = (1, 5, 10)
    c.evals.lists.retrieval.num_beams = 4
    c.evals.lists.lists.least = 2
    c.evals.lists.lists.wanted.tasks = tasks


def _measure_lists() -> dict:
  """Lists that the model writes, against the next long views."""
  return {
    "name": "evaluation.ListRecall",
    "lists": {
      "name": "dataset.NextItems",
      "size": _LIST_SIZE,
      "least": _LIST_SIZE,
      "wanted": kuairand.feedback(("long_view",)),
    },
    "ks": (_LIST_SIZE,),
    "filter_history": True,
    "retrieval": {
      "name": "retrieval.BeamLists",
      "list_size": _LIST_SIZE,
      "num_beams": 20,
    },
  }


def _go_on(c: ConfigDict, variants: Set[str]) -> None:
  """From the model of all surfaces, which is trained first."""
  kept = {"plain", "no_context", "per_task", "no_history", "scenes"}
  form = "-".join(sorted((variants | {"scenes"}) & kept))
  before = {"shared": f"configs/token_baseline_kuairand.py:{form}"}
  generators.goes_on(c, before, steps=600, eval_every_steps=100)


def get_config(arg: str = "") -> ConfigDict:
  """Eight tokens an item and two a request, unless a variant says otherwise."""
  variants = common.variants(arg, _VARIANTS)
  common.exclusive(
    variants, ("plain", "extras_first"), ("plain", "no_extra_loss")
  )
  common.exclusive(
    variants,
    ("all_tokens", "no_extra_loss"),
    *((other, "surface") for other in (*_WEIGHTS, "no_skips", "extras_first")),
  )
  c = kuairand.kuairand("token_baseline_kuairand", variants)
  c.title = common.title("Token baseline", variants, _CHANGES)
  c.content = common.item_texts()
  c.content.update(
    template="author{author_id} music{music_id} tag{tag} {video_type}"
    " {upload_type}",
    encoder={"name": "content.TfidfSvd", "width": 64, "pairs": False},
  )
  c.tokens = common.item_tokens(_SIZES)
  c.pipeline = {
    "layout": _layout(variants),
    "batch_size": 32,
    "row_length": _LENGTH,
    "readers": 1,
  }
  c.system = _system()
  c.objective = {"name": "objectives.TypedCrossEntropy"}
  c.optimizer.update(warmup_steps=100)
  c.train = kuairand.train_options(steps=3000, half_epoch=300)
  c.train.eval_users = 4_000
  c.requests.batch_size = 64
  c.retrieval = {}
  if "extras_first" not in variants:
    c.retrieval = {
      "name": "retrieval.PrefixBackOff",
      "num_beams": 32,
      "num_results": 256,
    }
    c.evals.next_item = common.next_item()
    c.evals.lists = _measure_lists()
    c.train.monitor = "ndcg@10+auc"
  if variants & {"scenes", "surface"}:
    c.data.scene = True
    c.evals.scenes = {
      "name": "evaluation.ByScene",
      "feedback": kuairand.feedback(kuairand.TASKS),
    }
  if "surface" in variants:
    _go_on(c, variants)
  common.share_dtype(c)
  if "quicktest" in variants:
    _quicktest(c)
  match_grammar(c)
  return c
