# SPDX-License-Identifier: Apache-2.0
"""What a position of a packed row is, and what it tells of an event."""

# Who sees whom; see ops/visible_keys.py.
EVENT, CONTEXT, TARGET = 0, 1, 2

# What a token is made of: an item alone, what came of it alone, both, an item
# whose action is not known yet, or an attribute of the user.
ITEM, ACTION, BOTH, CANDIDATE, ATTRIBUTE = 0, 1, 2, 3, 4
