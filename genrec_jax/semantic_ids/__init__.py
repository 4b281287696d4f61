# SPDX-License-Identifier: Apache-2.0
"""Vectors to codes, and what codes are worth."""
