# SPDX-License-Identifier: Apache-2.0
"""OneRec-V2 on KuaiRand-Pure: a lazy decoder, then rewards from watch time.

    python scripts/run.py --config=configs/onerec_v2_kuairand.py \
        --workdir=runs/v2 --config.data.path=kuairand-pure

makes codes of the videos' tag, author and music, and trains the decoder on
videos that were clicked or watched for long, each behind all that the user was
shown before (arXiv 2508.20900). `:gbpo-skips` in its place trains that model
first, in WORKDIR/supervised, and goes on from it as a policy, on everything
that was shown. To have it from another run, where it lies in runs/v2:

    python scripts/train.py --config=configs/onerec_v2_kuairand.py:gbpo-skips \
        --workdir=runs/gbpo --config.prepared=runs/v2/data \
        --config.tokens.directory=runs/v2/tokens \
        --config.content.directory=runs/v2/vectors \
        --config.train.pretrained="{'policy': {'path': 'runs/v2', \
'prefix': ''}, 'reference': {'path': 'runs/v2', 'prefix': ''}}"

(`more` has one part, '', in place of two.)

Expected: nothing has been trained yet but the quick form; one CPU core is
meant, at a few steps a second. Variants:

    encoder_decoder  2 + 2 layers that read every history anew for each target
    decoder_only     4 causal layers that read a user once
    context          a slot of what the user is, and of each event its author,
                     tag, actions and watch time, beside its codes
    moe              8 experts in all layers but the first, a code takes 2
    weighted         positives count by their percentile of watch time
    more             goes on with the positives, for as long as a policy does
    gbpo  ecpo  ppo_clip   policies on logged feedback, beside the positives:
                     the quarter of a batch that was watched for longest (by its
                     percentile among the user's earlier videos of like length)
                     has advantage 1, what is hated -1
    skips            a quarter of the videos left within three seconds has -1
                     too; of hated ones there are 187
    collaborative    codes of content joined with vectors of two towers
    no_history       without the lists from before the log

Differences from the paper: a fourth code that tells videos apart, codes of tag,
author and music in place of what is seen and heard, events as one token of
their codes (with `context` of more, but no lifelong history), a bias by
recency, and pi_old that is the supervised model's.
"""

from collections.abc import Set

from ml_collections import ConfigDict

from configs import common, generators, kuairand
from genrec_jax.core.build import build

_SIZES = (64, 64, 64, 256)
_WIDTH, _DROPOUT = 128, 0.1
_MAX_ITEMS, _MAX_EVENTS = 64, 96
_FORMS = ("encoder_decoder", "decoder_only")
# What is told of events and users.
_EVENT = ("item.author_id", "item.tag", "item.video_duration")
_USER = (
  *("user.user_active_degree", "user.register_days_range"),
  *("user.follow_user_num_range", "user.fans_user_num_range"),
  *("user.onehot_feat1", "user.onehot_feat2", "user.onehot_feat4"),
)
_POLICIES = {
  "gbpo": {"name": "objectives.GBPO"},
  "ecpo": {"name": "objectives.ECPO"},
  "ppo_clip": {"name": "objectives.PPOClip"},
}
_VARIANTS = (
  *_FORMS,
  "context",
  "moe",
  "weighted",
  "more",
  *_POLICIES,
  "skips",
  "collaborative",
  "no_history",
  "quicktest",
)
# What variants change of the model.
_CHANGES = {
  "encoder_decoder": "encoder-decoder",
  "decoder_only": "decoder-only",
  "context": "told context",
  "moe": "mixture of experts",
  "weighted": "weighted positives",
  "more": "more steps",
  "gbpo": "GBPO",
  "ecpo": "ECPO",
  "ppo_clip": "PPO-clip",
  "skips": "skips refused",
  "collaborative": "collaborative codes",
}


