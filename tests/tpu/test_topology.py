# SPDX-License-Identifier: Apache-2.0
"""Names of TPU slices, and what is said of those that do not exist."""

import importlib.util
import json
import math
import os
import subprocess
import sys

import pytest

from genrec_jax.hlo.chips import CHIPS
from genrec_jax.tpu import topology as tpu_topology


@pytest.mark.parametrize(
  "name",
  ["v4:2x2x4", "v5e:2x2", "v5e:16x16", "v5p:2x2x2", "v5p:8x8x8", "v6e:2x2"],
)
def test_known_slices(name):
  chip, shape = tpu_topology.check_name(name)
  assert f"{chip.name}:{shape}" == name


@pytest.mark.parametrize(
  ("name", "what", "choices"),
  [
    ("v5x:2x2", "a chip and a shape", ["v4", "v5e", "v5p", "v6e", "16x16x24"]),
    ("v5p", "a chip and a shape", ["v5p: 2x2x1"]),
    ("", "a chip and a shape", ["v5p:8x8x8"]),
    ("v5e:3x3", "v5e has no slice '3x3'", ["2x2", "16x16"]),
    ("v5e:2x2x2", "v5e has no slice", ["Did you mean '2x2'"]),
    ("v5p:8x8", "v5p has no slice", ["8x8x8", "16x16x24"]),
    ("v5p:32x32x32", "v5p has no slice", ["16x16x24"]),
  ],
)
def test_what_does_not_exist_is_answered_by_what_does(name, what, choices):
  with pytest.raises(ValueError, match=what) as error:
    tpu_topology.open_slice(name)
  for choice in choices:
    assert choice in str(error.value)


def test_without_libtpu_it_says_how_to_get_it(monkeypatch):
  before = dict(os.environ)
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  with pytest.raises(ValueError, match=r"pip install.*genrec_jax\[aot\]"):
    tpu_topology.open_slice("v5e:2x2")
  assert dict(os.environ) == before


def test_the_compilers_shortage_is_read():
  message = (
    "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM,"
    " the total memory required for HLO temporaries (2.73T) exceeds available"
    " HBM (15.75G). HLO module: jit__lambda."
  )
  needed, available = tpu_topology.memory_shortage(message)
  assert needed == int(2.73 * 2**40)
  assert available == CHIPS["v5e"].memory_bytes
  assert tpu_topology.memory_shortage("INTERNAL: something else") is None


_OPEN = """
import json, os, sys
from genrec_jax.tpu import topology as tpu_topology
found = {n: len(tpu_topology.open_slice(n).devices) for n in sys.argv[1:]}
import jax
print(json.dumps([found, jax.default_backend()]))
"""


@pytest.mark.slow
@pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None, reason="needs the extra `aot`"
)
def test_libtpu_knows_every_slice_and_leaves_the_cpu_alone():
  names = [f"{c}:{shape}" for c in CHIPS for shape in CHIPS[c].slices]
  environment = {k: v for k, v in os.environ.items() if k != "JAX_PLATFORMS"}
  done = subprocess.run(
    [sys.executable, "-c", _OPEN, *names],
    capture_output=True,
    text=True,
    env=environment,
    timeout=600,
  )
  assert done.returncode == 0, done.stderr
  found, backend = json.loads(done.stdout.splitlines()[-1])
  assert backend == "cpu"
  for name in names:
    sides = name.partition(":")[2].split("x")
    assert found[name] == math.prod(int(side) for side in sides), name


@pytest.mark.skipif(
  importlib.util.find_spec("libtpu") is None, reason="needs the extra `aot`"
)
def test_libtpu_beside_it_does_not_disturb_a_cpu_program():
  done = subprocess.run(
    [sys.executable, "-c", "import jax; print(jax.devices()[0].platform)"],
    capture_output=True,
    text=True,
  )
  # The suite sets JAX_PLATFORMS for what it starts (tests/conftest.py).
  assert (done.stdout, done.stderr) == ("cpu\n", "")
