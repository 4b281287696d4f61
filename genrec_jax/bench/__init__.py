# SPDX-License-Identifier: Apache-2.0
"""What scripts/bench.py times and counts: one file per part."""
