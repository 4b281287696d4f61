# SPDX-License-Identifier: Apache-2.0
"""Codes to items: searches and samples through a trie, inside one jit."""
