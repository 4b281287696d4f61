# SPDX-License-Identifier: Apache-2.0
"""Small Linen parts that backbones and systems are made of."""
