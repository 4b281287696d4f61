# SPDX-License-Identifier: Apache-2.0
"""What the package imports is what pyproject.toml declares.

A package that comes only because another one needs it today is gone when that
one changes its mind.
"""

import ast
import importlib.metadata
import pathlib
import re
import sys
import tomllib

_ROOT = pathlib.Path(__file__).resolve().parents[1]


def _imported() -> set[str]:
  found = set()
  for path in (_ROOT / "genrec_jax").rglob("*.py"):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
      if isinstance(node, ast.Import):
        found |= {alias.name for alias in node.names}
      elif isinstance(node, ast.ImportFrom):
        found.add(node.module)
  names = {name.partition(".")[0] for name in found}
  return names - set(sys.stdlib_module_names) - {"genrec_jax", "configs"}


def _normal(name: str) -> str:
  return re.sub("[-_.]+", "-", re.match(r"[\w.-]+", name)[0]).lower()


def test_every_import_is_declared():
  project = tomllib.loads((_ROOT / "pyproject.toml").read_text("utf-8"))
  project = project["project"]
  optional = project["optional-dependencies"]
  declared = {
    _normal(line)
    for line in (
      *project["dependencies"],
      *optional["export"],
      *optional["serve"],
      *optional["tensorboard"],
    )
  }
  providers = importlib.metadata.packages_distributions()
  undeclared = {
    module
    for module in _imported()
    if not declared & {_normal(d) for d in providers.get(module, [module])}
  }
  assert not undeclared
