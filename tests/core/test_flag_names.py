# SPDX-License-Identifier: Apache-2.0
"""Which part of a command line is rewritten, and which never is."""

from genrec_jax.core.flag_names import with_underscores


def test_names_of_flags_may_have_hyphens():
  assert with_underscores(["recommend.py", "--all-users", "--k=3"]) == [
    "recommend.py",
    "--all_users",
    "--k=3",
  ]


def test_values_and_what_is_no_flag_stay():
  argv = ["a-b.py", "--list-users=a-b=c-d", "x-y", "-1", "--", "--c-d"]
  assert with_underscores(argv) == [
    "a-b.py",
    "--list_users=a-b=c-d",
    *argv[2:],
  ]
