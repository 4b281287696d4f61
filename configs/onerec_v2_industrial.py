# SPDX-License-Identifier: Apache-2.0
"""OneRec-V2 at published sizes: half a billion parameters, dense or active.

    python scripts/compile_tpu.py --config=configs/onerec_v2_industrial.py \
        --topology=v5e:4x4 --steps=train
    python scripts/compile_tpu.py --config=configs/onerec_v2_industrial.py:moe \
        --topology=v5p:2x2x2 --steps=train
    python scripts/run.py --config=configs/onerec_v2_industrial.py:files \
        --workdir=/mnt/shared/v2 --config.data.path=events.parquet

14 layers of width 1408 with 11 heads, three codes of 8192, five targets behind
one reading of 512 events, keys that are values, of one head, for all layers
(arXiv 2508.20900, table 2). Parameters: 0.46 billion. With `moe` the first two
layers are dense, the others have 53 experts of inner width 1408, of which a
token takes three, and one that all take: 4 billion, half a billion active.

Expected: no run is finished, here or elsewhere; what it takes is what
compile_tpu prints, on a CPU core. Variants: `moe`; `files` reads your own log
(fields as in configs/hstu_files.py) instead of the simulator, whose num_items
stands for the catalogue's size.
"""

from ml_collections import ConfigDict

from configs import common, files, generators

_VARIANTS = ("moe", "files", "quicktest")
_CHANGES = {"moe": "mixture of experts"}
_SIZES = (8192, 8192, 8192)
_WIDTH, _LAYERS, _HEADS = 1408, 14, 11
_EVENTS = 512


def get_config(arg: str = "") -> ConfigDict:
  """1,024 users a step, 64 to a chip of 16."""
  variants = common.variants(arg, _VARIANTS)
  c = ConfigDict()
  c.name = "-".join(["onerec_v2_industrial", *sorted(variants - {"quicktest"})])
  c.title = common.title("OneRec-V2 0.5B", variants, _CHANGES)
  c.seed = 0
  c.prepared = ""
  c.data = {
    "name": "simulator.Synthetic",
    "num_users": 5_000_000,
    "num_items": 2_000_000,
    "seed": 0,
  }
  if "files" in variants:
    c.data = files.data()
  c.split = common.global_time()
  c.filter = common.filter_options()
  c.content = common.item_texts()
  c.tokens = common.item_tokens(_SIZES)
  c.pipeline = {
    "layout": generators.targets(_SIZES, _EVENTS, _EVENTS, max_targets=5),
    "batch_size": 1_024,
    "row_length": _EVENTS * len(_SIZES),
    "readers": 16,
  }
  c.system = _system()
  if "moe" in variants:
    # In all layers but the first two.
    mixture = generators.experts(53, 3, _WIDTH, shared_experts=1)
    generators.first_layers_dense(c, mixture, num_first=2)
  c.retrieval = {"name": "retrieval.Beam", "num_beams": 512}
  loss = {"name": "objectives.CodeCrossEntropy", "level_mean": True}
  c.objective = dict(loss)
  if "moe" in variants:
    parts = {"codes": loss, "routing": {"name": "objectives.RoutingLoss"}}
    c.objective = generators.weighted(parts)
  c.optimizer = {
    "name": "train.adamw",
    "learning_rate": 2.24e-4,
    "weight_decay": 0.01,
    "warmup_steps": 1_000,
  }
  c.train = common.train_options(
    steps=100_000, eval_every_steps=5_000, patience=0
  )
  c.train.eval_users = 10_240
  c.requests = common.request_options()
  c.evals = {"next_item": {**common.next_item(), "ks": (1, 5, 10, 50)}}
  c.mesh = common.mesh_options()
  c.mesh.preset = "fsdp"
  common.share_dtype(c)
  generators.share_ffn_dtype(c)
  if "quicktest" in variants:
    _quick(c)
  return c


def _system() -> dict:
  return {
    "name": "models.TokenSeq2Seq",
    "level_sizes": _SIZES,
    "width": _WIDTH,
    "max_length": _EVENTS * len(_SIZES),
    "num_user_tokens": 0,
    "tied": False,
    "embedding_init_std": 0.02,
    "dtype": "bfloat16",
    "backbone": {
      "name": "backbones.LazyDecoder",
      "width": _WIDTH,
      "num_layers": _LAYERS,
      "num_heads": _HEADS,
      "head_width": _WIDTH // _HEADS,
      "ffn": generators.feed_forward(_WIDTH, 4 * _WIDTH, 0.0),
      "target_tokens": len(_SIZES),
      "num_key_heads": 1,
      "num_sets": 1,
      "shared_values": True,
    },
  }


def _quick(c: ConfigDict) -> None:
  """A hundred simulated items, narrow."""
  common.quicktest(c)
  common.quick_tokens(c)
  c.pipeline.layout.max_events = c.pipeline.layout.max_items
  c.pipeline.readers = 1
  backbone = c.system.backbone
  backbone.update(width=32, num_layers=3, num_heads=4, head_width=8)
  c.system.width = 32
  for name in ("ffn", "first_ffn"):
    if name in backbone and "router" in backbone[name]:
      backbone[name].update(num_experts=4, hidden_width=16)
    elif name in backbone:
      backbone[name].update(width=32, hidden_width=64)
