# SPDX-License-Identifier: Apache-2.0
"""OneRec v1 on a wholesaler's invoices of two years: the next basket as a list.

    python scripts/run.py --config=configs/onerec_retail.py \
        --workdir=runs/onerec --config.data.path=online-retail

Online Retail I and II, split as in configs/commerce_retail.py. 30 items are
read, and the first 5 of the next invoice written, each behind a begin token:
3 x 64 codes by balanced residual k-means of the titles' TF-IDF vectors, an
encoder and a decoder of 2 layers, 8 experts in the decoder of which a token
takes 2, lists by 20 beams. Measured is what they find of the whole basket.
Expected: no quality is measured yet; .6 s a step of some 60 lists, 80 minutes
of one CPU core, which writes 970 lists a second (20 for each of 48 requests).
The publication's data, sizes and signals are its own. Variants:

    single     each item of a basket from the history alone, at equal tokens;
               the 5 best of one search are the list
    dense      a decoder without experts, as wide as those that a token takes
    best       beside it the best of 20 lists by a reward model, which is
               trained first on half of the users; lists of the others are
               measured
    reward     that reward model: the next invoice of a customer, or another
               customer's of the same month?

`single` and `dense` go together, `dense` and `best` too.
"""

from ml_collections import ConfigDict

from configs import common

_VARIANTS = ("single", "dense", "best", "reward", "quicktest")
_CHANGES = {
  "single": "single items",
  "dense": "dense decoder",
  "reward": "reward of lists",
}
_SIZE = 5
_WIDTH, _EXPERT_WIDTH, _TAKEN = 128, 128, 2
_MAX_ITEMS = 30


def get_config(arg: str = "") -> ConfigDict:
  """Lists of five, and experts."""
  variants = common.variants(arg, _VARIANTS)
  common.exclusive(variants, *(("reward", x) for x in ("single", "dense")))
  common.exclusive(variants, ("best", "reward"), ("best", "single"))
  c = ConfigDict()
  c.name = "-".join(["onerec_retail", *sorted(variants - {"quicktest"})])
  c.title = common.title("OneRec", variants, _CHANGES)
  c.seed = 0
  c.prepared = ""
  _baskets(c)
  if "reward" in variants:
    _reward(c)
  else:
    _generator(c, single="single" in variants, dense="dense" in variants)
  c.optimizer = {
    "name": "train.adamw",
    "learning_rate": 1e-3,
    "b2": 0.98,
    "weight_decay": 0.05,
    "warmup_steps": 200,
  }
  c.requests = common.request_options(batch_size=64)
  c.mesh = common.mesh_options()
  if "best" in variants:
    c.before = {"reward": "configs/onerec_retail.py:reward"}
    c.evals.lists.reward = {"name": "experiment.ListRewards", "workdir": ""}
    c.evals.lists.users = _half(1)
  if "quicktest" in variants:
    _quicktest(c)
  return c


def _generator(c: ConfigDict, *, single: bool, dense: bool) -> None:
  """Codes of items, and what writes lists of them."""
  sizes = (64,) * 3
  c.content = {
    "directory": "",
    "template": "{title}",
    "encoder": {"name": "content.TfidfSvd", "width": 64},
  }
  c.tokens = common.item_tokens(sizes)
  c.tokens.tokenizer.balanced = True
  tokens = _MAX_ITEMS * len(sizes)
  c.pipeline = {
    "layout": {
      "name": "layouts.ListTargets",
      "max_items": _MAX_ITEMS,
      "level_sizes": sizes,
      "num_user_tokens": 0,
      "max_segments": 2,
      "lists": _lists(),
    },
    "batch_size": 48,
    "row_length": tokens,
    "readers": 1,
  }
  c.system = {
    "name": "models.ListSeq2Seq",
    "list_size": 1 if single else _SIZE,
    "level_sizes": sizes,
    "width": _WIDTH,
    "max_length": tokens,
    "num_user_tokens": 0,
    "tied": False,
    "embedding_init_std": 0.05,
    "dtype": "float32",
    "backbone": {
      "name": "backbones.EncoderDecoder",
      "width": _WIDTH,
      "num_encoder_layers": 2,
      "num_decoder_layers": 2,
      "num_heads": 4,
      "head_width": 32,
      "ffn_width": 4 * _WIDTH,
      "dropout": 0.1,
      "ffn_of_decoder": _ffn(dense),
    },
  }
  common.share_dtype(c)
  c.system.backbone.ffn_of_decoder.dtype = c.system.get_ref("dtype")
  c.retrieval = {"name": "retrieval.BeamLists", "list_size": _SIZE}
  if single:
    c.retrieval = {"name": "retrieval.Beam"}
  c.retrieval.num_beams = 20
  c.objective = {
    "name": "objectives.CodeCrossEntropy",
    "temperature": 1.0,
    "label_smoothing": 0.0,
  }
  if not dense:
    # The router's bias evens the load, and no loss does.
    c.objective = {
      "name": "objectives.WeightedSum",
      "objectives": {
        "codes": c.objective.to_dict(),
        "routing": {"name": "objectives.RoutingLoss", "z_weight": 0.001},
      },
      "weights": {"codes": 1.0, "routing": 1.0},
    }
  c.train = common.train_options(steps=8_000, eval_every_steps=500, patience=4)
  c.train.update(monitor=f"list_recall@{_SIZE}", eval_users=500)
  c.evals = {
    "lists": {
      "name": "evaluation.ListRecall",
      "lists": _lists(),
      "ks": (_SIZE,),
      "filter_history": False,
    }
  }


