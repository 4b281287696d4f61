# SPDX-License-Identifier: Apache-2.0
"""Takes back what a start has made that is refused before there is a run.

What is left would belong to a config that cannot be, and keep the right one
out of its workdir.
"""

from collections.abc import Iterator
import contextlib
import os
import pathlib
import shutil


@contextlib.contextmanager
def nothing_left(workdir: str | os.PathLike) -> Iterator[None]:
  """Where an error ends it before training began, only what was there stays.

  That is the prepared data, the config, and tables kept under input/. Training
  has begun when there is a log of it (metrics.jsonl). A signal is no refusal:
  the same command goes on with what is prepared.
  """
  workdir = pathlib.Path(workdir)
  data, config = workdir / "data", workdir / "config.json"
  prepared, configured = data.exists(), config.exists()
  tables = set(workdir.glob("input/*.parquet"))
  try:
    yield
  except Exception:
    if not (workdir / "metrics.jsonl").exists():
      if not prepared:
        shutil.rmtree(data, ignore_errors=True)
      if not configured:
        config.unlink(missing_ok=True)
      for path in set(workdir.glob("input/*.parquet")) - tables:
        path.unlink()
      with contextlib.suppress(OSError):
        (workdir / "input").rmdir()
    raise
