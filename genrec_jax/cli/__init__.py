# SPDX-License-Identifier: Apache-2.0
"""Commands: `genrec train --config=...`, or `python -m genrec_jax.cli train`.

One module a command, found by its name (main.py). Its flags are its own
(command.py), so that any two commands can be imported side by side; what
several commands have is defined in asked.py. given.py reads what flags name. A
command of parts (parts.py) is a package, with one module a part: bench/.
"""
