# SPDX-License-Identifier: Apache-2.0
"""Simulated shoppers whose true model is known."""
