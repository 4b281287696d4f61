# SPDX-License-Identifier: Apache-2.0
"""Training of one arm of a study, which goes on where it was stopped."""

from collections.abc import Mapping
import contextlib
import pathlib
from typing import Any

from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import read_progress
from genrec_jax.experiment.training import alone, train
from genrec_jax.train.termination import Termination


class Stopped(Exception):
  """A signal came; what was trained so far is saved."""


def trained_arm(
  config: Mapping[str, Any], folder: pathlib.Path, termination: Termination
) -> Run:
  """The run, trained to its end; what it prints goes to folder/log.txt.

  Args:
    config: plain values, checked.
    folder: workdir; it is there.
    termination: of the whole study.

  Raises:
    Stopped: a signal came in between.
    ValueError: somebody else trains it, or what training raises.
  """
  with (
    open(folder / "log.txt", "a", encoding="utf-8") as log,
    contextlib.redirect_stdout(log),
    contextlib.redirect_stderr(log),
  ):
    with alone(folder) as check:
      found = Run.start(config, folder)
      train(found, termination, check)
    if not read_progress(found)["finished"]:
      raise Stopped
  return found
