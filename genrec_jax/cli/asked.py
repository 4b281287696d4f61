# SPDX-License-Identifier: Apache-2.0
"""Flags of commands that ask a trained run, defined once: of what, and of whom.

_RUN = RunFlags(COMMAND)       --workdir, --checkpoint
_WHOM = WhomFlags(COMMAND)     --user, --history, --request_time, --strict
_WITH = StageFlags(COMMAND)    --ensemble, --ranker, --candidates, --weights,
                               --assume
"""

from genrec_jax.cli import given
from genrec_jax.cli.command import Command
from genrec_jax.cli.ending import UsageError
from genrec_jax.experiment.restored import CHECKPOINTS
from genrec_jax.ranking.assumed_actions import RULES
from genrec_jax.serving.given_history import GivenHistory


class RunFlags:
  """Which run, and which of its checkpoints."""

  def __init__(self, command: Command):
    self._workdir = command.string("workdir", None, "Folder of a trained run.")
    self._checkpoint = command.enum(
      "checkpoint",
      "best",
      list(CHECKPOINTS),
      "Best on validation, or the latest.",
    )

  @property
  def workdir(self) -> str:
    """Its folder; the command must require it."""
    return self._workdir.value

  @property
  def checkpoint(self) -> str:
    """One of CHECKPOINTS."""
    return self._checkpoint.value


class StageFlags:
  """Who finds items with a run, and who orders what is found."""

  def __init__(self, command: Command):
    self._command = command
    self._ensemble = command.string(
      "ensemble",
      None,
      "JSON file of the retrievers that answer together, such as"
      ' {"members": {"model": "this run", "item_knn": "item_knn"}}.',
    )
    self._ranker = command.string(
      "ranker", None, "Folder of a trained ranker that orders what is found."
    )
    self._candidates = command.integer(
      "candidates",
      None,
      "Items that are found for --ranker; default: 100, or num_results of"
      " --ensemble.",
      lower_bound=1,
    )
    self._weights = command.string(
      "weights", "", "Of --ranker's value, as click=1,like=10."
    )
    self._assume = command.enum(
      "assume",
      None,
      list(RULES),
      "What comes of an item that --ranker has placed, to choose the next one"
      " behind it; default: it orders by value.",
    )

  @property
  def ensemble(self) -> str | None:
    """The file."""
    return self._ensemble.value

  @property
  def ranker(self) -> str | None:
    """Its folder."""
    return self._ranker.value

  @property
  def candidates(self) -> int | None:
    """Items that are found for it."""
    return self._candidates.value

  @property
  def weights(self) -> str:
    """Of its value."""
    return self._weights.value

  @property
  def assume(self) -> str:
    """What it assumes of a placed item; "" = nothing is placed."""
    return self._assume.value or ""

  @property
  def are_given(self) -> bool:
    """Whether there are stages beside the run's own search."""
    return bool(self.ensemble or self.ranker)

  def check(self) -> None:
    """Raises a UsageError for flags of a ranker that is not there."""
    for name in ("weights", "candidates", "assume"):
      if self._command.is_given(name) and not self.ranker:
        raise UsageError(f"--{name} belong to --ranker")


class WhomFlags:
  """A user, a history in place of the user's events, and when is asked."""

  def __init__(self, command: Command):
    self._user = command.string("user", None, "Id of a user of the data set.")
    self._history = command.list(
      "history",
      None,
      "Item ids, oldest first, or @FILE: in place of the events.",
    )
    self._request_time = command.integer(
      "request_time",
      None,
      "Unix seconds at which is asked; default: a median gap after the last"
      " event of the history.",
    )
    self._strict = command.bool(
      "strict", False, "An unknown user or item of the history is an error."
    )

  @property
  def user(self) -> str | None:
    """Id of the user."""
    return self._user.value

  @property
  def is_given(self) -> bool:
    """Whether anybody is asked for."""
    return self._user.value is not None or self._history.value is not None

  @property
  def history(self) -> GivenHistory | None:
    """The history, read from its file where there is one."""
    return given.history(self._history.value)

  @property
  def request_time(self) -> int | None:
    """Unix seconds."""
    return self._request_time.value

  @property
  def strict(self) -> bool:
    """Whether what is unknown is an error."""
    return self._strict.value
