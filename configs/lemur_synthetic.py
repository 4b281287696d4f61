# SPDX-License-Identifier: Apache-2.0
"""LEMUR on a simulated search: a document encoder trained inside the ranker.

    python scripts/run.py --config=configs/lemur_synthetic.py \
        --workdir=runs/lemur

4,000 users, 10,000 documents of 20 words, of which half say what it is about,
500 queries, 8 documents shown for each request (data/simulator/search_log.py).
Candidates and queries are encoded in the step, histories read what was encoded
before from a memory; the loss is that of clicks and a contrast of queries with
documents (arXiv 2511.10962). Expected: it is untrained, and there is no figure
yet; the paper reports .7 % of QAUC, relative, over an encoder trained apart,
and a model that knows all has an AUC of about .83. A step of 1,024 impressions
is estimated at half a second on one CPU core, 1,500 of them at a quarter of an
hour. Variants:

    frozen         encoders trained by the contrast alone in a run before
                   (variant stop_gradient), then held still
    stop_gradient  the ranker's loss does not train the encoders
    no_bank        no memory: histories have no content
    reencode       no memory: all documents are encoded anew in every step
    no_contrast    the ranker's loss alone
    no_query_mask  documents of the same query are negatives too
    no_cosines     no cosines of candidate and history
    sampled        20 % of a batch's documents are encoded and learned from
    pictures       no text: squares of numbers, by convolutions, for documents
                   and queries

Differences from the paper: DIN and DCN-v2 where it has cross-attention over the
history and RankMixer; one layer of width 32 for 2 and 4 of 128; its weight of
the contrast is not known to us, .1 here.
"""

from collections.abc import Set

from ml_collections import ConfigDict

from configs import common, kuairand
from configs.dlrm_kuairand import match_features

_CHANGES = {
  "frozen": "frozen encoders",
  "stop_gradient": "contrast alone trains encoders",
  "no_bank": "no memory",
  "reencode": "history encoded anew",
  "no_contrast": "no contrast",
  "no_query_mask": "no query mask",
  "no_cosines": "no cosines",
  "sampled": "sampled documents",
  "pictures": "pictures",
}
_VARIANTS = (*_CHANGES, "quicktest")
_TASKS = ("click",)
_WIDTH, _TOKENS, _WORDS = 32, 24, 4096


def get_config(arg: str = "") -> ConfigDict:
  """All of it, and every document of a batch encoded."""
  variants = common.variants(arg, _VARIANTS)
  common.exclusive(
    variants,
    ("frozen", "stop_gradient"),
    ("frozen", "no_contrast"),
    ("frozen", "no_query_mask"),
    ("stop_gradient", "no_contrast"),
    ("no_contrast", "no_query_mask"),
    ("no_bank", "reencode", "sampled"),
    ("no_bank", "no_cosines"),
  )
  c = ConfigDict()
  c.name = "-".join(["lemur_synthetic", *sorted(variants - {"quicktest"})])
  c.title = common.title("LEMUR", variants, _CHANGES)
  c.seed = 0
  c.prepared = ""
  pictures = "pictures" in variants
  c.data = {"name": "simulator.SearchLog", "pictures": pictures, "seed": 0}
  c.split = common.global_time()
  c.filter = common.filter_options()
  if pictures:
    c.content = {
      "directory": "",
      "template": "[{picture}]",
      "encoder": {"name": "content.NumberList", "width": 64},
    }
  else:
    c.text_tokens = words("{title}", _TOKENS)
  c.pipeline = {
    "layout": {
      "name": "layouts.PointwiseRows",
      "features": _features(),
      "history_features": ("item.id",),
      "feedback": kuairand.feedback(_TASKS),
      "max_length": 32,
      "history_length": 50,
      "num_candidates": 8,
      "query": {"name": "layouts.RequestQuery"},
      "item_content": "vectors" if pictures else "text_tokens",
    },
    "batch_size": 16,
    "row_length": 64,
    "readers": 1,
  }
  c.system = content_ranker(variants)
  if pictures:
    for name in ("item_encoder", "query_encoder"):
      c.system[name] = _squares()
  c.objective = contrast_beside(
    {"name": "objectives.BinaryCrossEntropy", "tasks": _TASKS},
    "click",
    variants,
  )
  c.optimizer = {
    "name": "train.adamw",
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
  }
  c.train = common.train_options(steps=1_500, eval_every_steps=150, patience=3)
  c.train.monitor = "auc"
  c.requests = common.request_options(batch_size=128)
  feedback = kuairand.feedback(_TASKS)
  c.evals = {
    "shown_items": {"name": "evaluation.ShownItems", "feedback": feedback},
    "requests": {"name": "evaluation.WithinRequests", "feedback": feedback},
  }
  c.value = dict.fromkeys(_TASKS, 1.0)
  c.mesh = common.mesh_options()
  if "frozen" in variants:
    _freeze(c, variants)
  if "quicktest" in variants:
    _quick(c)
  match_features(c)
  return c


def words(template: str, max_tokens: int) -> dict:
  """config.text_tokens of words that no file is needed for."""
  return {
    "directory": "",
    "template": template,
    "words": {
      "name": "content.HashedWords",
      "num_words": _WORDS,
      "max_tokens": max_tokens,
      "width": _WIDTH,
    },
  }


