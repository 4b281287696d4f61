# SPDX-License-Identifier: Apache-2.0
"""GenRank on KuaiRand-Pure: one token per event, loss on candidates.

    python scripts/train.py --config=configs/genrank_kuairand.py \
        --workdir=runs/genrank --config.data.path=kuairand-pure

Every request of the training part is an example: the events before it, item
and action in one token with place, request and time since the request before,
and its items as candidates that see history and themselves (arXiv 2505.04180,
known to us from notes on it). Slopes of ALiBi instead of learned biases. Data,
split and tasks are those of configs/hstu_ranking_kuairand.py. Expected test AUC
of click, long_view and like, three seeds: .7298, .7337, .8723 (five minutes on
two CPU cores); with `history_loss` .7276, .7310, .8717 (90 seconds).

Variants: `history_loss` asks about all labelled events of a user in one
example; `full_mask` lets a history see all of itself (both are disputed);
`learned` takes HSTU's learned biases for the slopes; `fused` tells nothing of
requests; `no_history` and `affinity` are those of the HSTU config.

Differences from the notes: HSTU's block, where they leave open whether
attention is softmax; features of video, user and moment that meet the hidden
state in an MLP, as in the HSTU config; width 64 and 2 layers instead of 768
and 3.
"""

from ml_collections import ConfigDict

from configs import common, hstu_ranking_kuairand as hstu

# Variants that mean what they mean to HSTU.
_SHARED = {"no_history", "affinity"}
_VARIANTS = (
  *("quicktest", "history_loss", "full_mask", "learned", "fused"),
  *sorted(_SHARED),
)
# What variants change of the model.
_CHANGES = {
  "full_mask": "full mask",
  "learned": "learned biases",
  "fused": "no request or gap",
  "affinity": "affinity features",
}


def get_config(arg: str = "") -> ConfigDict:
  """Action-oriented tokens and ALiBi, unless a variant says otherwise."""
  variants = common.variants(arg, _VARIANTS)
  if {"history_loss", "full_mask"} <= variants:
    raise ValueError("full_mask with history_loss sees the labels: drop one.")
  bias = set() if "learned" in variants else {"alibi"}
  c = hstu.get_config("-".join(sorted(bias | (variants & _SHARED))))
  c.name = "-".join(["genrank_kuairand", *sorted(variants - {"quicktest"})])
  examples = "histories" if "history_loss" in variants else "requests"
  c.title = common.title(f"GenRank on {examples}", variants, _CHANGES)
  layout = c.pipeline.layout
  layout.update(
    name="layouts.ActionOriented",
    last_requests=1 if "history_loss" in variants else 0,
    history_loss="history_loss" in variants,
    causal="full_mask" not in variants,
  )
  if "fused" in variants:
    layout.name = "layouts.Fused"
  else:
    # Log buckets of a month at most, and requests of the last 64 events.
    c.system.update(num_requests=64, num_gaps=56)
  # Half an epoch, and up to six: of users, or of their requests.
  if "history_loss" in variants:
    c.train.eval_every_steps = 70
  else:
    c.train.update(eval_every_steps=430, steps=5160)
  c.system.unknown_action = True
  c.system.num_positions = c.system.backbone.num_positions
  if "quicktest" in variants:
    hstu.quicktest(c)
  return c
