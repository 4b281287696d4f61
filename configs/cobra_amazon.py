# SPDX-License-Identifier: Apache-2.0
"""COBRA on an Amazon 2014 category (Beauty by default).

    python scripts/run.py --config=configs/cobra_amazon.py --workdir=runs/c \
        --config.data.path=amazon2014

makes vectors of the items' texts, coarse codes of the vectors (3 x 32, several
items each), and trains codes and vectors together: an item's vector is an MLP
of its text's, trained with all else. Expected on Beauty, one seed and
one CPU core each: of `negatives` test HR@10 .0579 and NDCG@10 .0301 at step
4,000, an hour; of `collaborative-ids-negatives`, in rows of 20 events
(--config.pipeline.row_length=20 --config.pipeline.batch_size=60), .0639 and
.0361 at step 3,000 of 4,244, 46 minutes behind its SASRec. The dense half alone
(configs/dense_amazon.py) had .0855 and .0470. Variants:

    history   the vector is read before the codes, as LIGER reads it
    fixed     items do not move towards what is read (stop_gradient_target)
    one_beam  the best codes and the items nearest in them, no fusion
    negatives 1,024 uniform negatives beside the batch's items, logQ corrected
    text      an item's vector is made of its words, by a Transformer of one
              layer whose word vectors start as MiniLM's
    ids       each item also has a learned vector, added to that of its text
    collaborative  codes of texts joined with the item vectors of a SASRec,
              which is trained first
    coarse    2 x 32 codes, of 12 items each on average, so that the vector
              decides more; a neighbour's share is that of its whole cluster

Another category: --config.data.category=Toys_and_Games.
"""

from ml_collections import ConfigDict

from configs import common

_VARIANTS = (
  "history",
  "fixed",
  "one_beam",
  "negatives",
  "text",
  "ids",
  "collaborative",
  "coarse",
  "quicktest",
)
# What variants change of the model.
_CHANGES = {
  "history": "vector before codes",
  "fixed": "fixed targets",
  "one_beam": "one beam",
  "negatives": "uniform negatives",
  "text": "words",
  "ids": "learned item vectors",
  "collaborative": "collaborative codes",
  "coarse": "coarse codes",
}


def get_config(arg: str = "") -> ConfigDict:
  """Beauty."""
  variants = common.variants(arg, _VARIANTS)
  width, max_items, dropout = 128, 20, 0.2
  coarse = "coarse" in variants
  sizes = (32,) * (2 if coarse else 3)
  c = ConfigDict()
  c.name = "-".join(["cobra_amazon", *sorted(variants - {"quicktest"})])
  c.title = common.title("COBRA", variants, _CHANGES)
  c.seed = 0
  c.prepared = ""
  c.data = {"name": "sources.Amazon2014", "category": "Beauty", "path": ""}
  c.split = common.leave_one_out()
  c.filter = common.filter_options()
  c.content = common.item_texts()
  c.tokens = common.item_tokens(sizes)
  if "collaborative" in variants:
    common.join_trained_items(c, "sasrec", "configs/sasrec_amazon.py")
  words = "text" in variants
  if words:
    c.text_tokens = common.text_tokens(width)
  c.pipeline = {
    "layout": {
      "name": "layouts.TokenHistory",
      "max_length": max_items,
      "num_levels": len(sizes),
      "item_content": "text_tokens" if words else "vectors",
    },
    "batch_size": 24,
    "row_length": 50,
    "readers": 1,
  }
  c.system = {
    "name": "models.Cobra",
    "level_sizes": sizes,
    "width": width,
    "num_positions": max_items,
    "num_distinct": None,
    "with_ids": "ids" in variants,
    "vector_from": "history" if "history" in variants else "codes",
    "stop_gradient_target": "fixed" in variants,
    "tied": False,
    "embedding_init_std": 0.05,
    "position_init_std": 0.05,
    "dropout": dropout,
    "row_multiple": 1,
    "dtype": "float32",
    "item_encoder": _words(width) if words else _vectors(width),
    "backbone": {
      "name": "backbones.CausalTransformer",
      "width": width,
      "num_layers": 2,
      "num_heads": 4,
      "head_width": 32,
      "ffn_width": 4 * width,
      "dropout": dropout,
    },
  }
  c.retrieval = {
    "name": "retrieval.BeamFusion",
    "num_results": 64,
    "num_beams": 1 if "one_beam" in variants else 64,
    "num_neighbors": 64 if "one_beam" in variants else 20,
    "beam_scale": 0.9,
    "vector_scale": 16.0,
    "over": "cluster" if coarse else "neighbors",
    "clusters": "auto",
    "max_cluster": 4096,
    "approximate_above": None,
  }
  extra = None
  if "negatives" in variants:
    extra = {"name": "objectives.UniformShared", "count": 1024}
  c.objective = {
    "name": "objectives.WeightedSum",
    "objectives": {
      "codes": {
        "name": "objectives.CodeCrossEntropy",
        "temperature": 1.0,
        "label_smoothing": 0.0,
      },
      "vector": {
        "name": "objectives.BatchItemSoftmax",
        "temperature": 0.1,
        "own_history": False,
        "negatives": extra,
        "correct_log_q": "negatives" in variants,
      },
    },
    "weights": {"codes": 1.0, "vector": 1.0},
  }
  c.optimizer = {
    "name": "train.adamw",
    "learning_rate": 1e-3,
    "weight_decay": 0.01,
    "warmup_steps": 200,
  }
  c.train = common.train_options(steps=10_000, eval_every_steps=500, patience=5)
  c.train.eval_users = 2_000
  c.requests = common.request_options()
  c.evals = {"next_item": {**common.next_item(), "ks": (1, 5, 10, 20, 50)}}
  c.evals.search_stages = common.search_stages()
  c.mesh = common.mesh_options()
  common.share_dtype(c)
  if "quicktest" in variants:
    _quick(c)
  return c


def _vectors(width: int) -> dict:
  """An MLP on MiniLM's vectors of the texts."""
  return {
    "name": "layers.ContentMlp",
    "content_width": 384,
    "width": width,
    "hidden_widths": (256,),
    "dropout": 0.0,
  }


def _words(width: int) -> dict:
  """A Transformer on the first 32 word pieces, one layer as published."""
  return {
    "name": "layers.ContentTransformer",
    "content_width": 32,
    "width": width,
    "num_words": 30_522,
    "word_width": None,
    "num_layers": 1,
    "num_heads": 4,
    "head_width": 32,
    "ffn_width": 4 * width,
    "pooling": "first",
    "dropout": 0.0,
  }


def _quick(c: ConfigDict) -> None:
  """A hundred simulated items of 8 x 8 x 8 codes."""
  common.quicktest(c)
  common.quick_texts(c)
  common.quick_before(c)
  sizes = (8,) * len(c.system.level_sizes)
  c.tokens.tokenizer.level_sizes = c.system.level_sizes = sizes
  c.system.num_positions = c.pipeline.layout.max_length
  if "text_tokens" in c:
    common.quick_words(c)
  else:
    c.system.item_encoder.update(content_width=24, hidden_widths=(16,))
  c.evals.next_item.ks = (1, 5, 10)
  c.evals.search_stages.ks = (10,)
  c.retrieval.update(num_results=11)