def content_ranker(variants: Set[str], max_tokens: int = _TOKENS) -> dict:
  """config.system: encoders of words, DIN over the history, DCN-v2."""
  share = 0.2 if "sampled" in variants else 1.0
  with_memory = not {"no_bank", "reencode"} & variants
  system = {
    "name": "models.ContentRanker",
    "width": 16,
    "pooling": {
      "name": "layers.TargetAttention",
      "widths": (40,),
      "pair": {"name": "layers.DifferenceProduct"},
      "softmax": False,
      "dtype": "float32",
    },
    "interactions": {"name": "layers.CrossNetwork", "num_layers": 3},
    "tower_widths": (128, 64),
    "dropout": 0.1,
    "row_multiple": 1,
    "dtype": "float32",
    "item_encoder": _encoder(max_tokens),
    "query_encoder": _encoder(max_tokens),
    "memory": None,
    "sampling": {
      "name": "layers.RowSampling",
      "forward": share,
      "backward": share,
      "new_first": True,
      "popular_count": None,
      "popular_rate": 0.1,
    },
    "reencode_history": "reencode" in variants,
    "live_candidates": True,
    "num_cosines": 0 if {"no_cosines", "no_bank"} & variants else 8,
    "stop_gradient": "stop_gradient" in variants,
    "num_distinct": None,
    "num_queries": None,
  }
  if with_memory:
    system["memory"] = {
      "name": "layers.MemoryBank",
      "max_age": None,
      "limit_mib": 1024.0,
    }
  return system


def contrast_beside(ranking: dict, taken: str, variants: Set[str]) -> dict:
  """config.objective: a ranker's loss, the contrast, figures of the memory."""
  objectives, weights = {"ranking": ranking}, {"ranking": 1.0}
  if not {"no_contrast", "frozen"} & variants:
    objectives["contrast"] = {
      "name": "objectives.QueryDocumentContrast",
      "tasks": ranking["tasks"],
      "taken": (taken,),
      "scale": 50.0,
      "mask_query": "no_query_mask" not in variants,
      "mask_item": False,
    }
    weights["contrast"] = 0.1
  if not {"no_bank", "reencode"} & variants:
    objectives["memory"] = {"name": "objectives.MemoryFigures"}
    weights["memory"] = 0.0
  return {
    "name": "objectives.WeightedSum",
    "objectives": objectives,
    "weights": weights,
  }


def quick_content(c: ConfigDict, template: str) -> None:
  """Few words, and narrow encoders of them."""
  c.text_tokens.template = template
  c.text_tokens.words.update(num_words=64, max_tokens=8, width=8)
  for name in ("item_encoder", "query_encoder"):
    c.system[name].update(content_width=8, num_words=64, width=8, ffn_width=16)
    c.system[name].update(num_heads=2, head_width=4)


def _encoder(max_tokens: int) -> dict:
  return {
    "name": "layers.ContentTransformer",
    "content_width": max_tokens,
    "width": _WIDTH,
    "num_words": _WORDS,
    "word_width": None,
    "num_layers": 1,
    "num_heads": 4,
    "head_width": 8,
    "ffn_width": 4 * _WIDTH,
    "pooling": "mean",
    "dropout": 0.0,
  }


def _squares() -> dict:
  return {
    "name": "layers.ContentGrid",
    "content_width": 64,
    "width": _WIDTH,
    "channels": (8, 16),
  }


def _features() -> tuple[dict, ...]:
  """Ids, counts and the moment: what content knows is in no feature."""
  feature = kuairand.feature
  return (
    feature("item.id", "Vocabulary", size=16_384, min_count=2),
    feature("user.id", "Vocabulary", size=8_192, min_count=2),
    feature("context.hour", "Vocabulary", size=24),
    *(
      feature(of, "Percentiles", buckets=50)
      for of in ("item.count", "context.events", "context.past_click")
    ),
  )


def _freeze(c: ConfigDict, variants: Set[str]) -> None:
  """Encoders come from a run in which the contrast alone trained them."""
  same = sorted({"stop_gradient"} | (variants - {"frozen", "quicktest"}))
  c.before = {"contrast": f"configs/lemur_synthetic.py:{'-'.join(same)}"}
  parts = ("item_encoder", "query_encoder")
  c.train.pretrained = {part: {"path": "", "prefix": part} for part in parts}
  c.optimizer = {
    "name": "train.Frozen",
    "optimizer": c.optimizer.to_dict(),
    "paths": tuple(f"{part}/.*" for part in parts),
  }


def _quick(c: ConfigDict) -> None:
  """Eighty documents, and a few users who look for them."""
  pictures = c.data.pictures
  common.quicktest(c)
  common.quick_before(c)
  c.data = ConfigDict(
    {
      "name": "simulator.SearchLog",
      "num_users": 40,
      "num_documents": 80,
      "num_topics": 4,
      "topic_queries": 5,
      "shown": 6,
      "pictures": pictures,
      "seed": 0,
    }
  )
  c.pipeline.layout.update(history_length=8, num_candidates=6)
  c.requests.batch_size = 16
  if pictures:
    for name in ("item_encoder", "query_encoder"):
      c.system[name].update(width=8, channels=(4,))
  else:
    quick_content(c, "{title}")
