# SPDX-License-Identifier: Apache-2.0
"""What every test shares: the --full switch, the data folder, the devices.

Tests run on 8 virtual CPU devices, so that sharded code meets more than one
device everywhere; the setting is made in this process alone and is not
inherited by commands that a test starts. These keep to the CPU too: with
libtpu installed, for the tests that compile, JAX would look for a TPU first.
Rank promotion is an error: a broadcast that nobody wrote down is how a (B,)
meets a (B, 1).
"""

import os
import pathlib

import hypothesis
import jax
import pytest

_NUM_DEVICES = 8
_CHECKOUT = pathlib.Path(__file__).resolve().parents[1]

os.environ["JAX_PLATFORMS"] = "cpu"
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", _NUM_DEVICES)
jax.config.update("jax_numpy_rank_promotion", "raise")

# The same examples on every run; compilation makes single examples slow.
hypothesis.settings.register_profile(
  "genrec_jax", derandomize=True, deadline=None
)
hypothesis.settings.load_profile("genrec_jax")


def pytest_addoption(parser: pytest.Parser) -> None:
  parser.addoption(
    "--full", action="store_true", help="run the tests marked slow as well"
  )


def pytest_collection_modifyitems(
  config: pytest.Config, items: list[pytest.Item]
) -> None:
  for item in items:
    # One process trains the run that they share, not each of them.
    if "trained" in getattr(item, "fixturenames", ()):
      item.add_marker(pytest.mark.xdist_group("trained"))
  if config.getoption("--full"):
    return
  slow = [item for item in items if item.get_closest_marker("slow")]
  if slow:
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]


@pytest.fixture(scope="session")
def shared(pytestconfig: pytest.Config) -> pathlib.Path:
  """The folder of public data and references that is not in this repository.

  $GENREC_SHARED, or `shared` beside the checkout. Without it a test skips,
  but a full run under CI fails: there a skip would hide what was not tested.
  """
  place = os.environ.get("GENREC_SHARED") or _CHECKOUT.parent / "shared"
  folder = pathlib.Path(place).resolve()
  if folder.is_dir():
    return folder
  message = (
    f"no folder {folder}: this test reads public data that is not part of the "
    "repository; set GENREC_SHARED to where it lies"
  )
  if os.environ.get("CI") and pytestconfig.getoption("--full"):
    pytest.fail(message)
  pytest.skip(message)
