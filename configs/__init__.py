# SPDX-License-Identifier: Apache-2.0
"""One file per system and data set; see the docstring of each."""
