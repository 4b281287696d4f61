# SPDX-License-Identifier: Apache-2.0
"""README.md and docs/ against the repository: tables, paths, commands.

What they say must hold: the tables are those of results/*.json, every path that
a page names is there, every flag that it passes is one that the script has, and
the commands of docs/your_data.md run as they stand.
"""

import importlib
import os
import pathlib
import re
import shlex
import subprocess

import numpy as np
import pytest

from genrec_jax.cli.parts import Parts
from genrec_jax.cli.report import summary_of, tables_of
from genrec_jax.report import tables
from tests import commands

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = {
  str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
  for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
_OWN_FOLDERS = "configs|scripts|tests|colabs|results"
# Files that a worked example would add.
_EXAMPLES = {
  "genrec_jax/a/b.py",
  "genrec_jax/evaluation/top_item.py",
  "genrec_jax/models/last_item.py",
  "tests/a/test_b.py",
  "tests/evaluation/test_top_item.py",
  "tests/models/test_last_item.py",
}


def _blocks(page: str, language: str) -> list[str]:
  return re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.DOTALL)


def _commands() -> list[list[str]]:
  """Every command line of a page that runs a script of the repository."""
  blocks = [block for page in PAGES for block in _blocks(page, "bash")]
  lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
  words = [line.split("#")[0].split() for line in lines]
  return [w for w in words if any(x.startswith("scripts/") for x in w)]


@pytest.mark.parametrize(
  ("page", "body"),
  [
    ("README.md", summary_of),
    ("docs/results.md", tables_of),
  ],
)
def test_tables_are_those_of_the_results(page, body):
  made = body(ROOT / "results")
  assert PAGES[page] == tables.splice(PAGES[page], made), (
    f"{page} differs from results/: run python scripts/report.py"
    " --results=results --readme=README.md --tables=docs/results.md"
  )


def test_the_readme_is_short():
  assert len(PAGES["README.md"].encode()) <= 10_000


@pytest.mark.parametrize("page", PAGES)
def test_every_path_it_names_exists(page):
  text = re.sub(r"results/<config>/<seed>\.json", "", PAGES[page])
  paths = set(re.findall(rf"(?<![\w/.-])((?:{_OWN_FOLDERS})/[\w./-]*\w)", text))
  # A source file is named from the root, so that a reader can open it.
  paths |= set(re.findall(r"(?<![\w/.-])((?:[\w-]+/)+[\w-]+\.py)\b", text))
  links = set(re.findall(r"\]\(((?!https?:)[^)#]+)\)", text))
  missing = sorted(p for p in paths - _EXAMPLES if not (ROOT / p).exists())
  folder = (ROOT / page).parent
  missing += sorted(link for link in links if not (folder / link).exists())
  assert not missing


def test_every_page_is_found_from_the_readme():
  found, new = set(), {"README.md"}
  while new:
    page = new.pop()
    found.add(page)
    folder = (ROOT / page).parent
    links = re.findall(r"\]\(([^)#:]+\.md)", PAGES[page])
    there = {str((folder / x).resolve().relative_to(ROOT)) for x in links}
    new |= there - found
  assert found == set(PAGES)


def test_the_architecture_names_every_room_of_the_package():
  text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
  package = ROOT / "genrec_jax"
  for found in package.rglob("__init__.py"):
    room = ".".join(found.parent.relative_to(package).parts)
    top = room.partition(".")[0]
    # Rooms of report/ and ops/ are one each.
    name = top if top in ("report", "ops") else room
    assert not name or f"`{name}`" in text, room