def get_config(arg: str = "") -> ConfigDict:
  """The lazy decoder on positives, unless a variant says otherwise."""
  variants = common.variants(arg, _VARIANTS)
  common.exclusive(
    variants,
    ("weighted", "more", *_POLICIES),
    *((*_FORMS, variant) for variant in ("context", "moe")),
  )
  c = kuairand.kuairand("onerec_v2_kuairand", variants)
  c.title = common.title("OneRec-V2", variants, _CHANGES)
  del c.value
  c.content = common.item_texts()
  c.content.template = (
    "tag{tag} author{author_id} music{music_id} {video_type} {upload_type}"
  )
  c.content.encoder = ConfigDict(
    {"name": "content.TfidfSvd", "width": 128, "min_texts": 1, "pairs": False}
  )
  c.tokens = common.item_tokens(_SIZES[:-1], _SIZES[-1])
  if "collaborative" in variants:
    common.join_trained_items(c, "two_tower", "configs/two_tower_kuairand.py")
  policy = next((name for name in _POLICIES if name in variants), None)
  make = next((f for f in _FORMS if f in variants), "lazy")
  {"lazy": _lazy, **_BUILDERS}[make](c)
  # A policy learns from what was not taken, too.
  c.pipeline.layout.watched = _watched(variants, only_taken=policy is None)
  if "context" in variants:
    _tell(c)
  if "moe" in variants:
    _use_experts(c)
  c.retrieval = {"name": "retrieval.Beam", "num_beams": 64}
  c.objective = _objective(variants, policy)
  c.optimizer.warmup_steps = 200
  c.train = common.train_options(steps=4_000, eval_every_steps=250, patience=4)
  c.train.update(monitor="watched_recall@50", eval_users=1_000)
  if policy or "more" in variants:
    generators.goes_on(
      c, _before(variants), steps=1_000, eval_every_steps=100, patience=0
    )
  c.requests.batch_size = 64
  c.evals = ConfigDict(
    {
      "taken": {
        "name": "evaluation.TakenItems",
        "watched": _watched(set(), only_taken=True),
        "ks": (10, 50),
        "filter_history": True,
      }
    }
  )
  common.share_dtype(c)
  generators.share_ffn_dtype(c)
  if "quicktest" in variants:
    _quick(c)
  if policy:
    generators.with_reference(c)
  return c


def _before(variants: Set[str]) -> dict[str, str]:
  """The same model, trained first; where codes are of a run that is trained
  first too, it has to be named."""
  if "collaborative" in variants:
    return {}
  model = {*_FORMS, "context", "moe", "no_history"}
  kept = "-".join(sorted(variants & model))
  file = "configs/onerec_v2_kuairand.py"
  return {"supervised": f"{file}:{kept}" if kept else file}


def _watched(variants: Set[str], only_taken: bool) -> dict:
  """Play times in milliseconds, of videos as long to a factor of 2."""
  skips = "skips" in variants
  return {
    "name": "layouts.Watched",
    "percentiles": {
      "name": "features.WatchPercentiles",
      "duration": "video_duration",
      "relative": True,
      "base": 2.0,
      "least_events": 4,
    },
    "taken": ("click", "long_view"),
    "refused": ("hate",),
    "skip_below": 3_000.0 if skips else 0.0,
    "skip_share": 0.25 if skips else 1.0,
    "only_taken": only_taken,
  }


def _objective(variants: Set[str], policy: str | None) -> dict:
  supervised = {
    "name": "objectives.TakenTargets",
    "by_percentile": "weighted" in variants,
    "loss": {"name": "objectives.CodeCrossEntropy", "level_mean": True},
  }
  parts = {"supervised": supervised}
  if policy is not None:
    parts["policy"] = {
      "name": "objectives.LoggedPolicy",
      "loss": dict(_POLICIES[policy]),
      "top_share": 0.25,
      "negative_weight": 1.0,
    }
  if "moe" in variants:
    parts["routing"] = {"name": "objectives.RoutingLoss"}
  if len(parts) == 1:
    return supervised
  return generators.weighted(parts)


def _tell(c: ConfigDict) -> None:
  """What is told beside codes; the user's slot is as long as an event."""
  features = (
    kuairand.feature("item.author_id", "Vocabulary", size=8192, min_count=2),
    kuairand.feature("item.tag", "Vocabulary", size=128),
    kuairand.feature("item.video_duration", "Percentiles", buckets=20),
    *(kuairand.feature(of, "Vocabulary", size=64) for of in _USER),
  )
  _told(c, features, _EVENT, kuairand.SHOWN)
  c.system.name = "models.ContextSeq2Seq"
  c.system.update(watch_buckets=10, feature_width=16, profile_width=64)
  c.system.backbone.head_slots = 1
  c.pipeline.row_length += len(_SIZES)
  c.system.max_length += len(_SIZES)


