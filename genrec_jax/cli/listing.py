# SPDX-License-Identifier: Apache-2.0
"""What commands or parts there are, by the first line of what each says.

Modules are read and not imported, which would take seconds.
"""

import ast
from collections.abc import Sequence
import pathlib

# Flags that ask for it.
HELP = frozenset({"--help", "-help", "-h", "--helpfull", "--helpshort"})


def listing(folder: pathlib.Path, names: Sequence[str]) -> list[str]:
  """A line of each module or package of a folder."""
  width = max(map(len, names)) + 1
  lines = []
  for name in names:
    path = folder / f"{name}.py"
    if not path.is_file():
      path = folder / name / "__init__.py"
    source = path.read_text(encoding="utf-8")
    about = ast.get_docstring(ast.parse(source)).splitlines()[0]
    lines.append(f"  {name:{width}}{about}")
  return lines
