# SPDX-License-Identifier: Apache-2.0
"""Item text to vectors, vectors to codes, and what codes are worth."""
