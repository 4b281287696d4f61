# SPDX-License-Identifier: Apache-2.0
"""Services around formulas, and clients of them."""

import pytest

from genrec_jax.service.app import create_app
from tests.service import fakes
from tests.serving.formula_ranker import formula_ranker, prepared


@pytest.fixture(scope="module")
def service(tmp_path_factory):
  made = fakes.make_service(tmp_path_factory.mktemp("store") / "events")
  yield made
  made.close(5.0)


@pytest.fixture
def client(service):
  return fakes.Client(create_app(service))


@pytest.fixture(scope="module")
def known():
  """Ids of users and items, and the records of the data set."""
  model = fakes.served()
  return model.users.ids, model.catalog.ids, model.histories


@pytest.fixture
def make(tmp_path):
  """A service of one's own, and its client."""
  made = []

  def service(*args, app=None, **options):
    made.append(
      fakes.make_service(tmp_path / f"events{len(made)}", *args, **options)
    )
    return made[-1], fakes.Client(create_app(made[-1], **(app or {})))

  yield service
  for one in made:
    one.close(5.0)


@pytest.fixture(scope="module")
def ranker(tmp_path_factory):
  data = prepared(tmp_path_factory.mktemp("ranking") / "data")
  return formula_ranker(data)
