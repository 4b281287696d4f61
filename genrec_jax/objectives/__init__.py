# SPDX-License-Identifier: Apache-2.0
"""Losses: (outputs, batch, rng, items, where, weights) -> loss, parts."""
