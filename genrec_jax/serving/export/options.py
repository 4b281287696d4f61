# SPDX-License-Identifier: Apache-2.0
"""What a bundle is to hold: platforms, numbers of requests, sizes of lists."""

import dataclasses

from genrec_jax.core.suggest import choices_hint

# As jax.export names them: "cuda" is what jax.default_backend() calls "gpu".
PLATFORMS = ("cpu", "cuda", "tpu")
# The program for any number of requests.
ANY = "any"


@dataclasses.dataclass(frozen=True)
class ExportOptions:
  """See the module docstring.

  Attributes:
    platforms: that programs are for.
    batch_sizes: fixed numbers of requests that programs are for.
    any_size: also make programs for any number of requests. Each number still
      compiles when it first comes.
    num_results: items of a list; None = as the run's config says.
    num_candidates: items of a request to a ranker; None = the layout's.
    num_golden: requests of each kind that are kept with their answers.
    encoders: keep what makes arrays of a history. Without, whoever asks makes
      the arrays; a layout that needs all histories cannot be kept.
  """

  platforms: tuple[str, ...] = PLATFORMS
  batch_sizes: tuple[int, ...] = (1, 16)
  any_size: bool = True
  num_results: int | None = None
  num_candidates: int | None = None
  num_golden: int = 8
  encoders: bool = True

  def __post_init__(self):
    check_platforms(self.platforms)
    sizes = (*self.batch_sizes, self.num_golden)
    given = (self.num_results, self.num_candidates)
    if any(n < 1 for n in (*sizes, *(n for n in given if n is not None))):
      raise ValueError(
        f"batch_sizes={self.batch_sizes}, num_results={self.num_results},"
        f" num_candidates={self.num_candidates} and"
        f" num_golden={self.num_golden} must be at least 1."
      )
    if not (self.any_size or self.batch_sizes):
      raise ValueError(
        "a bundle without programs answers nothing: name batch_sizes, or let"
        " any_size be True."
      )

  @property
  def sizes(self) -> dict[str, int | None]:
    """Numbers of requests by their names; None = any."""
    found: dict[str, int | None] = {ANY: None} if self.any_size else {}
    return found | {str(size): size for size in sorted(set(self.batch_sizes))}


def check_platforms(platforms: tuple[str, ...]) -> None:
  """Raises a ValueError for no platform, or one that there is not."""
  if not platforms:
    raise ValueError(f"name a platform: {', '.join(PLATFORMS)}.")
  for name in platforms:
    if name not in PLATFORMS:
      hint = choices_hint(name, PLATFORMS)
      raise ValueError(f"the platform {name!r} is unknown.{hint}")
