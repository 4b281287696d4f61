# SPDX-License-Identifier: Apache-2.0
"""What a config and a workdir stand for."""