def _reward(c: ConfigDict) -> None:
  """What tells lists that followed a history from others of their month."""
  c.pipeline = {
    "layout": {
      "name": "layouts.LabelledLists",
      "max_length": 100,
      "lists": _lists(),
      "users": _half(0),
      "others": 4,
    },
    "batch_size": 64,
    "row_length": 100,
    "readers": 1,
  }
  c.system = {
    "name": "models.ListReward",
    "width": 64,
    "max_length": 100,
    "num_heads": 4,
    "hidden_width": 128,
    "dropout": 0.2,
  }
  c.objective = {"name": "objectives.ListCrossEntropy"}
  c.train = common.train_options(steps=8_000, eval_every_steps=250, patience=4)
  c.train.monitor = "list_auc"
  c.evals = {"reward": {"name": "evaluation.ListAuc", "users": _half(1)}}


def _half(part: int) -> dict:
  """Users whose lists the reward model is trained on, 0, and the others."""
  return {"name": "dataset.UserPart", "part": part, "parts": 2}


def _baskets(c: ConfigDict) -> None:
  """Purchases, split by time: October to December 2011 tests."""
  c.data = {
    "name": "sources.OnlineRetail",
    "path": "",
    "time_zone": "Europe/London",
    "returns": False,
  }
  c.split = common.global_time()
  c.split.validation_start = "2011-09-01"
  c.split.test_start = "2011-10-01"
  c.split.once_a_moment = True
  c.filter = common.filter_options()


def _lists() -> dict:
  """Invoices of at least five items, and the first five of them."""
  return {"name": "dataset.Baskets", "size": _SIZE, "least": _SIZE}


def _ffn(dense: bool) -> dict:
  """The decoder's feed-forward part."""
  if dense:
    return {
      "name": "layers.FeedForward",
      "width": _WIDTH,
      "hidden_width": _TAKEN * _EXPERT_WIDTH,
      "dropout": 0.1,
    }
  return {
    "name": "layers.ExpertFeedForward",
    "router": {
      "name": "layers.TopKRouter",
      "experts_per_token": _TAKEN,
      "normalized": False,
      "balance_rate": 0.001,
    },
    "num_experts": 8,
    "hidden_width": _EXPERT_WIDTH,
    "gated": False,
    "activation": "relu",
  }


def _quicktest(c: ConfigDict) -> None:
  """Sessions of simulated shoppers: of two items or more."""
  common.quicktest(c)
  c.split = ConfigDict(common.global_time())
  common.quick_before(c)
  layout = c.pipeline.layout
  layout.lists.least = 2
  if "tokens" not in c:
    c.system.max_length = layout.max_length
    return
  common.quick_texts(c)
  c.evals.lists.lists.least = 2
  sizes = (8,) * len(c.system.level_sizes)
  c.tokens.tokenizer.level_sizes = c.system.level_sizes = sizes
  layout.level_sizes, layout.max_items = sizes, 10
  c.system.max_length = c.pipeline.row_length = 10 * len(sizes)
  c.retrieval.num_beams = 5
