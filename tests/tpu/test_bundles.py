# SPDX-License-Identifier: Apache-2.0
"""Bundles, loops and units of a schedule, on a dump written by hand."""

import pytest

from genrec_jax.tpu.bundles import UNITS, Branch, BundleLoop, parse_bundles

# A grid of 3 steps around a loop of 4 turns, a loop that a register bounds,
# and a stretch that a predicate skips; as the TPU compiler writes them.
PROGRAM = """
= control target key start
LB: loop body
= control target key end

     0   :  { %s1_s0 = smov.u32 0  ;;  %s2_s1 = smov.u32 6 }
   0x1 LB: > { %s3_s2 = sphi %s1_s0, %s4_s3 /* iteration index, stage = 0 */ } \
/* Start region 10 :: Start region 11 */
   0x2   : > { %s5_s4 = smov.u32 2 }
   0x3 LB: >> { %s6_s5 = sphi %s5_s4, %s7_s6 } /* Start region 20 */
   0x4   : >> { %s7_s6 = sadd.s32 3, %s6_s5  ;;  %v1_v0 = vmul.f32 2.0, %v0_v1 }
   0x5   : >> { %p1_p0 = scmp.ge.s32.totalorder %s7_s6, 12 /* exit test */ }
   0x6   : >> { %9 = sbr.rel (!%p1_p0) target = $region20 }
   0x7   :  {}
   0x8   :  {}
   0x9   : >> { %v2_v2 = vmov %v1_v0 }
   0xa   :  {} /* End region 20 */
   0xb   : > { %p2_p1 = scmp.gt.s32.totalorder %s3_s2, 1 }
   0xc   : > { %11 = sbr.rel (%p2_p1) target = $region30 }
   0xd   :  {}
   0xe   :  {}
   0xf   :  {}
  0x10   :  {}
  0x11   : > { %12 = vst [vmem:[#allocation2_spill]] %v2_v2 }
  0x12   : > { %13 = vst [vmem:[%s1_s0]] %v2_v2 }
  0x13 PF: > { %s4_s3 = sadd.s32 1, %s3_s2 } /* Start/End empty region 30 */
  0x14   : > { %p3_p2 = scmp.ge.s32.totalorder %s4_s3, 5 /* loop exit test */ }
  0x15   :  { %14 = sbr.rel (!%p3_p2) target = $region10 }
  0x16   :  {}
  0x17   :  {}
  0x18   :  {}
  0x19   :  {}
  0x1a   :  {} /* exit bundle: %kernel = custom-call(%q) */
"""
BUNDLES = 0x1B


def utilization(**slots: dict[int, int]) -> str:
  """A use-of-units dump: unit -> {address: slots}."""
  rows = [
    [slots.get(unit.replace(":", "_"), {}).get(at, 0) for unit in UNITS]
    for at in range(BUNDLES)
  ]
  return "\n".join(
    [
      "== CAPACTIY:",
      ", ".join(UNITS),
      "    4     4     3     4     2     1     3     3     1     1     2",
      "== UTILIZATION:",
      *(" ".join(map(str, row)) for row in rows),
    ]
  )


def _parse(program=PROGRAM, **slots):
  return parse_bundles("kernel", program, utilization(**slots))


def test_loops_have_the_trips_of_their_exit_tests():
  bundles = _parse()
  assert bundles.bundles == BUNDLES
  assert bundles.opcode == "custom-call"
  # From 2 to 12 by 3: 4 turns. 5 turns of the grid: 2 fill and drain it.
  assert set(bundles.loops) == {
    BundleLoop(0x3, 0xB, 4, grid=False),
    BundleLoop(0x1, 0x1A, 3, grid=True),
  }
  assert bundles.branches == (Branch(0x11, 0x13),)


def test_work_inside_a_loop_is_multiplied():
  bundles = _parse()
  assert bundles.one_step() == BUNDLES + 3 * 8
  assert bundles.executed() == BUNDLES + 2 * 25 + 3 * 3 * 8


@pytest.mark.parametrize("bound", ["%s9_s9", "%s2_s1"])
def test_a_bound_in_a_register(bound):
  bundles = _parse(PROGRAM.replace("%s7_s6, 12 /*", f"%s7_s6, {bound} /*"))
  (inner,) = (loop for loop in bundles.loops if not loop.grid)
  if bound == "%s2_s1":  # moved there from a constant, 6
    assert inner.trips == 2
    assert not bundles.unknown_loops()
  else:
    assert bundles.unknown_loops() == (inner,)
    assert bundles.one_step() == BUNDLES


def test_use_of_units_and_spills_are_weighted_by_turns():
  bundles = _parse(VALU={0x4: 2, 0x13: 1}, VSTORE_SPILL={0x11: 1, 0x9: 1})
  assert bundles.unit_use()["VALU"] == pytest.approx(
    (2 * 4 + 1) / (4 * bundles.one_step())
  )
  assert bundles.spills() == (1 + 4, 0)


def test_calls_are_read_in_order():
  program = PROGRAM.replace(
    "0x12   : > { %13 = vst [vmem:[%s1_s0]] %v2_v2 }",
    "0x12   : > { %13 = inlined_call %s1_s0 /* %copy.3 = copy(%x) */ }",
  )
  assert _parse(program).calls == ((0x12, "copy.3"),)


def test_a_branch_to_the_exit_may_lack_its_mark():
  program = PROGRAM.replace("Start/End empty region 30", "End region 29")
  bundles = _parse(program.replace("0x1a   :", "0x1a PF:"))
  assert bundles.branches == (Branch(0x11, 0x1A),)


def test_another_compilers_dump_is_refused():
  with pytest.raises(ValueError, match="not one line per bundle"):
    _parse(PROGRAM.replace("   0x2   :", "   bundle 2:"))
  with pytest.raises(ValueError, match="unknown region 30"):
    _parse(PROGRAM.replace("Start/End empty region 30", ""))
  with pytest.raises(ValueError, match="units .* in the dump"):
    text = utilization().replace("EUP", "TRANSCENDENTAL")
    parse_bundles("kernel", PROGRAM, text)
  with pytest.raises(ValueError, match="for 27 bundles"):
    parse_bundles("kernel", PROGRAM, "\n".join(utilization().split("\n")[:9]))
