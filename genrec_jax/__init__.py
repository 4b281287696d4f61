# SPDX-License-Identifier: Apache-2.0
"""Generative recommenders in JAX, from an event log to recommendations.

Read in the order of the data: core, data, ops, layers, backbones, models,
objectives, train, retrieval, metrics, report. README.md has the picture.
"""

__version__ = "0.1.0"


def __getattr__(name: str):
  # They need JAX and Flax; `import genrec_jax` alone stays fast.
  if name == "fit":
    from genrec_jax.serving.fit import fit

    return fit
  if name == "load":
    from genrec_jax.serving.loading import load

    return load
  if name == "load_ranker":
    from genrec_jax.serving.loading import load_ranker

    return load_ranker
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
