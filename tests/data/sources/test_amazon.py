# SPDX-License-Identifier: Apache-2.0
"""Amazon 2014 from the publisher's files and from the compact ones."""

import gzip
import json

import pytest

from genrec_jax.data.prepare import encode
from genrec_jax.data.sources import Amazon2014

REVIEWS = [
  ("R1", "A1", 5.0, 1_400_000_000),
  ("R2", "A2", 1.0, 1_300_000_000),
  ("R1", "A2", 4.0, 1_400_000_000),
]
META = [
  {"asin": "A2", "title": 'It\'s "2"', "categories": [["C", "D"], ["E"]]},
  {"asin": "A9", "price": 3, "categories": [["C"]]},
  {"asin": "A1", "categories": [["C", "F"]], "brand": None},
]


def _publish(folder, write):
  with gzip.open(folder / "reviews_Toys_5.json.gz", "wt") as file:
    for user, item, stars, time in REVIEWS:
      row = {"reviewerID": user, "asin": item, "overall": stars}
      row |= {"unixReviewTime": time, "reviewText": "{'asin': 'A7'}"}
      file.write(json.dumps(row) + "\n")
  with gzip.open(folder / "meta_Toys.json.gz", "wt") as file:
    file.writelines(write(row) + "\n" for row in META)


# The publisher's item files are Python literals; some mirrors hold JSON.
@pytest.mark.parametrize("write", [repr, json.dumps])
def test_the_publishers_files(tmp_path, write):
  _publish(tmp_path, write)
  source = Amazon2014("Toys", str(tmp_path))
  sequences = encode(source.read())
  assert sequences.user_ids == ["R1", "R2"]
  assert sequences.items.rows() == [
    ("A2", 'It\'s "2"', ["C > D", "E"]),
    ("A1", "", ["C > F"]),
  ]
  # Equal days keep the order of the file.
  assert sequences.record(0)["item"].tolist() == [2, 1]
  assert sequences.record(0)["value"].tolist() == [5.0, 4.0]
  assert set(source.checksums()) == {
    "reviews_Toys_5.json.gz",
    "meta_Toys.json.gz",
  }


def test_items_are_data_and_never_run(tmp_path):
  _publish(tmp_path, lambda row: f"__import__('os').abort() or {row!r}")
  with pytest.raises(ValueError, match="line 1 of .*meta_Toys.json.gz is"):
    Amazon2014("Toys", str(tmp_path)).read()


def test_files_that_are_missing_or_truncated_are_named(tmp_path):
  with pytest.raises(ValueError, match="needs path= a folder. Download rev"):
    Amazon2014("Toys").read()
  with pytest.raises(ValueError, match="no folder nowhere"):
    Amazon2014("Toys", "nowhere").read()
  with pytest.raises(ValueError, match="holds neither reviews_Toys_5.json.gz"):
    Amazon2014("Toys", str(tmp_path)).read()
  _publish(tmp_path, repr)
  for name in ("meta_Toys.json.gz", "reviews_Toys_5.json.gz"):
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(ValueError, match=f"{name} is truncated or damaged"):
      Amazon2014("Toys", str(tmp_path)).read()


def test_positions_order_the_reviews_of_a_day(tmp_path):
  with gzip.open(tmp_path / "Toys.interactions.csv.gz", "wt") as file:
    file.write("reviewer_id,pos,asin,unix_time\n")
    file.write("R1,1,A2,86400\nR1,0,A1,86400\nR1,2,A3,0\n")
  with gzip.open(tmp_path / "Toys.items.jsonl.gz", "wt") as file:
    file.write('{"asin": "A1", "title": "One"}\n')
  sequences = encode(Amazon2014("Toys", str(tmp_path)).read())
  assert sequences.items["item_id"].to_list() == ["A3", "A1", "A2"]
  assert sequences.items["title"].to_list() == ["", "One", ""]


def test_the_compact_files(shared):
  sequences = encode(
    Amazon2014("Beauty", str(shared / "data/amazon2014")).read()
  )
  assert sequences.counts["out"] == 198_502
  assert (len(sequences.user_ids), len(sequences.items)) == (22_363, 12_101)
  assert sequences.item_table["items_without_row"] == 0
  assert (sequences.offsets[1:] - sequences.offsets[:-1]).min() >= 5
  # The first lines of the file: two reviews of one day, pos 0 and 1.
  record = sequences.record(sequences.user_ids.index("A1YJEY40YUW4SE"))
  ids = ["", *sequences.items["item_id"].to_list()]
  assert [ids[i] for i in record["item"][:2]] == ["B004756YJA", "B004ZT0SSG"]
  row = sequences.items.row(by_predicate=None, index=int(record["item"][0]) - 1)
  assert row[1].startswith("OPI Nail Lacquer, Simmer and Shimmer")
  assert row[2] == ["Beauty > Makeup > Nails > Nail Polish"]


@pytest.mark.parametrize("times", ["", "86400"])
def test_without_any_time_the_order_is_kept(tmp_path, times):
  with gzip.open(tmp_path / "Toys.interactions.csv.gz", "wt") as file:
    file.write("reviewer_id,pos,asin,unix_time\n")
    file.write(f"R1,1,A2,\nR1,0,A1,{times}\nR1,2,A3,\n")
  with gzip.open(tmp_path / "Toys.items.jsonl.gz", "wt") as file:
    file.write('{"asin": "A1", "title": "One"}\n')
  source = Amazon2014("Toys", str(tmp_path))
  if times:
    # Some are missing: that is for the user to decide.
    with pytest.raises(ValueError, match="2 of 3 events have no timestamp"):
      encode(source.read())
    return
  sequences = encode(source.read())
  names = ["", *sequences.items["item_id"]]
  ids = [names[i] for i in sequences.record(0)["item"]]
  assert ids == ["A1", "A2", "A3"]
  assert "time" not in sequences.record(0)
