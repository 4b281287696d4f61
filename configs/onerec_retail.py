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
    written    which is also told from lists that the generator writes, which is
               trained first
    preference goes on from the generator in rounds: of 16 lists by beams the
               one of the highest reward against that of the lowest (DPO), with
               the reward model and the generator trained first; lists of the
               other half of the users are measured

`single` and `dense` go together, `dense` and `best` or `preference` too. A
reward model whose validation AUC is below .6 ends a `preference` run before its
first step.
"""

from collections.abc import Set

from ml_collections import ConfigDict

from configs import common, generators

_VARIANTS = (
  *("single", "dense", "best", "reward", "written", "preference"),
  "quicktest",
)
CHANGES = {
  "single": "single items",
  "dense": "dense decoder",
  "reward": "reward of lists",
  "written": "reward of lists, written ones too",
  "preference": "DPO",
}
SIZE = 5
_WIDTH, _EXPERT_WIDTH, _TAKEN = 128, 128, 2
_MAX_ITEMS = 30
_FILE = "configs/onerec_retail.py"


def get_config(arg: str = "") -> ConfigDict:
  """Lists of five, and experts."""
  variants = common.variants(arg, _VARIANTS)
  check_forms(variants)
  c = ConfigDict()
  c.name = "-".join(["onerec_retail", *sorted(variants - {"quicktest"})])
  c.title = common.title("OneRec", variants, CHANGES)
  c.seed = 0
  c.prepared = ""
  _baskets(c)
  c.requests = common.request_options(batch_size=64)
  c.mesh = common.mesh_options()
  c.content = {
    "directory": "",
    "template": "{title}",
    "encoder": {"name": "content.TfidfSvd", "width": 64},
  }
  # Invoices of at least five items, and the first five of them.
  make_form(c, variants, {"name": "dataset.Baskets"}, _FILE)
  if "quicktest" in variants:
    quicktest(c)
  return c


def check_forms(variants: Set[str]) -> None:
  """Raises a ValueError for variants of which one would be ignored."""
  rewards, chosen = ("reward", "written"), ("best", "preference")
  common.exclusive(
    variants,
    (*rewards, *chosen),
    *((*rewards, x) for x in ("single", "dense")),
    (*chosen, "single"),
  )


def make_form(c: ConfigDict, variants: Set[str], rule: dict, file: str) -> None:
  """Model, losses, training and evaluation of a form.

  Args:
    c: with data, content, requests and mesh.
    variants: of _VARIANTS.
    rule: what makes lists of events, but for their size.
    file: of the config, for what is trained first.
  """
  lists = {**rule, "size": SIZE, "least": SIZE}
  if variants & {"reward", "written"}:
    _reward(c, lists)
  else:
    _generator(c, lists, single="single" in variants, dense="dense" in variants)
  c.optimizer = {
    "name": "train.adamw",
    "learning_rate": 1e-3,
    "b2": 0.98,
    "weight_decay": 0.05,
    "warmup_steps": 200,
  }
  form = "-".join(sorted(variants & {"dense", "no_history"}))
  own = f"{file}:{form}" if form else file
  if "written" in variants:
    _against_written(c, own)
  elif "reward" in variants:
    # It reads no codes.
    del c.content
  if "best" in variants:
    c.before = {"reward": f"{file}:reward"}
    c.evals.lists.reward = {"name": "experiment.ListRewards", "workdir": ""}
    c.evals.lists.users = _half(1)
  if "preference" in variants:
    _prefer(c, {"reward": f"{file}:reward", "supervised": own})


def _generator(c: ConfigDict, lists: dict, *, single: bool, dense: bool):
  """Codes of items, and what writes lists of them."""
  sizes = (64,) * 3
  c.tokens = common.item_tokens(sizes)
  c.tokens.tokenizer.balanced = True
  tokens = _MAX_ITEMS * len(sizes)
  layout = {
    "name": "layouts.ListTargets",
    "max_items": _MAX_ITEMS,
    "level_sizes": sizes,
    "num_user_tokens": 0,
    "max_segments": 2,
    "lists": lists,
  }
  c.pipeline = generators.pipeline(layout, 48, tokens)
  backbone = generators.encoder_decoder(
    _WIDTH, 2, 0.1, ffn_of_decoder=_ffn(dense)
  )
  c.system = generators.seq2seq(
    sizes,
    _WIDTH,
    tokens,
    backbone,
    name="models.ListSeq2Seq",
    list_size=1 if single else SIZE,
  )
  common.share_dtype(c)
  generators.share_ffn_dtype(c, "ffn_of_decoder")
  c.retrieval = {"name": "retrieval.BeamLists", "list_size": SIZE}
  if single:
    c.retrieval = {"name": "retrieval.Beam"}
  c.retrieval.num_beams = 20
  c.objective = generators.code_loss()
  if not dense:
    # The router's bias evens the load, and no loss does.
    routing = {"name": "objectives.RoutingLoss", "z_weight": 0.001}
    parts = {"codes": c.objective.to_dict(), "routing": routing}
    c.objective = generators.weighted(parts)
  c.train = common.train_options(steps=8_000, eval_every_steps=500, patience=4)
  c.train.update(monitor=f"list_recall@{SIZE}", eval_users=500)
  c.evals = {
    "lists": {
      "name": "evaluation.ListRecall",
      "lists": lists,
      "ks": (SIZE,),
      "filter_history": False,
    }
  }


def _reward(c: ConfigDict, lists: dict) -> None:
  """What tells lists that followed a history from others of their month."""
  layout = {
    "name": "layouts.LabelledLists",
    "max_length": 100,
    "lists": lists,
    "users": _half(0),
    "others": 4,
  }
  c.pipeline = generators.pipeline(layout, 64, 100)
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


def _against_written(c: ConfigDict, generator: str) -> None:
  """Lists of a generator, asked before each list, stand beside the others.

  It knows the training part beforehand: what it writes may be a negative, and
  what is the true list is none (data/layouts/labelled_lists.py).
  """
  c.before = {"generator": generator}
  # The generator's, which are made by this run.
  c.tokens = common.item_tokens((64,) * 3)
  c.tokens.tokenizer.balanced = True
  c.lists = {
    "directory": "",
    "count": SIZE,
    "hindsight": True,
    "moments": True,
    "retrievers": {
      "generator": {
        "name": "experiment.RunLists",
        "workdir": "",
        "checkpoint": "best",
      }
    },
  }
  c.pipeline.layout.written = ("generator",)


def _prefer(c: ConfigDict, before: dict[str, str]) -> None:
  """Rounds of 300 steps: who draws is the model of the round's start."""
  generators.goes_on(c, before, steps=900, eval_every_steps=100, patience=0)
  rollout = generators.online_samples(num_samples=16, requests=8)
  c.rollout = rollout | dict(
    drawer={"name": "rollout.BestLists", "num_samples": 16, "list_size": SIZE},
    reward={
      "name": "rewards.TrainedReward",
      "workdir": "",
      "before": "reward",
      "checkpoint": "best",
      "least": 0.6,
    },
    renew_steps=300,
    reference_steps=300,
    moments=True,
  )
  parts = c.objective.to_dict()
  parts = parts.get("objectives", {"codes": parts})
  preference = {"name": "objectives.DPO", "beta": 0.1}
  c.objective = generators.weighted(
    {**parts, "preference": preference}, preference=0.1
  )
  c.evals.lists.users = _half(1)
  c.evals.samples = generators.sample_quality()
  c.guards = generators.sample_guards()
  # That one is of single items; of lists the reward model's own AUC says it.
  del c.guards["reward"]


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


def _ffn(dense: bool) -> dict:
  """The decoder's feed-forward part."""
  if dense:
    return generators.feed_forward(_WIDTH, _TAKEN * _EXPERT_WIDTH, 0.1)
  return generators.experts(
    8,
    _TAKEN,
    _EXPERT_WIDTH,
    router={"normalized": False},
    gated=False,
    activation="relu",
  )


def quicktest(c: ConfigDict) -> None:
  """Sessions of simulated shoppers: of two items or more."""
  common.quicktest(c)
  c.split = ConfigDict(common.global_time())
  common.quick_before(c)
  layout = c.pipeline.layout
  layout.lists.least = 2
  sizes = (8,) * 3
  if "tokens" in c:
    common.quick_texts(c)
    c.tokens.tokenizer.level_sizes = sizes
  if "retrieval" not in c:
    c.system.max_length = layout.max_length
    return
  c.evals.lists.lists.least = 2
  layout.level_sizes = c.system.level_sizes = sizes
  layout.max_items = 10
  c.system.max_length = c.pipeline.row_length = 10 * len(sizes)
  c.retrieval.num_beams = 5
  if "rollout" in c:
    c.rollout.drawer.num_samples = 4
    # Three steps make no reward that tells much.
    c.rollout.reward.least = None
