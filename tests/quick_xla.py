# SPDX-License-Identifier: Apache-2.0
"""What makes XLA compile small programs for a CPU sooner.

XLA builds every fusion by a pipeline of its own, which took two thirds of the
time that a small program compiles for. Where it still has its older emitters
(jax 0.10) tests use those. And it splits a program into parts that it compiles
side by side: with a test on every core that only copies, and a program in one
part compiles in up to a third less.
"""

import os

import jax
from jax._src.lib import xla_client

# A process that names a flag which XLA does not know is ended.
FLAGS = (
  "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
  if jax.__version_info__ < (0, 11)
  else ""
)


def read_flags() -> None:
  """Makes XLA read FLAGS, for this process and its forks.

  XLA reads its flags once. They are gone from the environment afterwards:
  libtpu, which reads the same variable, does not know them.
  """
  if not FLAGS:
    # Of no flag at all XLA would make the name of a file.
    return
  before = os.environ.get("XLA_FLAGS")
  os.environ["XLA_FLAGS"] = f"{before or ''} {FLAGS}"
  _ = xla_client.CompileOptions().executable_build_options.debug_options
  if before is None:
    del os.environ["XLA_FLAGS"]
  else:
    os.environ["XLA_FLAGS"] = before
