# SPDX-License-Identifier: Apache-2.0
"""`genrec`: which commands there are, and what it says of others."""

import pathlib
import subprocess
import sys

import pytest

from genrec_jax.cli import main
from genrec_jax.cli.bench import PARTS

_CLI = pathlib.Path(main.__file__).parent
_OWN = {
  "__init__",
  "__main__",
  "main",
  "asked",
  "command",
  "config_flag",
  "ending",
  "given",
  "listing",
  "parts",
}
# Commands of parts, and their parts.
_OF_PARTS = {"bench": PARTS}


def test_every_command_is_listed_with_a_line(capsys):
  assert main.start(["--help"]) == 0
  lines = capsys.readouterr().out.splitlines()
  listed = {line.split()[0]: line for line in lines if line[:2] == "  "}
  packages = {p.parent.name for p in _CLI.glob("*/__init__.py")}
  assert packages == set(_OF_PARTS)
  modules = {p.stem for p in _CLI.glob("*.py")} - _OWN
  assert set(listed) == modules | packages
  assert "resumes it" in listed["train"]
  assert all(len(line.split()) > 5 for line in listed.values())


def test_an_unknown_command_names_the_nearest(capsys):
  assert main.start(["trian", "--workdir=a"]) == 2
  out, err = capsys.readouterr()
  assert out == "" and len(err.splitlines()) == 1
  assert "Did you mean 'train'?" in err
  assert main.start([]) == 2


@pytest.mark.parametrize(
  "name",
  [
    *(name for name in main.COMMANDS if name not in _OF_PARTS),
    *(f"{name} {part}" for name, parts in _OF_PARTS.items() for part in parts),
  ],
)
def test_a_command_has_help(name, capsys):
  assert main.start([*name.split(), "--help"]) == 0
  text = capsys.readouterr().out
  assert f"\n    genrec {name} --" in text
  assert f"Flags of genrec {name}:\n  --" in text


def test_the_overview_imports_no_library():
  """Or it would take seconds."""
  program = (
    "import sys; from genrec_jax.cli.main import start; start(['help']);"
    "start(['bench', '--help']);"
    "sys.exit(bool({'jax', 'polars'} & set(sys.modules)))"
  )
  done = subprocess.run([sys.executable, "-c", program], capture_output=True)
  assert done.returncode == 0, done.stderr


def test_recommending_shares_arenas_before_it_imports(monkeypatch, capsys):
  told = []
  monkeypatch.setattr(main.heap, "share_arenas", lambda: told.append("arenas"))
  monkeypatch.setattr(
    main.importlib, "import_module", lambda name: told.append(name)
  )
  for name in ("recommend", "train"):
    main.start([name, "--help"])
  capsys.readouterr()
  assert told == [
    *("arenas", "genrec_jax.cli.recommend"),
    "genrec_jax.cli.train",
  ]


def test_recommending_imports_nothing_that_it_does_not_use():
  """Pages, encoders and readers of other formats take tens of MB."""
  unused = ("matplotlib", "sklearn", "pandas", "tensorflow", "torch", "scann")
  program = (
    "import sys, genrec_jax.cli.recommend;"
    f"sys.exit(' '.join({{*{unused}}} & set(sys.modules)) or 0)"
  )
  done = subprocess.run([sys.executable, "-c", program], capture_output=True)
  assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
  "path",
  sorted((_CLI.parents[1] / "scripts").glob("*.py")),
  ids=lambda p: p.stem,
)
def test_scripts_are_thin(path):
  source = path.read_text()
  if "genrec_jax.cli" in source:
    assert len(source.splitlines()) < 20
    (name,) = [n for n in main.COMMANDS if f'\n  main("{n}")\n' in source]
    assert f"`genrec {name} " in source
