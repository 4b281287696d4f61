# SPDX-License-Identifier: Apache-2.0
"""Command lines that cannot be: `error: ...`, exit status 1 or 2, no folder.

In this process, as the console command starts them.
"""

import pytest

from genrec_jax.cli import main
from tests.bad_inputs.answers import SECRET, check

_OWN = "--config=hstu_files"
_LINES = [
  ("prepar", 2, "no command 'prepar'. Did you mean 'prepare'"),
  ("prepare", 2, "needs --config=.* and --workdir"),
  (f"prepare {_OWN}", 2, "needs --workdir"),
  (f"prepare {_OWN} --workdri=w", 2, "unknown flag --workdri.*'workdir'"),
  (f"prepare {_OWN} --workdir=w more", 2, "'more' is no flag"),
  ("prepare --config=hstu_fils --workdir=w", 2, "Did you mean 'hstu_files'"),
  ("prepare --config=none.py --workdir=w", 2, "there is no file none.py"),
  ("prepare --config=log.csv --workdir=w", 2, "a config is a Python file"),
  ("prepare --config=empty.py --workdir=w", 2, "no function get_config"),
  ("prepare --config=broken.py --workdir=w", 2, "broken.py, line 1"),
  (f"prepare {_OWN}:smal --workdir=w", 2, "smal"),
  (f"prepare {_OWN} --workdir=w --config.dat.path=x", 2, "no 'dat'.*'data'"),
  (f"prepare {_OWN} --workdir=w --config.data.pth=x", 2, "mean 'path'"),
  (f"prepare {_OWN} --workdir=w --config.train.steps=x", 2, "a whole number"),
  (f"prepare {_OWN} --workdir=w --config.filter.deduplicate=7", 2, "true or"),
  (f"prepare {_OWN} --workdir=w", 1, "no path is given"),
  (
    f"prepare {_OWN} --workdir=w --config.data.path=x.csv",
    1,
    "no file 'x.csv'",
  ),
  (
    f"prepare {_OWN} --workdir=w --config.data.path=log.csv",
    1,
    "line 2 .*quote",
  ),
  ("recommend", 2, "needs --workdir"),
  ("recommend --workdir=w", 2, "give --user, --history"),
  ("recommend --workdir=w --user=1 --k=0", 2, "k"),
  ("recommend --workdir=w --user=1 --k=x", 2, "k"),
  ("recommend --workdir=w --user=1", 1, "w"),
  ("recommend --workdir=w --all-users", 2, "--output belong together"),
  ("recommend --workdir=w --user=1 --as_of=test", 2, "belongs to --all-users"),
  ("evaluate --workdir=w", 1, "w"),
  ("evaluate --workdir=w --sectoin=x", 2, "unknown flag --sectoin"),
  ("report --workdir=w", 1, "w"),
  ("rank --workdir=w --user=1", 2, "rank|items|give"),
  ("compare", 2, "give --ours"),
]


@pytest.mark.parametrize(("line", "status", "words"), _LINES)
def test_command_lines(line, status, words, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  files = {
    "log.csv": f'user,item,timestamp\n{SECRET},7"x,1\n',
    "empty.py": "",
    "broken.py": "def get_config(:\n",
  }
  for name, text in files.items():
    (tmp_path / name).write_text(text)
  assert main.start(line.split()) == status
  error = capsys.readouterr().err
  check(error, f"error: .*{words}")
  left = {path.name for path in tmp_path.iterdir()}
  assert left - {"__pycache__"} == {*files}
