# SPDX-License-Identifier: Apache-2.0
"""Texts of items and vectors of them."""
