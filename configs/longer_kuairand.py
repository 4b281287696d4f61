# SPDX-License-Identifier: Apache-2.0
"""LONGER on KuaiRand-Pure: a long history in groups (arXiv 2505.04421).

    python scripts/train.py --config=configs/longer_kuairand.py \
        --workdir=runs/longer --config.data.path=kuairand-pure

Expected: not trained yet, and no figure is known on these data. By the formulas
of ops/merged_history_flops.py a candidate alone costs 2.5 million FLOPs (DIN
2.0), three quarters of which are its history's; the time on a CPU core is not
measured.

Features, data and training are configs/dlrm_kuairand.py's. The last 50 events,
each with how long ago it was, are joined four by four from the newest on; a
learned summary, the user's token and the five newest groups read all of them
once a request, and each candidate reads what came of it. The result has the
size of DIN's weighted sum, and stands in its place.

Variants: `unmerged` leaves events single, as wide as a group is here;
`inner` lets the events of a group see each other first (InnerTrans); `oldest`
begins groups at the first event, so that a full one stays what it is, and tells
times between events instead; `uniform` keeps groups that are spread over the
history, `learned` learned summaries instead of groups; `no_globals` has no
summary, and the candidate's token alone; `alone` has no other way from features
to the logits than through the history's globals; `long` is the size of the
paper's largest histories: 10,000 events in groups of eight, 100 of which stay,
bfloat16, a history once a request, trained on suffixes of drawn length, for a
log of one's own and for scripts/compile_tpu.py; `no_history` and `affinity` are
those of the DLRM config.

Differences from the paper: tasks are those of the other rankers, where it has
conversions; summaries do not see the candidate, or they could not be kept; the
number of layers, heads and global tokens, the form of times, norms and
activations are ours, for it states none.
"""

from collections.abc import Set

from ml_collections import ConfigDict

from configs import common
from configs.dlrm_kuairand import kuairand_rows, match_features

_VARIANTS = (
  *("quicktest", "no_history", "affinity", "unmerged", "inner", "oldest"),
  *("uniform", "learned", "no_globals", "alone", "long"),
)
_CHANGES = {
  "affinity": "affinity features",
  "unmerged": "unmerged",
  "inner": "InnerTrans",
  "oldest": "groups from the oldest",
  "uniform": "groups spread evenly",
  "learned": "learned queries",
  "no_globals": "no globals",
  "alone": "alone",
  "long": "10,000 events",
}
_LONG = 10_000


def merged_history(
  size: int, width: int, num_positions: int, num_recent: int, num_heads: int
) -> dict:
  """The history encoder, in float32.

  Args:
    size: events of a group.
    width: of an event.
    num_positions: most events.
    num_recent: groups that stay rows, the newest.
    num_heads: of the stack.
  """
  return {
    "name": "backbones.MergedHistory",
    "merge": {
      "name": "layers.EventMerge",
      "size": size,
      "width": width,
      "num_positions": num_positions,
      "align": "newest",
      "inner_layers": 0,
      "num_gaps": 0,
      "dtype": "float32",
    },
    "stack": {
      "name": "backbones.CrossCausal",
      "width": size * width,
      "num_heads": num_heads,
      "num_recent": num_recent,
      "num_spread": 0,
      "self_layers": 1,
      "dropout": 0.0,
      "dtype": "float32",
    },
    "summaries": 1,
    "user_token": True,
    "cross_token": True,
    "pool_tokens": False,
    "remat": False,
    "dtype": "float32",
  }


def change_history(c: ConfigDict, variants: Set[str]) -> None:
  """What variants make of the encoder."""
  pooling = c.system.pooling
  merge, stack = pooling.merge, pooling.stack
  if "unmerged" in variants:
    # Rows of the same width, of one event each, as many events of which stay.
    size = merge.size
    merge.update(size=1, width=stack.width)
    stack.num_recent *= size
  if "inner" in variants:
    merge.inner_layers = 1
  if "uniform" in variants:
    stack.update(num_spread=stack.num_recent, num_recent=0)
  if "learned" in variants:
    pooling.summaries += stack.num_recent
    stack.num_recent = 0
  if "no_globals" in variants:
    pooling.update(summaries=0, user_token=False, cross_token=False)


def share_dtype(c: ConfigDict) -> None:
  """Makes config.system.dtype the one field for the compute precision."""
  parts = [c.system.pooling, c.system.pooling.merge, c.system.pooling.stack]
  for part in (*parts, c.system.interactions):
    if "dtype" in part:
      part.dtype = c.system.get_ref("dtype")


def get_config(arg: str = "") -> ConfigDict:
  """Groups of four from the newest, five of which stay rows."""
  variants = common.variants(arg, _VARIANTS)
  common.exclusive(
    variants,
    ("uniform", "learned"),
    ("unmerged", "inner"),
    ("unmerged", "long"),
  )
  system = {
    "name": "models.LongHistoryRanker",
    "width": 16,
    "pooling": merged_history(
      size=4, width=16, num_positions=50, num_recent=5, num_heads=2
    ),
    "interactions": {"name": "layers.Concat"},
    "tower_widths": (128, 64),
    "dropout": 0.1,
    "row_multiple": 1,
    "request_columns": (),
    "history_seconds": "request",
    "alone": "alone" in variants,
    "dtype": "float32",
  }
  c = kuairand_rows("longer_kuairand", variants, system)
  c.title = common.title("LONGER", variants, _CHANGES)
  layout = c.pipeline.layout
  layout.update(history_group=1, history_seconds="request", one_request=False)
  share_dtype(c)
  if "long" in variants:
    _long(c, "quicktest" in variants)
  change_history(c, variants)
  if "oldest" in variants:
    c.system.pooling.merge.align = "oldest"
    layout.history_group = c.system.pooling.merge.size
    c.system.history_seconds = layout.history_seconds = "before"
  match_features(c)
  return c


def _long(c: ConfigDict, quick: bool) -> None:
  """Histories of 10,000 events, once a request."""
  size, width = 8, 32
  c.system.dtype = "bfloat16"
  c.system.pooling.update(remat=True)
  c.system.pooling.merge.update(
    size=size, width=width, inner_layers=1, num_positions=_LONG
  )
  c.system.pooling.stack.update(
    width=size * width, num_heads=8, num_recent=100, self_layers=3
  )
  c.pipeline.layout.update(
    one_request=True,
    stochastic_length={
      "name": "layouts.SuffixLength",
      "alpha": 0.02,
      "beta": 0.08,
    },
  )
  if quick:
    return
  c.pipeline.layout.update(max_length=8, history_length=_LONG)
  c.pipeline.update(batch_size=16, row_length=8)
  c.requests.batch_size = 8
