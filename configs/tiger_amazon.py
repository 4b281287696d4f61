# SPDX-License-Identifier: Apache-2.0
"""TIGER on an Amazon 2014 category (Beauty by default).

    python scripts/run.py --config=configs/tiger_amazon.py --workdir=runs/t \
        --config.data.path=amazon2014

makes vectors of the items' texts, codes of the vectors, and trains the
encoder-decoder on every prefix of every history (131,413 on Beauty). Expected
of `decoder_only` and --config.train.steps=5000, one seed: test HR@10 .0635 and
NDCG@10 .0350 (.0577 and .0310 where earlier items stay candidates), 63 minutes
on one CPU core, validation still rising; the encoder-decoder reads each user
as often as it has targets, 4 s a step of 32 rows there, and wants an
accelerator. Of `small`, one seed: .0451 and .0235 at step 4,500, from where
validation is flat, 105 minutes on one CPU core. docs/generative_retrieval.md
has the rest. Nothing has been measured of `lazy`, `preference`, `policy` and
`format`. Variants:

    decoder_only  one causal Transformer that reads every user once
    lazy          a decoder whose context no layer reads, of OneRec-V2: events
                  are keys and values, made once, by which all targets of a user
                  are trained in one pass (4 layers, 4 heads of 32)
    small         2 + 2 layers, 4 heads of 32, an FFN of 512 and 7,000 steps
                  (encoder-decoder only): what a CPU core trains in two hours
    rqvae         codes of an RQ-VAE (configs/rqvae_amazon.py), trained first
    engagement    and then tuned on what stands side by side in histories
    letter        codes of a LETTER (configs/letter_amazon.py), trained first
    collaborative codes of texts joined with the item vectors of a SASRec
    fields        the first code is the leaf category, two code the text
    random_level  a random last level tells items apart, not their number
    user_token    a hashed user token comes first (encoder-decoder only)
    cold_start    5 % of the items have no training events
    preference    goes on from the trained model: the best and the worst of
                  samples that it draws, by S-DPO; 1 where an item came next
    policy        likewise, by GRPO over the samples of a request
    format        of either or alone: samples are drawn of all codes, and those
                  that some item has are rewarded

Another category: --config.data.category=Toys_and_Games.
"""

from ml_collections import ConfigDict

from configs import common, generators

_VARIANTS = (
  "decoder_only",
  "lazy",
  "small",
  "rqvae",
  "engagement",
  "letter",
  "collaborative",
  "fields",
  "random_level",
  "user_token",
  "cold_start",
  "preference",
  "policy",
  "format",
  "quicktest",
)
# What variants change of the model.
_CHANGES = {
  "decoder_only": "decoder-only",
  "lazy": "lazy decoder",
  "small": "2 + 2 layers",
  "rqvae": "RQ-VAE",
  "engagement": "tuned RQ-VAE",
  "letter": "LETTER",
  "collaborative": "collaborative codes",
  "fields": "category codes",
  "random_level": "random last level",
  "user_token": "user token",
  "preference": "S-DPO",
  "policy": "GRPO",
  "format": "format reward",
}
_ON_SAMPLES = ("preference", "policy", "format")

_KINDS_OF_CODES = ("rqvae", "engagement", "letter", "collaborative", "fields")
# Their codes need a run of their own before.
_TRAINED_CODES = ("rqvae", "engagement", "letter", "collaborative")
# By the (last) run that config.before names.
_TRAINED = {"name": "experiment.TrainedTokenizer", "workdir": ""}


def get_config(arg: str = "") -> ConfigDict:
  """Beauty."""
  variants = common.variants(arg, _VARIANTS)
  # What needs the encoder-decoder excludes the other forms.
  common.exclusive(
    variants,
    _KINDS_OF_CODES,
    ("decoder_only", "lazy", "small"),
    ("decoder_only", "lazy", "user_token"),
    *((kind, "preference", "policy") for kind in _TRAINED_CODES),
    *((kind, "format") for kind in _TRAINED_CODES),
  )
  c = ConfigDict()
  c.name = "-".join(["tiger_amazon", *sorted(variants - {"quicktest"})])
  c.title = common.title("TIGER", variants, _CHANGES)
  c.seed = 0
  c.prepared = ""
  c.data = {"name": "sources.Amazon2014", "category": "Beauty", "path": ""}
  c.split = common.leave_one_out()
  c.filter = common.filter_options()
  if "cold_start" in variants:
    c.filter.hold_out_items = 0.05
  c.content = common.item_texts()
  in_place = bool(variants & {"random_level", "letter"})
  c.tokens = common.item_tokens((256,) * (4 if in_place else 3), 256)
  if in_place:
    c.tokens.unique = {"name": "semantic_ids.RandomLastLevel", "seed": 0}
  kinds = variants & {*_KINDS_OF_CODES}
  if kinds & {"rqvae", "engagement"}:
    levels = "" if in_place else "-three_levels"
    c.before = {"rqvae": f"configs/rqvae_amazon.py:seen_items{levels}"}
    if "engagement" in variants:
      form = f"engagement{levels}"
      c.before.tuned = f"configs/rqvae_amazon.py:{form}"
    c.tokens.tokenizer = dict(_TRAINED)
  if "fields" in variants:
    _fields(c)
  if "letter" in variants:
    c.before = {
      "sasrec": "configs/sasrec_amazon.py",
      "tokenizer": "configs/letter_amazon.py",
    }
    c.tokens.tokenizer = dict(_TRAINED)
    if "random_level" not in variants:
      c.tokens.unique = {"name": "semantic_ids.SinkhornLastLevel"}
  sizes = (256,) * 4
  if "collaborative" in variants:
    common.join_trained_items(c, "sasrec", "configs/sasrec_amazon.py")
  if "decoder_only" in variants:
    # 4 heads of 32, 50 items.
    generators.decoder_only(c, sizes, width=128, max_items=50, dropout=0.2)
  elif "lazy" in variants:
    _lazy(c, sizes)
  else:
    _encoder_decoder(c, sizes, users=2000 if "user_token" in variants else 0)
    if "small" in variants:
      c.system.backbone.update(
        num_encoder_layers=2,
        num_decoder_layers=2,
        num_heads=4,
        head_width=32,
        ffn_width=512,
      )
  c.retrieval = {"name": "retrieval.Beam", "num_beams": 64}
  c.objective = generators.code_loss()
  c.optimizer = {
    "name": "train.adamw",
    "learning_rate": 2e-3,
    "b2": 0.98,
    "weight_decay": 0.05,
    "warmup_steps": 200,
  }
  c.train = common.train_options(steps=12_000, eval_every_steps=500, patience=5)
  c.train.eval_users = 2_000
  if "small" in variants:
    # Two hours of one core, so the rate falls with them.
    c.train.update(steps=7_000, patience=0)
    c.optimizer.schedule = {
      "name": "train.Cosine",
      "steps": 7_000 - c.optimizer.warmup_steps,
    }
  c.requests = common.request_options()
  c.evals = {
    "next_item": {**common.next_item(), "ks": (1, 5, 10, 20, 50)},
    "decoding": {
      "name": "evaluation.Decoding",
      "users": 500,
      "ks": (1, 5, 10, 20, 50),
    },
  }
  c.mesh = common.mesh_options()
  common.share_dtype(c)
  generators.share_ffn_dtype(c)
  if variants & {*_ON_SAMPLES}:
    _on_samples(c, variants)
  if "quicktest" in variants:
    common.quicktest(c)
    common.quick_tokens(c)
    if "rollout" in c:
      c.rollout.requests = 8
      c.rollout.drawer.num_samples = 4
    if "lazy" in variants:
      c.pipeline.layout.max_events = c.pipeline.layout.max_items
    if "fields" in variants:
      text = c.content.encoder.to_dict()
      _use_fields(c, "{category}¦{title}", 8, text)
  return c


