# SPDX-License-Identifier: Apache-2.0
"""Two towers on KuaiRand-Pure: videos to retrieve, on the rankers' features.

    python scripts/train.py --config=configs/two_tower_kuairand.py \
        --workdir=runs/two_tower --config.data.path=kuairand-pure

Features and data are configs/dlrm_kuairand.py's: those of user and moment and
the last 50 events, summed, make a query, those of the video its vector. Trained
on the events with a click, a long view or a like, each against 512 others of
the batch, with log Q of what the batch holds (Yi et al., RecSys 2019); watched
by ranking all videos for the next one shown, liked or not. Expected of 6-8 May
2022, one seed: HR@10 .030, below the most popular (.034) and item-kNN (.079):
the next video shown is the platform's choice. With `impressions`, AUC of click,
long_view and like .7250, .7290, .8736. A minute on two CPU cores.

Variants: `impressions` trains the same two towers on what was shown, a logit
for every task, and measures them as the rankers are; `no_history` leaves out
the lists from before the log.

Differences from the paper: one day's log Q is the batch's own, not a running
estimate; dot products without normalisation or temperature.
"""

from ml_collections import ConfigDict

from configs import common
from configs.dlrm_kuairand import kuairand_rows

_VARIANTS = ("quicktest", "no_history", "impressions")


def get_config(arg: str = "") -> ConfigDict:
  """Sampled softmax on positives, unless a variant says otherwise."""
  variants = common.variants(arg, _VARIANTS)
  c = kuairand_rows(
    "two_tower_kuairand",
    variants,
    {
      "name": "models.TwoTower",
      "item_columns": (),
      "width": 16,
      "vector_width": 32,
      "tower_widths": (128, 64),
      "dropout": 0.1,
      "row_multiple": 1,
      "dtype": "float32",
    },
  )
  changes = {"impressions": "on impressions"}
  c.title = common.title("Two-tower", variants, changes)
  if "impressions" in variants:
    return c
  tasks = c.objective.tasks
  c.objective = ConfigDict(
    {
      "name": "objectives.Positives",
      "tasks": tasks,
      "taken": tasks,
      "loss": {
        "name": "objectives.SampledSoftmax",
        "negatives": {"name": "objectives.InBatchNegatives", "count": 512},
        "temperature": 1.0,
        "correct_log_q": True,
        "correct_positive": True,
      },
    }
  )
  c.evals = ConfigDict({"next_item": common.next_item()})
  c.train.monitor = "ndcg@10"
  return c
