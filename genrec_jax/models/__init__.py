# SPDX-License-Identifier: Apache-2.0
"""Linen modules: batch in, Outputs out."""
