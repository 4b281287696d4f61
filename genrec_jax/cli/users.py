# SPDX-License-Identifier: Apache-2.0
"""Asks a trained model of every user, and keeps its answers for rankers.

    genrec users --config=dcn_kuairand:lum \\
        --workdir=runs/a --config.data.path=kuairand-pure

Makes WORKDIR/user_vectors (config.user_vectors): Arrow files of vectors by
user, moment and query, with the version of the model. The run that is asked is
that of config.user_vectors.workdir, or, where this is empty, the one that
config.before names, trained in WORKDIR before (genrec run does both). What is
up to date stays; what was made otherwise is an error that names the difference.
"""

import pathlib

from genrec_jax.cli.command import Command
from genrec_jax.core.build import to_plain
from genrec_jax.data import times
from genrec_jax.data.dataset.user_vectors import UserVectors
from genrec_jax.experiment.user_answers import make_user_vectors

COMMAND = Command(__doc__)
_CONFIG = COMMAND.config_file("Whose config.user_vectors to make.")
_WORKDIR = COMMAND.string("workdir", None, "Where user_vectors/ is written.")
COMMAND.require("config", "workdir")


def _summary(made: UserVectors) -> str:
  manifest = made.manifest
  return "\n".join(
    [
      f"vectors of users: version {made.version}",
      f"  model      {made.model}, {manifest['run']} at step"
      f" {manifest['step']:,}",
      f"  trained    on events until {times.iso(manifest['trained_until'])}",
      f"  asked      {', '.join(map(times.iso, manifest['cuts']))}",
      f"  queries    {', '.join(repr(name) for name in made.queries)}",
      f"  rows       {manifest['rows']:,}, of {len(set(made.answers.users)):,}"
      f" users; vectors of width {made.width}",
    ]
  )


@COMMAND.does
def main() -> None:
  """Entry point."""
  config = to_plain(_CONFIG.value)
  print(_summary(make_user_vectors(config, pathlib.Path(_WORKDIR.value))))
