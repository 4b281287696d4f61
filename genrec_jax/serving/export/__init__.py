# SPDX-License-Identifier: Apache-2.0
"""A trained run as one folder that is used without the model's code.

write_bundle(run, loaded, "bundle")     parameters, programs, golden requests
Bundle.open("bundle")                   checked, and equal to the run
"""

from genrec_jax.serving.export.bundle import Bundle
from genrec_jax.serving.export.options import ExportOptions
from genrec_jax.serving.export.writer import Written, write_bundle

__all__ = ["Bundle", "ExportOptions", "Written", "write_bundle"]
