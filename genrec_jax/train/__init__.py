# SPDX-License-Identifier: Apache-2.0
"""State, step, loop, checkpoints and evaluation."""
