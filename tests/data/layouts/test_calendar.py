# SPDX-License-Identifier: Apache-2.0
"""Which calendar a layout gives: that of the time that is asked about, in the
zone that the source declares."""

import datetime

import pytest

from configs import hstu_files
from genrec_jax.data.local_time import LocalTime
from genrec_jax.data.pipeline.pipeline import training_batches
from genrec_jax.data.sources import Files
from genrec_jax.experiment.experiment import Run

_TOKYO = datetime.timezone(datetime.timedelta(hours=9))
# A minute before midnight of New Year's Eve in Tokyo, and every 7 hours after.
_START = 1_767_193_140


def _config(path, zone, header="user,item,timestamp"):
  lines = [
    f"{user},{event % 5},{_START + event * 25_200 + user}"
    for user in range(3)
    for event in range(6)
  ]
  path.write_text("\n".join([header, *lines]) + "\n")
  config = hstu_files.get_config("calendar-quicktest")
  config.data = hstu_files.get_config().data
  config.data.update(path=str(path), time_zone=zone)
  return config


def test_it_is_that_of_the_label_in_the_sources_zone(tmp_path):
  run = Run.start(_config(tmp_path / "log.csv", "Asia/Tokyo"), tmp_path / "run")
  assert run.histories.manifest.epoch_seconds == _START
  assert run.pipeline.layout.local_time == LocalTime(_START, "Asia/Tokyo")
  batch = next(
    training_batches(
      run.histories, run.pipeline.layout, batch_size=2, row_length=32, seed=0
    )
  )
  real = batch["segment_ids_BL"] > 0
  assert real.any() and (batch["query_time_BL"] > batch["time_BL"])[real].all()
  for time, numbers in zip(
    batch["query_time_BL"][real].tolist(),
    batch["calendar_BLC"][real].tolist(),
    strict=True,
  ):
    moment = datetime.datetime.fromtimestamp(_START + time, _TOKYO)
    assert numbers == [
      moment.hour * 3600 + moment.minute * 60 + moment.second,
      moment.weekday(),
      moment.month - 1,
      moment.timetuple().tm_yday - 1,
    ]


def test_a_log_without_times_has_no_calendar(tmp_path):
  config = _config(tmp_path / "log.csv", "UTC", header="user,item,number")
  config.data.timestamp = None
  with pytest.raises(ValueError, match="layout.calendar=True reads times"):
    Run.start(config, tmp_path / "run")


def test_a_source_in_an_unknown_zone_is_refused():
  with pytest.raises(
    ValueError, match="time_zone='Mars/Olympus' is no time zone's"
  ):
    Files("log.csv", time_zone="Mars/Olympus")
