# SPDX-License-Identifier: Apache-2.0
"""What is trained: a batch to outputs, a query, and item vectors."""
