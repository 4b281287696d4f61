# SPDX-License-Identifier: Apache-2.0
"""What a part of scripts/accelerator.py is given, whatever it measures."""

import dataclasses
import importlib
import pathlib
from typing import Any

from genrec_jax.experiment.sections import check_config

# Quick forms of configs are quick in data and steps; these are small besides.
_WIDTH = 16
_QUICK_BACKBONES = {
  "hstu_long": {
    "num_layers": 2,
    "num_heads": 2,
    "key_width": _WIDTH // 2,
    "value_width": _WIDTH // 2,
  },
  "tiger_amazon": {
    "width": _WIDTH,
    "num_encoder_layers": 1,
    "num_decoder_layers": 1,
    "num_heads": 2,
    "head_width": _WIDTH // 2,
    "ffn_width": _WIDTH,
  },
}


@dataclasses.dataclass(frozen=True)
class Job:
  """Of one call.

  Attributes:
    output: folder of the record.
    quicktest: small shapes, for a CPU.
    data: folder of amazon2014, "" for none.
    workdir: of the run that is trained.
    scripts: folder of run.py and train.py.
  """

  output: pathlib.Path
  quicktest: bool
  data: str
  workdir: pathlib.Path
  scripts: pathlib.Path

  @property
  def path(self) -> pathlib.Path:
    """The record's file."""
    return self.output / "results.jsonl"

  def config(self, name: str) -> dict[str, Any]:
    """The plain config of configs/<name>.py, in its quick form if asked."""
    module = importlib.import_module(f"configs.{name}")
    config = check_config(
      module.get_config("quicktest" if self.quicktest else "")
    )
    if self.quicktest and name in _QUICK_BACKBONES:
      config["system"]["width"] = _WIDTH
      config["system"]["backbone"] |= _QUICK_BACKBONES[name]
    return config
