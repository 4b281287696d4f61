# SPDX-License-Identifier: Apache-2.0
"""The order of the rooms: nothing imports what is named after it.

`_ROOMS` is the table; docs/architecture.md says what lives where. Inside a room
no two modules import each other, and seams are not probed: neither with hasattr
nor with a getattr that knows what to do without.
"""

import ast
import functools
import importlib.machinery
import pathlib
import sys

import pytest

_ROOT = pathlib.Path(__file__).resolve().parents[2] / "genrec_jax"
# A room may import itself and those before it.
_ROOMS = (
  *(
    "core",
    "hlo",
    "ops",
    "metrics",
    "paging",
    "data",
    "data.dataset",
    "data.prepare",
  ),
  *("data.simulator", "data.sources", "data.features", "content"),
  *("semantic_ids.quantizers", "semantic_ids", "data.layouts"),
  *("data.pipeline", "layers", "backbones", "models", "objectives"),
  *("decoding", "baselines", "retrieval", "ranking", "train", "experiment"),
  *("evaluation", "rollout", "serving.export", "serving", "service", "tpu"),
  *("report", "bench", "golden", "cli", "cli.bench"),
)
# Rooms that hold pure functions of arrays: no Linen, no configs.
_PURE = ("ops", "metrics", "objectives", "decoding", "retrieval")
# Where an object enters and is asked for what it has, once.
_MAY_PROBE = {"core.offers"}
# Objects of other libraries, which differ by release or by kind.
_OF_OTHERS = {
  ("core.sharding", "getattr(mesh, 'axis_types', ())"),
  ("data.sources.movielens_tfds", "getattr(e, 'errno', None)"),
  ("hlo.mfu", "AttributeError"),
  ("report.config_files", "AttributeError"),
  ("__init__", "AttributeError"),
}
# Names that ask an object, or its error, whether it has something.
_ASKING = {"hasattr", "attrgetter", "getattr_static", "AttributeError"}


@functools.cache
def _modules() -> dict[str, ast.Module]:
  return {
    ".".join(path.relative_to(_ROOT).with_suffix("").parts): ast.parse(
      path.read_text(encoding="utf-8")
    )
    for path in sorted(_ROOT.rglob("*.py"))
  }


def _imports(tree: ast.Module, modules) -> set[str]:
  """Modules of the package that a module imports, anywhere in it."""
  found = set()
  for node in ast.walk(tree):
    names = []
    if isinstance(node, ast.Import):
      names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, "imports name the whole path"
      names = [f"{node.module}.{alias.name}" for alias in node.names]
    for name in names:
      root, _, whole = name.partition(".")
      if root == "genrec_jax":
        base = whole.rpartition(".")[0]
        paths = (whole, f"{whole}.__init__", base, f"{base}.__init__")
        found.add(next((p for p in paths if p in modules), whole))
  return found


def _room(module: str) -> str | None:
  inside = [r for r in _ROOMS if module.startswith(f"{r}.")]
  return max(inside, key=len) if inside else None


def violations(modules) -> list[str]:
  """Imports that run up."""
  found = []
  for module, tree in modules.items():
    here = _room(module)
    for other in _imports(tree, modules):
      there = _room(other)
      if here and there and _ROOMS.index(there) > _ROOMS.index(here):
        found.append(f"{module} imports {other}")
  return found


def circle(modules) -> list[str]:
  """Modules that import each other, if any do."""
  edges = {m: _imports(t, modules) & set(modules) for m, t in modules.items()}
  # A package's own list imports its modules, which do not import the list.
  edges = {m: e for m, e in edges.items() if not m.endswith("__init__")}
  done, path = set(), []

  def visit(module):
    if module in path:
      return path[path.index(module) :]
    if module in done or module not in edges:
      return []
    path.append(module)
    for other in sorted(edges[module]):
      if found := visit(other):
        return found
    path.pop()
    done.add(module)
    return []

  for module in edges:
    if found := visit(module):
      return found
  return []


def test_every_module_lives_in_a_room():
  homeless = [m for m in _modules() if _room(m) is None and m != "__init__"]
  assert homeless == []


def test_no_import_runs_up():
  assert violations(_modules()) == []


def test_there_is_no_circle():
  assert circle(_modules()) == []


def test_a_violation_and_a_circle_would_be_found():
  up = ast.parse("from genrec_jax.report.page import page_of")
  back = ast.parse("from genrec_jax.core.atomic import x")
  modules = {"core.atomic": up, "report.page": back, "report.__init__": back}
  assert violations(modules) == ["core.atomic imports report.page"]
  assert circle(modules) == ["core.atomic", "report.page"]
  for text in (
    "import genrec_jax.report.page",
    "import genrec_jax.report.page as page",
    "from genrec_jax import report",
    "from genrec_jax.report import page",
  ):
    modules["core.atomic"] = ast.parse(text)
    assert violations(modules), text


@pytest.mark.parametrize("room", _PURE)
def test_pure_rooms_know_neither_linen_nor_configs(room):
  wrong = []
  for path in (_ROOT / room).rglob("*.py"):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
      names = []
      if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
      elif isinstance(node, ast.ImportFrom):
        names = [node.module or ""]
      wrong += [
        f"{path}: {n}"
        for n in names
        if n.split(".")[0] in ("flax", "ml_collections", "configs")
      ]
  assert wrong == []


def probes(tree: ast.Module) -> list[str]:
  """What a module asks objects for that they may not have."""
  found = []
  for node in ast.walk(tree):
    name = node.id if isinstance(node, ast.Name) else ""
    if isinstance(node, ast.Attribute):
      name = node.attr
    if name in _ASKING:
      found.append(name)
    if (
      isinstance(node, ast.Call)
      and isinstance(node.func, ast.Name)
      and node.func.id == "getattr"
      and (len(node.args) > 2 or isinstance(node.args[-1], ast.Starred))
    ):
      found.append(ast.unparse(node))
  return found


def test_seams_are_not_probed():
  found = [
    f"{module}: {probe}"
    for module, tree in _modules().items()
    if module not in _MAY_PROBE
    for probe in probes(tree)
    if (module, probe) not in _OF_OTHERS
  ]
  assert found == []


@pytest.mark.parametrize(
  "text",
  [
    "hasattr(a, 'b')",
    "has = hasattr",
    "builtins.hasattr(a, 'b')",
    "getattr(a, 'b', 1)",
    "getattr(*a)",
    "operator.attrgetter('b')(a)",
    "inspect.getattr_static(a, 'b')",
    "try:\n  a.b\nexcept AttributeError:\n  pass",
    "with suppress(AttributeError):\n  a.b",
  ],
)
def test_a_probe_would_be_found(text):
  assert probes(ast.parse(text))
  assert not probes(ast.parse("getattr(a, 'b')"))


@pytest.mark.parametrize("folder", ["scripts", "studies"])
def test_no_command_hides_a_library(folder):
  # The folder of a script that is run comes first where Python looks.
  elsewhere = [p for p in sys.path if p and pathlib.Path(p).name != folder]
  names = [p.stem for p in (_ROOT.parent / folder).glob("*.py")]
  find = importlib.machinery.PathFinder.find_spec
  assert len(names) > 3
  assert [n for n in names if n != "__init__" and find(n, elsewhere)] == []
