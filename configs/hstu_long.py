# SPDX-License-Identifier: Apache-2.0
"""HSTU on histories of 16,384 events, from your own log.

    python scripts/train.py --config=configs/hstu_long.py \
        --workdir=runs/long --config.data.path=events.parquet
    python scripts/compile_tpu.py --config=configs/hstu_long.py \
        --topology=v5e:1x1

8 layers, width 512, 4 heads of 128, both biases, bfloat16. Three things make
the length affordable: attention whose memory is linear in length, layers that
are scanned and computed again in the backward pass (backbones/stack.py), and
stochastic length (data/layouts/stochastic_length.py), which trains on 2,352 of
a long history's events most of the time, and packs several such parts into a
row.

Expected: no run is finished; a step is far beyond a few CPU cores, and one v5e
chip holds it (compile_tpu says so). --config.pipeline.batch_size takes one row
per chip or more.

Variants: `whole` trains on whole histories always. Fields of the log: as in
configs/hstu_files.py.
"""

from ml_collections import ConfigDict

from configs import common, files

_VARIANTS = ("quicktest", "whole")

_LENGTH = 16_384
_WIDTH = 512
_HEADS = 4


def _system() -> dict:
  """Eight layers, scanned and rematerialised."""
  return {
    "name": "models.NextItem",
    "width": _WIDTH,
    "num_positions": _LENGTH,
    "dropout": 0.1,
    "dtype": "bfloat16",
    "backbone": {
      "name": "backbones.HSTU",
      "num_layers": 8,
      "num_heads": _HEADS,
      "key_width": _WIDTH // _HEADS,
      "value_width": _WIDTH // _HEADS,
      "num_positions": _LENGTH,
      "position_bias": True,
      "time_bias": True,
      "dropout": 0.1,
      "scan": True,
      "remat": True,
      "attention": {
        "name": "layers.SiluAttention",
        "normalizer": float(_LENGTH),
      },
    },
  }


def get_config(arg: str = "") -> ConfigDict:
  """One row of 16,384 tokens a step, 4,096 shared negatives."""
  variants = common.variants(arg, _VARIANTS)
  c = ConfigDict()
  c.name = "-".join(["hstu_long", *sorted(variants - {"quicktest"})])
  c.title = common.title("HSTU", variants, {"whole": "whole histories"})
  c.seed = 0
  c.prepared = ""
  c.data = files.data()
  c.split = common.leave_one_out()
  c.filter = common.filter_options()
  c.pipeline = {
    "layout": {"name": "layouts.NextItem", "max_length": _LENGTH},
    "batch_size": 1,
    "row_length": _LENGTH,
    "readers": 1,
  }
  if "whole" not in variants:
    c.pipeline.layout.stochastic_length = {
      "name": "layouts.StochasticLength",
      "alpha": 1.6,
    }
  c.system = _system()
  c.objective = {
    "name": "objectives.SampledSoftmax",
    "temperature": 0.05,
    "negatives": {
      "name": "objectives.UniformShared",
      "count": 4_096,
    },
  }
  c.optimizer = {
    "name": "train.adamw",
    "learning_rate": 1e-3,
    "b2": 0.98,
    "warmup_steps": 1_000,
  }
  c.train = common.train_options(
    steps=100_000, eval_every_steps=5_000, patience=0
  )
  c.train.eval_users = 1_000
  c.requests = common.request_options()
  c.evals = {"next_item": common.next_item()}
  c.requests.batch_size = 1
  c.mesh = common.mesh_options()
  common.share_dtype(c)
  if "quicktest" in variants:
    common.quicktest(c)
  return c
