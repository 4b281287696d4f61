# SPDX-License-Identifier: Apache-2.0
"""Times or counts a part of the library and prints one JSON line.

    genrec bench PART --flag=value ...
    genrec bench train_step --config=hstu_movielens

Each part is the module of its name in this folder. Sizes are flags, so that
most need no data. The line begins with the name of the part and the version of
JAX. Some print a table, or with --json the line.
"""

from genrec_jax.cli.parts import Parts

PARTS = (
  *("train_step", "pipeline", "attention", "decoding", "rollouts"),
  *("candidates", "served_rankers", "utilisation", "layouts", "recommend"),
  *("events", "fused_search", "item_encoding", "negatives", "scann"),
  *("clusters", "serving"),
)
COMMAND = Parts(__doc__, __name__, PARTS)
