# SPDX-License-Identifier: Apache-2.0
"""scripts/prepare_data.py, as a user calls it."""

import pathlib

from genrec_jax.data.dataset import Histories
from tests import commands

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _prepare(config, workdir, *arguments):
  return commands.run(
    [
      "scripts/prepare_data.py",
      f"--config={config}",
      f"--workdir={workdir}",
      *arguments,
    ],
    cwd=ROOT,
  )


def test_prepares_summarises_and_refuses_another_config(tmp_path):
  path = tmp_path / "log.csv"
  rows = [("u", i, 10 * i, "view") for i in range(1, 6)]
  rows += [("v", 1, 5, "buy"), ("v", 1, 5, "buy"), ("", 1, 5, "buy")]
  lines = ["who,what,when,kind", *(",".join(map(str, row)) for row in rows)]
  path.write_text("\n".join(lines) + "\n")
  columns = ("user=who", "item=what", "timestamp=when", "action=kind")
  arguments = [f"--config.data.path={path}"]
  arguments += [f"--config.data.{column}" for column in columns]
  config, workdir = "configs/hstu_files.py", tmp_path / "w"
  done = _prepare(config, workdir, *arguments)
  assert done.returncode == 0, done.stderr
  for expected in (
    "8 in, 6 kept",
    "1 dropped: no user id",
    "1 dropped: exact duplicate",
    "2 of 2",
    "buy, view",
  ):
    assert expected in done.stdout
  assert len(Histories(workdir / "data")) == 2
  again = _prepare(config, workdir, *arguments)
  assert again.returncode == 0 and "up to date" in again.stderr
  other = _prepare(config, workdir, *arguments, "--config.data.user=kind")
  assert other.returncode == 1
  assert "source.user: 'who' there, 'kind' wanted" in other.stderr
  assert "Traceback" not in other.stderr


def test_options_of_filter_split_and_files_from_the_command_line(tmp_path):
  path = tmp_path / "log.csv"
  rows = [("u", f"i{n}", 10**9 + n) for n in range(20)] + [("v", "i0", "")]
  path.write_text("".join(f"{u},{i},{t}\n" for u, i, t in rows))
  arguments = [
    f"--config.data.path={path}",
    "--config.data.columns=('user','item','timestamp')",
  ]
  config = "configs/hstu_files.py:global_time"
  failed = _prepare(config, tmp_path / "w", *arguments)
  assert failed.returncode == 1 and "Traceback" not in failed.stderr
  last = failed.stderr.strip().splitlines()[-1]
  assert last.startswith("error: 1 of 21 events have no timestamp")
  assert not (tmp_path / "w" / "data").exists()
  # What the error says.
  done = _prepare(
    config,
    tmp_path / "w",
    *arguments,
    "--config.filter.drop_missing_timestamps=True",
    "--config.split.validation_start=1000000010",
    "--config.split.test_start=2001-09-09T01:46:55",
  )
  assert done.returncode == 0, done.stderr
  histories = Histories(tmp_path / "w" / "data")
  assert histories.split.targets(histories[0], "test").tolist() == [
    *range(15, 20)
  ]
  untimed = _prepare(
    "configs/hstu_files.py",
    tmp_path / "untimed",
    *arguments,
    "--config.data.timestamp=",
  )
  assert untimed.returncode == 0, untimed.stderr
  manifest = Histories(tmp_path / "untimed" / "data").manifest
  assert manifest.fields == {"item": "int32"}
