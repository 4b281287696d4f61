# SPDX-License-Identifier: Apache-2.0
"""A system's methods, compiled: op by op they take ten times as long."""

import functools

import jax

_STATIC = ("method", "level", "deterministic")


@functools.partial(jax.jit, static_argnums=0, static_argnames=_STATIC)
def apply(system, params, *args, **kwargs):
  """system.apply; level, method and deterministic by keyword."""
  return system.apply(params, *args, **kwargs)
