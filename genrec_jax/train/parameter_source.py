# SPDX-License-Identifier: Apache-2.0
"""Where a part of the parameters is read from before training."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class ParameterSource:
  """An entry of config.train.pretrained.

  Attributes:
    path: a .safetensors file, or the workdir of a run.
    prefix: path of the part in the source; "" for all that it has.
  """

  path: str
  prefix: str = ""

  @property
  def is_workdir(self) -> bool:
    """Whether a run is meant rather than a file."""
    return not self.path.endswith(".safetensors")
