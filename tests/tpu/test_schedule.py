# SPDX-License-Identifier: Apache-2.0
"""A dump directory becomes ops in the order of their calls."""

import json

import pytest

from genrec_jax.hlo import text as hlo
from genrec_jax.tpu.bundles import UNITS
from genrec_jax.tpu.schedule import instruction_times, read_dump

_TOP = """
     0   :  { %1 = inlined_call %s0_s0 /* %add.1 = add(%a, %b) */ }
   0x1 LB: > { %2 = inlined_call %s0_s0 /* %kernel.1 = custom-call(%q) */ } \
/* Start region 7 */
   0x2   : > { %p1_p0 = scmp.ge.s32.totalorder %s4_s3, LIMIT }
   0x3   :  { %14 = sbr.rel (!%p1_p0) target = $region7 }
   0x4   :  {}
   0x5   :  {}
   0x6   :  {}
   0x7   :  {}
   0x8   :  { %3 = inlined_call %s0_s0 /* %add.2 = add(%c, %d) */ }
"""
_OP = "   0 : { %v0_v0 = vmov 0 }\n 0x1 : { %v1_v1 = vmov 1 }\n"


_LOOP = "condition=%cond, backend_config={"
_HLO = f"""HloModule jit_f

%cond (p: s32[]) -> pred[] {{
  %p = s32[] parameter(0)
  ROOT %unknown = pred[] custom-call(%p), custom_call_target="x"
}}

%leaf_body (q: s32[]) -> s32[] {{
  ROOT %leaf = s32[] parameter(0)
}}

%body (r: s32[]) -> s32[] {{
  %r = s32[] parameter(0)
  ROOT %inner = s32[] while(%r), body=%leaf_body, \
{_LOOP}"known_trip_count":{{"n":"3"}}}}
}}

ENTRY %main (a: s32[]) -> s32[] {{
  %a = s32[] parameter(0)
  %loop = s32[] while(%a), body=%body, \
{_LOOP}"known_trip_count":{{"n":"4"}}}}
  ROOT %sum = s32[] add(%loop, %a)
}}
"""


def _write(directory, limit="12"):
  use = ["=", ", ".join(UNITS), " ".join("1" * len(UNITS)), "="]
  use += [" ".join("0" * len(UNITS))] * 9
  texts = {"TLP": _TOP.replace("LIMIT", limit), "kernel.1": _OP, "add.1": _OP}
  for stamp, (name, text) in enumerate(texts.items()):
    start = f"{stamp}-{name}"
    (directory / f"{start}-72-final_bundles.txt").write_text(text)
    other = f"{start}-71-schedule-analysis_final_bundles.txt"
    (directory / other).write_text("Schedule analysis:")
    path = f"{start}-70-final_hlo-static-per-bundle-utilization.txt"
    (directory / path).write_text("\n".join(use))
  (directory / "0-TLP-00-deduplication-map.txt").write_text(
    "key:add.1\nordinal:1\nequivalent_hlos[size=2]:\n  add.1\n  add.2\n"
    "key:kernel.1\nordinal:3\nequivalent_hlos[size=1]:\n  kernel.1\n"
  )
  report = {"hlo_breakdowns": {"kernel.1": {"total_size": 4096}}}
  (directory / "0-TLP-85-vmem_report.html").write_text(
    f"<script>const DATA = {json.dumps(report)};\nlet x;</script>"
  )


def test_equal_ops_share_a_program_and_loops_multiply_calls(tmp_path):
  _write(tmp_path)
  schedule = read_dump(tmp_path)
  assert [(op.name, op.calls) for op in schedule.ops] == [
    ("add.1", 2),
    ("kernel.1", 12),
  ]
  assert schedule.top.bundles == 9
  (kernel,) = schedule.matching("kernel")
  assert kernel.bundles.bundles == 2
  assert kernel.bundles.vmem_bytes == 4096


def test_calls_within_a_loop_of_unknown_trips_are_unknown(tmp_path):
  _write(tmp_path, limit="%s9_s9")
  calls = {op.name: op.calls for op in read_dump(tmp_path).ops}
  assert calls == {"add.1": 2, "kernel.1": None}
  told = read_dump(tmp_path, {"kernel.1": 7, "add.1": 99})
  assert [op.calls for op in told.ops] == [2, 7]


def test_instructions_run_as_often_as_the_loops_around_them():
  program = hlo.parse(_HLO)
  times = instruction_times(program)
  assert (times["sum"], times["inner"], times["leaf"]) == (1, 4, 12)
  open_ended = _HLO.replace('"n":"3"', '"m":"3"')
  times = instruction_times(hlo.parse(open_ended))
  assert (times["inner"], times["leaf"]) == (4, None)


def test_a_directory_without_a_dump_says_why(tmp_path):
  with pytest.raises(ValueError, match="in a process of its own"):
    read_dump(tmp_path)


def test_an_op_that_was_not_dumped_is_named(tmp_path):
  _write(tmp_path)
  (tmp_path / "2-add.1-72-final_bundles.txt").unlink()
  with pytest.raises(ValueError, match=r"calls \['add.1'\]"):
    read_dump(tmp_path)
