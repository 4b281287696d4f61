# SPDX-License-Identifier: Apache-2.0
"""Sequence models: (x_BLD, info) -> h_BLD."""
