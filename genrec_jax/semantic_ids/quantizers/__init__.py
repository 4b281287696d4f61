# SPDX-License-Identifier: Apache-2.0
"""Tokenizers: vectors to codes and back."""
