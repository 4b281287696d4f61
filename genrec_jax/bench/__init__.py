# SPDX-License-Identifier: Apache-2.0
"""What scripts/bench.py and scripts/accelerator.py time and count."""
