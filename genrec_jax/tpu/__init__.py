# SPDX-License-Identifier: Apache-2.0
"""TPUs on machines that have none: compile, schedule, cost."""
