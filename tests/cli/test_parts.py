# SPDX-License-Identifier: Apache-2.0
"""`genrec bench PART`: one part is found, and no other is imported."""

import pathlib
import subprocess
import sys
import types

import pytest

from genrec_jax.cli import bench, main, parts
from genrec_jax.cli.bench import asked, decoding
from genrec_jax.cli.command import Command

_FOLDER = pathlib.Path(bench.__file__).parent


def test_every_part_is_listed_with_a_line(capsys):
  assert main.start(["bench", "--help"]) == 0
  lines = capsys.readouterr().out.splitlines()
  of_parts = lines[lines.index("Parts of genrec bench:") + 1 : -2]
  listed = [line.split()[0] for line in of_parts]
  assert listed == list(bench.PARTS)
  files = {p.stem for p in _FOLDER.glob("*.py")} - {"__init__", "asked"}
  assert set(listed) == files and len(listed) == len(files)
  assert all(5 < len(line.split()) and len(line) <= 80 for line in of_parts)


@pytest.mark.parametrize(
  ("line", "part", "rest"),
  [
    ("scann --workdir=a --k=1", "scann", "--workdir=a --k=1"),
    ("--workdir=a scann --k=1", "scann", "--workdir=a --k=1"),
    ("--workdir a --k 1 scann", "scann", "--workdir a --k 1"),
    # A name of a part may be a value of a flag.
    ("--workdir events scann", "scann", "--workdir events"),
    ("--workdir events scann --k 1", "scann", "--workdir events --k 1"),
    ("scann --workdir events", "scann", "--workdir events"),
    ("recommend --workdir=events", "recommend", "--workdir=events"),
    ("--json attention", "attention", "--json"),
    ("--json attention --length 8", "attention", "--json --length 8"),
    ("--length=8 -- attention", "attention", "--length=8 --"),
    ("--help attention", "attention", "--help"),
  ],
)
def test_a_part_is_found_wherever_its_name_stands(
  line, part, rest, monkeypatch
):
  told = []
  command = Command("A test.")
  monkeypatch.setattr(
    command, "start", lambda name, words: told.append((name, words)) or 3
  )

  def import_module(name):
    told.append(name)
    return types.SimpleNamespace(COMMAND=command)

  monkeypatch.setattr(parts.importlib, "import_module", import_module)
  assert bench.COMMAND.start("bench", line.split()) == 3
  assert told == [
    f"genrec_jax.cli.bench.{part}",
    (f"bench {part}", rest.split()),
  ]