def _told(
  c: ConfigDict,
  features: tuple[dict, ...],
  events: tuple[str, ...],
  shown: tuple[str, ...],
) -> None:
  """The layout tells it, and the model reads as much."""
  c.pipeline.layout.with_items = True
  c.pipeline.layout.told = ConfigDict(
    {
      "name": "layouts.ToldContext",
      "features": {
        "name": "features.FeatureSet",
        "features": features,
        "history": events,
      },
      "shown": kuairand.feedback(shown),
      "watch_buckets": 10,
    }
  )
  built = build(c.pipeline.layout.told.features)
  c.system.feature_rows = built.rows
  c.system.history_columns = built.history_columns
  c.system.num_actions = len(shown)


def _use_experts(c: ConfigDict) -> None:
  """Two of eight experts, evened without a loss, but in the first layer."""
  mixture = generators.experts(8, 2, _WIDTH, shared_experts=1)
  generators.first_layers_dense(c, mixture, num_first=1)


def _lazy(c: ConfigDict) -> None:
  """One set of keys, which are the values, of one head; 4 layers."""
  tokens = _MAX_EVENTS * len(_SIZES)
  layout = generators.targets(_SIZES, _MAX_ITEMS, _MAX_EVENTS, max_targets=32)
  c.pipeline = ConfigDict(generators.pipeline(layout, 16, tokens))
  backbone = generators.lazy(
    _WIDTH, len(_SIZES), max_items=_MAX_ITEMS, dropout=_DROPOUT
  )
  c.system = ConfigDict(generators.seq2seq(_SIZES, _WIDTH, tokens, backbone))


def _encoder_decoder(c: ConfigDict) -> None:
  """2 + 2 layers; two histories of the most items fill a row."""
  tokens = _MAX_ITEMS * len(_SIZES)
  layout = generators.prefixes(_SIZES, _MAX_ITEMS)
  c.pipeline = ConfigDict(generators.pipeline(layout, 16, 2 * tokens))
  backbone = generators.encoder_decoder(_WIDTH, 2, _DROPOUT)
  c.system = ConfigDict(generators.seq2seq(_SIZES, _WIDTH, tokens, backbone))


def _decoder_only(c: ConfigDict) -> None:
  """4 causal layers over all codes of a user."""
  generators.decoder_only(
    c, _SIZES, width=_WIDTH, max_items=_MAX_EVENTS, dropout=_DROPOUT
  )


_BUILDERS = {
  "encoder_decoder": _encoder_decoder,
  "decoder_only": _decoder_only,
}


def _quick(c: ConfigDict) -> None:
  """The simulator's prices stand for lengths and for play times."""
  common.quicktest(c)
  c.split = ConfigDict(common.global_time())
  c.train.pretrained = {}
  if "supervised" in c.get("before", {}):
    # The quick form of a policy starts from what it draws.
    del c.before
  common.quick_tokens(c)
  c.evals.taken.ks = (1, 10)
  c.train.update(monitor="watched_recall@10", eval_users=20)
  if "max_events" in c.pipeline.layout:
    c.pipeline.layout.max_events = c.pipeline.layout.max_items
  if "told" in c.pipeline.layout:
    features = (
      kuairand.feature("item.category", "Vocabulary", size=32),
      kuairand.feature("item.price", "Percentiles", buckets=5),
      kuairand.feature("user.id", "Hashed", size=16),
    )
    _told(c, features, ("item.category", "item.price"), kuairand.QUICK_TASKS)
    c.pipeline.row_length += len(_SIZES)
    c.system.max_length += len(_SIZES)
  for node in (c.pipeline.layout.watched, c.evals.taken.watched):
    node.percentiles.update(duration="price", relative=False)
    node.update(taken=kuairand.QUICK_TASKS, refused=(), skip_below=20.0)
