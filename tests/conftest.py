# SPDX-License-Identifier: Apache-2.0
"""What every test shares: switches, the data folder, devices, compilation.

Tests run on 8 virtual CPU devices, so that sharded code meets more than one
device everywhere; the setting is made in this process alone and is not
inherited by commands that a test starts. These keep to the CPU too: with
libtpu installed, for the tests that compile, JAX would look for a TPU first.
Rank promotion is an error: a broadcast that nobody wrote down is how a (B,)
meets a (B, 1).

Most of the suite's time goes into compiling small programs. So they are not
optimized, in this process and in commands, but for tests marked `optimized`;
and a program that was compiled once, by whichever process or run, comes out of
a folder of the environment. docs/contributing.md says how to opt out.
"""

import collections
import gc
import importlib
import os
import pathlib
import sys

import hypothesis
import jax
import jaxlib
import pytest

from tests import quick_xla

# What genrec_jax imports must come first: a library that is imported from
# within a module whose types are checked is compiled anew in every process.
for _name in (
  "absl.app",
  "beartype.claw",
  "flax.linen",
  "grain",
  "ml_collections.config_flags",
  "optax",
  "orbax.checkpoint",
  "polars",
  "pyarrow.parquet",
  "scipy.optimize",
  "scipy.sparse",
  "tokenizers",
  "tqdm.auto",
):
  importlib.import_module(_name)

_NUM_DEVICES = 8
_CHECKOUT = pathlib.Path(__file__).resolve().parents[1]
_SHARE_A_RUN = ("tests/end_to_end",)
_UNOPTIMIZED = "jax_disable_most_optimizations"
# Of one folder of compiled programs; the oldest go first.
_MOST_BYTES = 2 * 2**30


def _compiled_programs() -> pathlib.Path | None:
  """Where compiled programs are kept; None = nowhere.

  $GENREC_TEST_CACHE, where it is set; else a folder of the environment, which
  goes when that goes. JAX's own keys hold its version and all options.
  """
  place = os.environ.get("GENREC_TEST_CACHE")
  if place is None and sys.prefix != sys.base_prefix:
    place = f"{sys.prefix}/compiled"
  if not place:
    return None
  return pathlib.Path(place) / f"{jax.__version__}-{jaxlib.__version__}"


def _set(name: str, value: object) -> None:
  """Sets an option of JAX here and in the commands that tests start."""
  os.environ[name.upper()] = str(value)
  jax.config.update(name, value)


def _optimize(how: bool) -> None:
  """Whether to compile as users do: for CPUs, and for TPUs nobody has."""
  _set(_UNOPTIMIZED, not how)
  _set("jax_optimization_level", "UNKNOWN" if how else "O0")


# Tracing makes many small objects that stay: looking for garbage among them
# as often as Python does took a tenth of the time.
gc.set_threshold(5_000)

_set("jax_platforms", "cpu")
_optimize(False)
quick_xla.read_flags()
if _compiled_programs():
  _set("jax_compilation_cache_dir", str(_compiled_programs()))
  _set("jax_persistent_cache_min_compile_time_secs", 0.05)
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


def pytest_configure(config: pytest.Config) -> None:
  # Once, and not in each of several processes.
  folder = _compiled_programs()
  if folder and folder.is_dir() and not hasattr(config, "workerinput"):
    _keep_newest(folder, _MOST_BYTES)


def _keep_newest(folder: pathlib.Path, most_bytes: int) -> None:
  """Removes the oldest files until the rest is half of what it may be."""
  files = [(p.stat().st_mtime, p.stat().st_size, p) for p in folder.iterdir()]
  left = sum(size for _, size, _ in files)
  if left <= most_bytes:
    return
  for _, size, path in sorted(files):
    if left <= most_bytes // 2:
      return
    path.unlink(missing_ok=True)
    left -= size


def _together(nodeid: str) -> str:
  """What one process runs whole: a file, or a folder that shares a run.

  Tests of a file share fixtures and compiled programs; those of _SHARE_A_RUN
  share a training, which not every process should repeat.
  """
  file = nodeid.split("::")[0]
  folder = file.rpartition("/")[0]
  return folder if folder in _SHARE_A_RUN else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
  """Gives each process files, in the order of pytest_collection_modifyitems."""
  from xdist.scheduler import LoadScopeScheduling

  class ByFile(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
      return _together(nodeid)

  config.option.loadscopereorder = False
  return ByFile(config, log)


def pytest_collection_modifyitems(
  config: pytest.Config, items: list[pytest.Item]
) -> None:
  slow = {item for item in items if item.get_closest_marker("slow")}
  if slow and not config.getoption("--full"):
    config.hook.pytest_deselected(items=list(slow))
    items[:] = [item for item in items if item not in slow]
  # The longest first: what comes last should not leave processes waiting.
  counts = collections.Counter(_together(item.nodeid) for item in items)
  of_slow = {_together(item.nodeid) for item in slow}

  def order(item):
    name = _together(item.nodeid)
    return name not in of_slow, -counts[name], name

  items.sort(key=order)


def pytest_collection_finish() -> None:
  # Libraries and tests are there to stay.
  gc.collect()
  gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
  # Compiles as users do, here and in commands, for the mark `optimized`.
  optimized = item.get_closest_marker("optimized") is not None
  if optimized == jax.config.values[_UNOPTIMIZED]:
    jax.clear_caches()
    _optimize(optimized)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(
  item: pytest.Item, nextitem: pytest.Item | None
) -> None:
  # Programs of a file are of no use to the next, and would add up to gigabytes.
  if nextitem is None or nextitem.path != item.path:
    jax.clear_caches()
    gc.collect()


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
