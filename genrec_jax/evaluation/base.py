# SPDX-License-Identifier: Apache-2.0
"""What evaluators share: nothing to watch and nothing kept, unless they say so.

The seam is core/seams.py's Evaluator. A subclass is a frozen dataclass of its
options with `check`, `measure` and `text`; one that training may watch has
`names` and `validate`, one whose runs can be paired `file`, `differences` and
`comparison_text`.
"""

from collections.abc import Mapping
import pathlib
from typing import Any, ClassVar

from genrec_jax.experiment.experiment import Run


class Unwatched:
  """An evaluator that training does not watch and that keeps nothing."""

  file: ClassVar[str] = ""

  @property
  def names(self) -> tuple[str, ...]:
    """Metrics that config.train.monitor may name: none."""
    return ()

  def validate(self, run: Run, params: Any, program: Any) -> dict[str, float]:
    """Metrics of the validation part: none."""
    return {}

  def differences(
    self, ours: pathlib.Path, theirs: pathlib.Path
  ) -> dict[str, Any]:
    """Paired differences by part: none."""
    return {}

  def comparison_text(self, against: Mapping[str, Any]) -> str:
    """Such differences as lines: none."""
    return ""
