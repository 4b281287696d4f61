# SPDX-License-Identifier: Apache-2.0
"""The command: it becomes ready, drains on SIGTERM, and keeps what it took."""

import concurrent.futures
import os
import re
import shutil
import signal
import time

import httpx
import pytest

from genrec_jax.cli import main, serve
from tests import commands
from tests.service.fakes import STORED


def _value(client, text):
  found = re.search(
    rf"^{re.escape(text)} (\S+)$", client.get("/metrics").text, re.M
  )
  return 0.0 if found is None else float(found[1])


class _Running:
  """`genrec serve` on a free port, once it is ready."""

  def __init__(self, workdir, log):
    self.log = log
    with log.open("w") as file:
      self.command = commands.Command(
        [
          str(commands.ROOT / "scripts" / "serve.py"),
          f"--workdir={workdir}",
          "--port=0",
          "--batches=1,4",
          "--golden=2",
          "--deadline_ms=20000",
        ],
        stdout=file,
        stderr=file,
      )
    self._until(lambda text: "listening: " in text)
    url = re.search(r"listening: (\S+)", log.read_text())[1]
    self.client = httpx.Client(base_url=url, timeout=30)
    # It says so before a model is there.
    assert self.client.get("/health/live").status_code == 200
    self._until(lambda text: "ready: version v1" in text)
    assert self.client.get("/health/ready").status_code == 200

  def _until(self, said):
    deadline = time.monotonic() + 120
    while not said(self.log.read_text()):
      assert self.command.poll() is None, self.log.read_text()
      assert time.monotonic() < deadline
      time.sleep(0.05)


@pytest.mark.slow
def test_it_drains_on_sigterm_and_loses_nothing_on_sigkill(tmp_path):
  workdir = shutil.copytree(STORED, tmp_path / "run")
  running = _Running(workdir, tmp_path / "log")
  client = running.client
  event = {"event_id": 1, "user_id": "new", "item": "i38", "time": 1.7e9}
  assert client.post("/v1/events", json=[event]).status_code == 200
  assert client.post("/v1/recommend", json={"user_id": "new"}).json()["items"]
  assert _value(client, 'genrec_compilations_total{thread="model"}') == 0
  # A second service on the store is refused, and says why.
  done = commands.run(
    [str(commands.ROOT / "scripts" / "serve.py"), f"--workdir={workdir}"]
  )
  assert done.returncode == 1 and "in use by another service" in done.stderr
  assert len(done.stderr.splitlines()) == 1
  running.command.kill()
  assert running.command.wait(20) == -signal.SIGKILL
  client.close()

  running = _Running(workdir, tmp_path / "log2")
  again = running.client.post("/v1/events", json=[event]).json()
  assert again["events"][0]["outcome"] == "duplicate"
  answer = running.client.post("/v1/recommend", json={"user_id": "new"}).json()
  assert not answer["degraded"]

  def ask(n):
    try:
      answer = running.client.post("/v1/recommend", json={"user_id": f"u{n}"})
    except (httpx.ConnectError, httpx.ReadError):
      # Refused, or reset by the system where the service had not taken it yet.
      # What it had taken and did not answer would be a RemoteProtocolError.
      return "not accepted"
    return answer.status_code

  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    asked = [pool.submit(ask, n) for n in range(200)]
    concurrent.futures.wait(asked[:40])
    running.command.send_signal(signal.SIGTERM)
    found = [one.result() for one in asked]
  assert running.command.wait(30) == 0
  assert found.count(200) >= 40 and {*found} <= {200, 503, "not accepted"}
  running.client.close()


def test_a_missing_extra_is_an_error_of_a_line(monkeypatch, capsys):
  monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
  assert main.start(["serve", "--workdir=w"]) == 1
  said = capsys.readouterr().err
  assert said.count("\n") == 1 and "pip install 'genrec_jax[serve]'" in said


@pytest.mark.parametrize(
  ("flags", "said"),
  [
    (["--host=0.0.0.0"], "--admin_port"),
    (["--batches=4,1"], "ascend"),
    (["--lists=a"], "--lists=a"),
    (["--port=-1"], "at least 0"),
  ],
)
def test_flags_that_cannot_be(flags, said, capsys, tmp_path):
  assert main.start(["serve", f"--workdir={tmp_path}", *flags]) in (1, 2)
  assert said in capsys.readouterr().err
  assert os.listdir(tmp_path) == []


def test_its_help_names_what_it_needs():
  assert "genrec_jax[serve]" in serve.COMMAND.help("serve")
