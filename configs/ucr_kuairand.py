# SPDX-License-Identifier: Apache-2.0
"""UCR on KuaiRand-Pure: a video as a document of its viewers (2305.15333).

    python scripts/train.py --config=configs/ucr_kuairand.py \
        --workdir=runs/ucr --config.data.path=kuairand-pure

Expected: untrained, no figure is known; some minutes on a CPU core. No
advantage is to be expected: the month's standard videos are mostly the same,
7.5 thousand against 27 thousand users, so that users are the larger table.

Data, optimizer, pooling and the features that are no tokens are those of
configs/din_kuairand.py. What differs is of what the ids and the list are:

    (none)   id of the user; the video's last 50 viewers, and what they did
    `icr`    id of the video; the user's last 50 videos, and what was done
    `both`   both ids, both lists
    `content`  no id of either; the user's last 50 videos by author, music, tag

Events of a list have three features each, the id or what stands for it first;
arms are compared at equal width, not at an equal number of parameters. All arms
are told the video's author, and of 7,583 videos there are 6,510 authors: none
is without what an id would tell.

Variants: these; `counts` adds how often the video was shown in the 30 days
before, which a sum over its viewers knows as well; `sum` adds lists up instead
of weighting them; `no_history` leaves out the lists from before the log.

Differences from the paper: one list with what was done in it instead of one of
positives and one of negatives; 50 events instead of 512; AdamW instead of
Adagrad. --config.pipeline.layout.audience.keep=random draws viewers as its
public code does, which we have not ported: it feeds the rating to the model and
builds lists of all events, later ones too.
"""

from ml_collections import ConfigDict

from configs import common, kuairand
from configs.dlrm_kuairand import kuairand_features, match_features

_ARMS = ("icr", "both", "content")
_VARIANTS = ("quicktest", "no_history", *_ARMS, "counts", "sum")
_TITLES = {"icr": "ICR", "both": "UCR and ICR", "content": "ICR of contents"}
_CONTENT = ("item.author_id", "item.music_id", "item.tag")
_VIEWERS = ("user.id", "user.user_active_degree", "user.register_days_range")


def get_config(arg: str = "") -> ConfigDict:
  """Users as tokens, until a variant says otherwise."""
  variants = common.variants(arg, _VARIANTS)
  common.exclusive(variants, _ARMS)
  pooling = {
    "name": "layers.TargetAttention",
    "widths": (80, 40),
    "pair": {"name": "layers.DifferenceProduct"},
    "softmax": False,
    "dtype": "float32",
  }
  if "sum" in variants:
    pooling = {"name": "layers.SumPooling"}
  c = kuairand_features(
    "ucr_kuairand", variants, pooling, {"name": "layers.Concat"}
  )
  quick = "quicktest" in variants
  (arm,) = variants & {*_ARMS} or ("ucr",)
  if arm == "content":
    _read(c, {"item.id", "user.id"}, ("item.category",) if quick else _CONTENT)
  elif arm == "icr":
    _read(c, {"user.id"}, c.pipeline.layout.history_features)
  elif arm == "ucr":
    _read(c, {"item.id"}, ())
  if arm in ("ucr", "both"):
    _read_viewers(c, pooling, _VIEWERS[:1] if quick else _VIEWERS)
  if "counts" in variants:
    shown = kuairand.feature("recent.id.30", "Percentiles", buckets=100)
    c.pipeline.layout.features = (*c.pipeline.layout.features, shown)
  match_features(c)
  changes = {"counts": "counts", "sum": "summed"}
  c.title = common.title(_TITLES.get(arm, "UCR"), variants, changes)
  return c


def _read(c: ConfigDict, without: set[str], history: tuple[str, ...]) -> None:
  """Drops ids, and says what events of a user's history have."""
  layout = c.pipeline.layout
  layout.features = tuple(f for f in layout.features if f["of"] not in without)
  layout.history_features = history
  if not history:
    # A list that nobody reads.
    layout.history_length = 1


def _read_viewers(
  c: ConfigDict, pooling: dict, features: tuple[str, ...]
) -> None:
  """Gives layout and system the users who met the item."""
  layout = c.pipeline.layout
  layout.name = "layouts.AudienceRows"
  layout.audience = {
    "name": "dataset.Audience",
    "length": 8 if len(features) == 1 else 50,
    "keep": "newest",
    "seed": 0,
    "live": True,
  }
  layout.audience_features = features
  c.system.audience_columns = ()
  c.system.audience_pooling = pooling
  if "dtype" in c.system.audience_pooling:
    c.system.audience_pooling.dtype = c.system.get_ref("dtype")