@pytest.mark.parametrize("page", PAGES)
def test_bash_blocks_parse(page):
  for block in _blocks(page, "bash"):
    result = subprocess.run(
      ["bash", "-n"], input=block, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, (block, result.stderr)


def test_scripts_have_the_flags_that_are_passed():
  commands = _commands()
  assert len(commands) >= 8
  for words in commands:
    script = next(word for word in words if word.startswith("scripts/"))
    if not script.endswith(".py"):
      continue
    source = (ROOT / script).read_text()
    defined = set(re.findall(r'DEFINE_\w+\(\s*"(\w+)"', source))
    for name in re.findall(r'^  main\("(\w+)"\)$', source, re.MULTILINE):
      command = importlib.import_module(f"genrec_jax.cli.{name}").COMMAND
      if isinstance(command, Parts):
        command = command.part(words[words.index(script) + 1])
      defined.update(command.names)
    for word in words:
      if word.startswith("--"):
        name = word[2:].split("=")[0].split(".")[0].replace("-", "_")
        assert name in defined, (script, word, sorted(defined))


def _write_log(path: pathlib.Path, header: list[str]) -> None:
  """A log of 60 users x 12 views under the page's own column names."""
  rng = np.random.default_rng(0)
  lines = [",".join(header)]
  for user in range(60):
    for event in range(12):
      item = rng.integers(40)
      second = 1_700_000_000 + 3600 * (user * 12 + event)
      for later, action in enumerate(("view", "cart", "buy")):
        lines.append(f"v{user},sku-{item},{second + later},{action}")
        if rng.random() < 0.6:
          break
  path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def shop(tmp_path):
  """A folder with the files that docs/your_data.md shows."""
  csvs = _blocks("docs/your_data.md", "csv")
  log_header = csvs[0].splitlines()[0].split(",")
  assert len(log_header) == 4
  shop = tmp_path / "shop"
  shop.mkdir()
  _write_log(shop / "events.csv", log_header)
  items = csvs[1].splitlines()[0]
  rows = [f"sku-{i},Thing {i},kind {i % 4},{i / 4}" for i in range(40)]
  (shop / "items.csv").write_text("\n".join([items, *rows]) + "\n")
  return shop


_QUICK = ("--config.train.steps=3", "--config.train.eval_every_steps=3")
_ONE_LAYER = "--config.system.backbone.num_layers=1"


@pytest.mark.slow
def test_bring_your_own_data_runs_as_it_stands(shop):
  blocks = _blocks("docs/your_data.md", "bash")
  text = "\n".join(b for b in blocks if "scripts/run.py" not in b)
  quick = " ".join([*_QUICK, _ONE_LAYER])
  text = text.replace("items_title=name", f"items_title=name {quick}")
  assert quick in text
  python = commands.interpreter(shop.parent)
  result = subprocess.run(
    ["bash", "-euo", "pipefail", "-c", text],
    cwd=ROOT,
    env={
      **os.environ,
      "HOME": str(shop.parent),
      "PATH": f"{python.parent}:{os.environ['PATH']}",
      "JAX_PLATFORMS": "cpu",
    },
    capture_output=True,
    text=True,
    check=False,
  )
  assert result.returncode == 0, result.stdout + result.stderr
  assert result.stdout.count("Thing") >= 10
  lists = (shop / "test.csv").read_text().splitlines()
  assert lists[0].endswith("source,event,withheld_item_id") and len(lists) > 60
  assert "Thing" in (shop / "run" / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
  ("config", "stages", "quick", "said"),
  [
    ("ranker_files", ("train.py",), _QUICK, ["Thing 4", "Thing 7"]),
    (
      "tiger_files",
      ("tokenize_items.py", "train.py"),
      (*_QUICK, _ONE_LAYER),
      ["Thing"],
    ),
  ],
)
def test_a_ranker_and_semantic_ids_by_the_commands_of_the_page(
  shop, config, stages, quick, said
):
  (block,) = (b for b in _blocks("docs/your_data.md", "bash") if config in b)
  text = block.replace("\\\n", " ").replace("$HOME", str(shop.parent))
  train, ask = (shlex.split(line)[1:] for line in text.splitlines())
  assert train[0] == "scripts/run.py"
  # One stage after the other, in processes that start quickly;
  # tests/scripts/test_run.py is about running all by one command.
  for stage in stages:
    more = quick if stage == "train.py" else ()
    done = commands.run([str(ROOT / "scripts" / stage), *train[1:], *more])
    assert done.returncode == 0, done.stderr
  done = commands.run(ask)
  assert done.returncode == 0, done.stderr
  assert all(title in done.stdout for title in said), done.stdout
