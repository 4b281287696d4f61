# SPDX-License-Identifier: Apache-2.0
"""Commands: `genrec train --config=...`, or genrec train.

One module a command, found by its name (cli/main.py). Its flags are its own
(cli/command.py), so that any two commands can be imported side by side.
"""