def _on_samples(c: ConfigDict, variants: set[str]) -> None:
  """Goes on from the same form without samples, which is trained first."""
  form = "-".join(sorted(variants - {*_ON_SAMPLES, "quicktest"}))
  c.optimizer = {
    "name": "train.adamw",
    "clip_norm": 1.0,
    "warmup_steps": 20,
  }
  supervised = "configs/tiger_amazon.py" + (f":{form}" if form else "")
  before = {"supervised": supervised}
  generators.goes_on(c, before, steps=600, eval_every_steps=100)
  c.rollout = generators.online_samples(num_samples=16, requests=32)
  parts, weights = {"codes": c.objective.to_dict()}, {}
  if variants & {"preference", "policy"}:
    # What came next is among few samples by chance.
    c.rollout.with_target = True
    parts["samples"] = {"name": "objectives.SoftmaxDPO", "beta": 0.1}
    if "policy" in variants:
      parts["samples"] = {"name": "objectives.GRPO", "kl_weight": 0.04}
    weights["samples"] = 0.1
  if "format" in variants:
    c.rollout.drawer.name = "rollout.SampledCodes"
    parts["format"] = {
      "name": "objectives.FormatReward",
      "loss": {"name": "objectives.ECPO"},
      "count": 5,
    }
    weights["format"] = 0.1
  c.objective = generators.weighted(parts, **weights)
  c.evals.samples = generators.sample_quality()
  c.guards = generators.sample_guards()


def _fields(c: ConfigDict) -> None:
  """Codes that begin with the leaf category: all that Beauty's items have.

  With brands and prices in the item table: a template of more pieces, and
  "price": {"name": "content.Numbers", "size": 16} beside.
  """
  text = c.content.encoder
  _use_fields(c, "{categories[0]}¦{title}. {categories}", 256, text)
  sizes = c.tokens.tokenizer.level_sizes
  c.tokens.tokenizer = {
    "name": "quantizers.FieldCodes",
    "level_sizes": sizes,
    "num_fields": 1,
  }


def _use_fields(c: ConfigDict, template: str, size: int, text: dict) -> None:
  c.content.template = template
  c.content.encoder = ConfigDict(
    {
      "name": "content.FieldEncoder",
      "fields": {"category": {"name": "content.Labels", "size": size}},
      "text": text,
      "weight": 0.5,
      "path": "",
    }
  )


def _encoder_decoder(c: ConfigDict, sizes: tuple[int, ...], users: int) -> None:
  """4 + 4 layers, 6 heads of 64, 20 items."""
  width, max_items = 128, 20
  tokens = bool(users) + max_items * len(sizes)
  layout = generators.prefixes(sizes, max_items, users)
  c.pipeline = generators.pipeline(layout, 32, 2 * tokens)
  backbone = generators.encoder_decoder(
    width, 4, 0.1, num_heads=6, head_width=64, ffn_width=1024
  )
  c.system = generators.seq2seq(
    sizes, width, tokens, backbone, num_user_tokens=users
  )


def _lazy(c: ConfigDict, sizes: tuple[int, ...]) -> None:
  """The published block: one set of keys, which are the values, of one head.

  The bias by recency is not: an event's token says nothing of its place.
  """
  width, max_items, max_events = 128, 20, 50
  tokens = max_events * len(sizes)
  layout = generators.targets(sizes, max_items, max_events)
  c.pipeline = generators.pipeline(layout, 16, tokens)
  backbone = generators.lazy(
    width, len(sizes), max_items=max_items, dropout=0.1
  )
  c.system = generators.seq2seq(sizes, width, tokens, backbone)
