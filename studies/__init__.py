# SPDX-License-Identifier: Apache-2.0
"""Experiments behind the claims in docs/: one file per question."""
