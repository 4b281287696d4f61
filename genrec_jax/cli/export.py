# SPDX-License-Identifier: Apache-2.0
"""Writes a trained run as a folder that is used without the model's code.

    genrec export --workdir=runs/a --output=bundle
    genrec export --workdir=runs/a --output=bundle --platforms=cpu,cuda \\
        --batch_sizes=1,8,64 --num_results=50
    genrec export --check=bundle

A bundle holds the parameters (safetensors), StableHLO programs of what the run
answers, the catalogue, codes of items and their trie, encoders of features, the
config, and golden requests with the run's answers; every file has a checksum.
docs/serving.md says how it is used, with jax alone or from here. Programs are
for --platforms and for any number of requests, and for each of --batch_sizes,
where the CPU answers to the bit as the model does. Before the folder appears
it is opened and asked the golden requests by every program; sizes, and how long
that took, are printed. --check opens one that is there, on this platform.
"""

import time

from genrec_jax.cli.asked import RunFlags
from genrec_jax.cli.command import Command
from genrec_jax.cli.ending import UsageError
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.restored import load_params
from genrec_jax.serving.export import Bundle, ExportOptions, write_bundle
from genrec_jax.serving.export.manifest import read_manifest
from genrec_jax.serving.export.options import ANY

_DEFAULT = ExportOptions()
COMMAND = Command(__doc__)
_RUN = RunFlags(COMMAND)
_OUTPUT = COMMAND.string("output", None, "Folder to write; must not be there.")
_CHECK = COMMAND.string("check", None, "A bundle to open and ask.")
_PLATFORMS = COMMAND.list(
  "platforms", list(_DEFAULT.platforms), "That programs are for."
)
_BATCH_SIZES = COMMAND.list(
  "batch_sizes",
  [str(n) for n in _DEFAULT.batch_sizes],
  "Fixed numbers of requests that programs are for.",
)
_ANY_SIZE = COMMAND.bool(
  "any_size", True, "Also make programs for any number of requests."
)
_NUM_RESULTS = COMMAND.integer(
  "num_results", None, "Items of a list; default: as the config says."
)
_NUM_CANDIDATES = COMMAND.integer(
  "num_candidates", None, "Items of a request to a ranker; default: likewise."
)
_GOLDEN = COMMAND.integer(
  "golden", _DEFAULT.num_golden, "Requests that are kept with their answers."
)
_ENCODERS = COMMAND.bool(
  "encoders", True, "Keep what makes arrays of a history."
)


def _options() -> ExportOptions:
  sizes = _BATCH_SIZES.value
  wrong = [size for size in sizes if not size.strip().isdecimal()]
  if wrong:
    raise UsageError(f"--batch_sizes: {wrong[0]!r} is no whole number")
  return ExportOptions(
    platforms=tuple(_PLATFORMS.value),
    batch_sizes=tuple(int(size) for size in sizes),
    any_size=_ANY_SIZE.value,
    num_results=_NUM_RESULTS.value,
    num_candidates=_NUM_CANDIDATES.value,
    num_golden=_GOLDEN.value,
    encoders=_ENCODERS.value,
  )


def check(directory: str) -> str:
  """Opens a bundle for each number of requests; what to print."""
  manifest = read_manifest(directory)
  lines = [f"{directory}: version {manifest['version']}"]
  for size in manifest["sizes"]:
    started = time.perf_counter()
    Bundle.open(directory, rows=None if size == ANY else int(size))
    seconds = time.perf_counter() - started
    lines.append(f"  requests {size:>5}   opened in {seconds:.1f} s")
  lines.append(f"answers {manifest['golden']} golden requests as the run did")
  return "\n".join(lines)


@COMMAND.does
def main() -> None:
  """Entry point."""
  of_run = COMMAND.is_given("workdir")
  if _CHECK.value is not None:
    if of_run or _OUTPUT.value:
      raise UsageError("--check stands alone, without --workdir and --output")
    print(check(_CHECK.value))
    return
  if not (of_run and _OUTPUT.value):
    raise UsageError("give --workdir and --output, or --check alone")
  options = _options()
  run = Run.open(_RUN.workdir)
  loaded = load_params(run, _RUN.checkpoint)
  print(write_bundle(run, loaded, _OUTPUT.value, options).text())
