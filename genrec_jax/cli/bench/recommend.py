# SPDX-License-Identifier: Apache-2.0
"""Times whole processes that write lists for all users of a run.

    genrec bench recommend --workdir=runs/a
    genrec bench recommend --workdir=runs/a --steps=7 \\
        --peer_python=rectools/bin/python --peer_model=sasrec.pkl

In users per second. With --peer_python RecTools takes turns, by a model that
scripts/peer_rectools.py has trained; genrec bench events writes its data.
"""

from genrec_jax.bench.recommend import time_recommend
from genrec_jax.cli.bench import asked
from genrec_jax.cli.command import Command
from genrec_jax.cli.ending import UsageError

COMMAND = Command(__doc__)
_WORKDIR = COMMAND.string("workdir", None, "Folder of a trained run.")
_K = COMMAND.integer("k", 200, "Places of a list; default: 200.", lower_bound=1)
_STEPS = COMMAND.integer(
  "steps", 10, "Processes of each, in turns; default: 10.", lower_bound=1
)
_PEER_PYTHON = COMMAND.string(
  "peer_python", None, "Interpreter that runs scripts/peer_rectools.py."
)
_PEER_MODEL = COMMAND.string(
  "peer_model", None, "File that scripts/peer_rectools.py wrote."
)
COMMAND.require("workdir")


@COMMAND.does
def main() -> None:
  """Prints users per second of whole processes."""
  if (_PEER_PYTHON.value is None) != (_PEER_MODEL.value is None):
    raise UsageError("--peer_python and --peer_model belong together.")
  peer = None
  if _PEER_PYTHON.value:
    script = asked.peer_script("peer_rectools.py")
    peer = [_PEER_PYTHON.value, script, "recommend"]
    peer.append(f"--load={_PEER_MODEL.value}")
  result = time_recommend(
    _WORKDIR.value, k=_K.value, pairs=_STEPS.value, peer=peer
  )
  asked.print_line("recommend", {"device": asked.device()} | result)