def test_a_part_imports_no_other():
  """Nor what the others time."""
  program = (
    "import sys; from genrec_jax.cli.main import start;"
    "start(['bench', 'events', '--help']);"
    "names = [n for n in sys.modules if n.startswith('genrec_jax.cli.bench.')"
    " or n.startswith('genrec_jax.bench.')];"
    "print('\\n' + ' '.join(sorted(names)))"
  )
  done = subprocess.run(
    [sys.executable, "-c", program], capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.splitlines()[-1].split() == [
    *("genrec_jax.bench.recommend", "genrec_jax.cli.bench.asked"),
    "genrec_jax.cli.bench.events",
  ]


@pytest.mark.parametrize(
  ("line", "words"),
  [
    ("", "needs a part: name one of train_step, pipeline, "),
    ("--steps=2", "genrec bench needs a part: name one of"),
    ("trian_step", "serving. Did you mean 'train_step'?"),
    ("train_step", "--config says what to time."),
    ("train_step layouts", "'layouts' is no flag; genrec bench train_step"),
    ("layouts --step=2", "Did you mean 'steps'?"),
    ("layouts --loads=2", "unknown flag --loads."),
    ("layouts --events=0", "a whole number of at least 1"),
    ("candidates --layout=interleavd", "Did you mean 'interleaved'?"),
    ("events --workdir=new", "genrec bench events needs --output=..."),
    ("scann", "genrec bench scann needs --workdir=..."),
    ("recommend --workdir=new --peer_model=a", "belong together"),
  ],
)
def test_a_line_that_cannot_be(line, words, capsys):
  assert main.start(["bench", *line.split()]) == 2
  out, err = capsys.readouterr()
  assert out == "" and err.startswith("error: ")
  assert len(err.splitlines()) == 1 and words in err


@pytest.fixture
def a_config():
  """ConfigFlags of a command of its own, by a line."""

  def of(line, **defaults):
    command = Command("A test.")
    shapes = asked.ConfigFlags(command, **defaults)
    command.parse("test", ["--config=hstu_movielens:quicktest", *line.split()])
    return shapes

  return of


def test_shapes_of_a_config_are_its_own_but_for_what_flags_say(a_config):
  config, options, events = a_config("").read()
  own = config["pipeline"]
  assert options.batch_size == own["batch_size"]
  assert events == options.layout.max_length
  assert a_config("").batch_size is None

  shapes = a_config("--batch_size=3 --row_length=77 --events=5")
  config, options, events = shapes.read()
  assert config["pipeline"] == own | {"batch_size": 3, "row_length": 77}
  assert (options.batch_size, options.row_length, events) == (3, 77, 5)
  assert shapes.batch_size == 3


def test_a_part_that_asks_has_sizes_that_are_no_rows(a_config):
  config, options, events = a_config("", events=20, batch_size=64).read()
  assert a_config("", events=20, batch_size=64).batch_size == 64
  assert events == 20
  assert options.batch_size == a_config("").read()[1].batch_size
  shapes = a_config("--events=7 --batch_size=2", events=20, batch_size=64)
  assert (shapes.batch_size, shapes.read()[2]) == (2, 7)


def test_a_peer_is_found_beside_the_script_or_in_the_checkout(
  tmp_path, monkeypatch
):
  started, checkout = tmp_path / "started", tmp_path / "scripts"
  monkeypatch.setattr(sys, "argv", [str(started / "bench.py")])
  assert pathlib.Path(asked.peer_script("peer_t5.py")).is_file()
  assert pathlib.Path(asked.peer_script("peer_rectools.py")).is_file()
  monkeypatch.setattr(asked, "_SCRIPTS", checkout)
  for folder in (checkout, started):
    folder.mkdir()
    (folder / "peer_t5.py").touch()
    assert asked.peer_script("peer_t5.py") == str(folder / "peer_t5.py")


def test_without_a_checkout_there_is_no_peer(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(sys, "argv", [str(tmp_path / "bin" / "genrec")])
  monkeypatch.setattr(asked, "_SCRIPTS", tmp_path / "scripts")
  monkeypatch.setattr(decoding, "time_decoding", None)
  line = "bench decoding --config=tiger_amazon:quicktest --peer_python=python"
  assert main.start(line.split()) == 1
  said = capsys.readouterr().err
  assert len(said.splitlines()) == 1
  assert f"no {tmp_path}/scripts/peer_t5.py: it comes with a checkout" in said


def test_what_is_printed_begins_with_the_part(monkeypatch, capsys):
  found = []

  def time_decoding(config, **sizes):
    found.append(sizes)
    return {"users_per_second": 1.5}

  monkeypatch.setattr(decoding, "time_decoding", time_decoding)
  line = (
    "bench decoding --config=tiger_amazon:quicktest --peer_python=python"
    " --events=7 --beams=3 --steps=2"
  )
  assert main.start(line.split()) == 0
  said = capsys.readouterr().out
  assert said.startswith('{"bench": "decoding", "jax": "')
  assert said.endswith(' cpu", "users_per_second": 1.5}\n')
  (sizes,) = found
  assert sizes["num_items"] == 3706 and sizes["turns"] == 2
  python, script, *flags = sizes["peer"]
  assert python == "python" and script.endswith("scripts/peer_t5.py")
  assert flags == ["--batch_size=64", "--num_beams=3", "--items=7"]
