# SPDX-License-Identifier: Apache-2.0
"""RankMixer at its published 1B, and TokenMixer-Large at 7B parameters.

    python scripts/compile_tpu.py --config=configs/rankmixer_industrial.py \
        --topology=v5p:2x2x4 --steps=train,score
    python scripts/compile_tpu.py --topology=v5p:2x2x4 --steps=train \
        --config=configs/rankmixer_industrial.py:tokenmixer
    python scripts/train.py --config=configs/rankmixer_industrial.py \
        --workdir=/mnt/shared/rankmixer --config.data.path=kuairand-pure

Two layers of 32 tokens of width 1536 with a feed-forward part of inner width
6144 for each token: 1.2 billion parameters (arXiv 2507.15551, section 4, says
1B, T, D and L, and no inner width; four times D is ours). `tokenmixer` has four
layers that mix and mix back, width 2048, gated parts of inner width 4608: 7.2
billion (arXiv 2602.06563 says 7B and none of these sizes). Its tokens are
slices, too, as the log has no 31 groups of features. `base` is RankMixer 100M:
16 tokens of width 768.

Features are KuaiRand's, in vectors of width 128. What is costed is the dense
part: a service's tables would be a thousand times as large. Tokens lie split
over the mesh's axis `model`, each chip having the matrices of its own, and
change places to be mixed.

Expected: no run is finished, here or elsewhere; what a step takes is what
compile_tpu prints, on a CPU core.
"""

from ml_collections import ConfigDict

from configs import common, rankmixer_kuairand, tokenmixer_kuairand

_VARIANTS = ("quicktest", "base", "tokenmixer")
# Tokens, their width, inner width and layers.
_SIZES = {
  "": (32, 1536, 6144, 2),
  "base": (16, 768, 3072, 2),
  "tokenmixer": (32, 2048, 4608, 4),
}
_TITLES = {
  "": "RankMixer 1B",
  "base": "RankMixer 100M",
  "tokenmixer": "TokenMixer-Large 7B",
}
_QUICK = (8, 32, 32, 2)


def get_config(arg: str = "") -> ConfigDict:
  """128 rows of 64 impressions; eight chips share the tokens of a row."""
  variants = common.variants(arg, _VARIANTS)
  common.exclusive(variants, ("base", "tokenmixer"))
  (form,) = variants - {"quicktest"} or {""}
  quick = "quicktest" in variants
  tokens, width, hidden, layers = _QUICK if quick else _SIZES[form]
  c = rankmixer_kuairand.get_config("quicktest" if quick else "")
  c.name = "-".join(filter(None, ["rankmixer_industrial", form]))
  c.name += "-quicktest" if quick else ""
  c.title = _TITLES[form]
  feed = rankmixer_kuairand.slot_feed(hidden)
  stack = rankmixer_kuairand.mixing(set(), tokens, width, layers, feed)
  if form == "tokenmixer":
    feed = tokenmixer_kuairand.gated_feed(hidden)
    made = stack["tokens"]
    stack = tokenmixer_kuairand.mixing(made, tokens, layers, feed)
  stack["dtype"] = c.system.get_ref("dtype")
  c.system.interactions = stack
  c.system.update(width=16 if quick else 128, dtype="bfloat16")
  c.system.tower_widths = (64,) if quick else (1024, 256)
  rankmixer_kuairand.match_tokens(c)
  c.optimizer.update(learning_rate=1e-3, warmup_steps=1_000)
  c.mesh = {
    "preset": "slots",
    "axes": {"data": -1, "model": 1 if quick else 8},
    "rules": {},
  }
  if not quick:
    c.pipeline.update(batch_size=128, readers=16)
    c.train = common.train_options(
      steps=100_000, eval_every_steps=5_000, patience=0
    )
    c.train.monitor = "auc"
  return c
