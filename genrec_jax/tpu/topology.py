# SPDX-License-Identifier: Apache-2.0
"""A TPU slice by name, on a machine that has none, to compile for.

    slice_ = tpu_topology.open_slice("v5p:8x8x8")     512 devices, no hardware
    jax.jit(f).trace(...).lower(lowering_platforms=("tpu",)).compile()

libtpu reads its environment once, when it is first used, and JAX its platforms
when the first device is asked for: this file alone sets both, and a program
that compiles for TPUs calls `prepare` (or `open_slice`) before it touches a
device. Its own arrays live on the CPU then.
"""

import dataclasses
import importlib.util
import os
import re
from typing import Any

import jax
from jax.experimental import topologies

from genrec_jax.core.suggest import choices_hint
from genrec_jax.hlo.chips import CHIPS, Chip

_ENVIRONMENT = {
  # Ask no metadata server which TPU this is: it is none.
  "TPU_SKIP_MDS_QUERY": "1",
  # Any that libtpu knows; the topology's name decides what is compiled for.
  "TPU_ACCELERATOR_TYPE": "v5litepod-4",
  "TPU_WORKER_HOSTNAMES": "localhost",
  # No chip is opened, so processes need not lock each other out.
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
  "JAX_PLATFORMS": "cpu",
}


@dataclasses.dataclass(frozen=True)
class Slice:
  """Chips to compile for.

  Attributes:
    name: such as "v5e:2x2".
    chip: their kind.
    devices: one per chip, in libtpu's order; describes, computes nothing.
  """

  name: str
  chip: Chip
  devices: list[Any]


def prepare(libtpu_arguments: str = "") -> None:
  """Sets what libtpu and JAX read when they start; repeatable.

  Args:
    libtpu_arguments: added to LIBTPU_INIT_ARGS, such as dump flags.

  Raises:
    ValueError: libtpu is not installed.
  """
  if importlib.util.find_spec("libtpu") is None:
    raise ValueError(
      "libtpu, the TPU compiler, is not installed: pip install"
      " 'genrec_jax[aot]' (in a checkout: pip install --editable '.[aot]')."
      " It needs Linux on x86-64 and no TPU."
    )
  os.environ.update(_ENVIRONMENT)
  if libtpu_arguments:
    before = os.environ.get("LIBTPU_INIT_ARGS", "")
    os.environ["LIBTPU_INIT_ARGS"] = f"{before} {libtpu_arguments}".strip()
  # Where JAX was imported before, it has read its variable already.
  jax.config.update("jax_platforms", "cpu")
  # A program out of the cache is not compiled, and the compiler says nothing.
  jax.config.update("jax_enable_compilation_cache", False)


def check_name(name: str) -> tuple[Chip, str]:
  """The chip and the shape that a name such as "v5p:8x8x8" stands for.

  Raises:
    ValueError: no such chip, or no such slice of it (lists those that exist).
  """
  kind, colon, shape = name.partition(":")
  if kind not in CHIPS or not colon:
    raise ValueError(
      f"there is no topology {name!r}: it is a chip and a shape, such as"
      f" v5e:2x2 or v5p:8x8x8.{choices_hint(kind, CHIPS)} Shapes:\n"
      + "\n".join(f"  {c}: {', '.join(CHIPS[c].slices)}" for c in CHIPS)
    )
  chip = CHIPS[kind]
  if shape not in chip.slices:
    raise ValueError(
      f"there is no topology {name!r}: {kind} has no slice {shape!r}."
      + choices_hint(shape, chip.slices)
    )
  return chip, shape


def open_slice(name: str) -> Slice:
  """The slice of a name, ready to compile for.

  Raises:
    ValueError: a name that does not exist, or no libtpu.
  """
  chip, _ = check_name(name)
  prepare()
  options = {}
  if chip.libtpu_config:
    options["chip_config_name"] = chip.libtpu_config
  topology = topologies.get_topology_desc(
    platform="tpu", topology_name=name, **options
  )
  return Slice(name, chip, list(topology.devices))


def memory_shortage(message: str) -> tuple[int, int] | None:
  """Bytes needed and bytes there are, from libtpu's out-of-memory message.

  Returns:
    None where the message is about something else.
  """
  found = re.search(
    r"\(([\d.]+)([KMGT]?)\) exceeds available HBM \(([\d.]+)([KMGT]?)\)",
    message,
  )
  if not found:
    return None
  unit = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
  needed, available = (
    int(float(found[i]) * 1024 ** unit[found[i + 1]]) for i in (1, 3)
  )
  return needed, available
