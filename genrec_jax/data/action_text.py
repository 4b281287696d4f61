# SPDX-License-Identifier: Apache-2.0
"""Words in the text of an event's action; data/dataset/feedback.py reads it."""

SEPARATOR = "|"
SKIP = "skip"
UNTIMED = "untimed"
UNASKED = "unasked"
LATER = "later:"
# They say something of an event, and nothing that the user did.
MARKS = frozenset({"", SKIP, UNTIMED, UNASKED})
