# SPDX-License-Identifier: Apache-2.0
"""Every form of every config is complete and builds; what differs in its parts
is traced and trained."""

import dataclasses
import functools
import hashlib
import importlib
import inspect
import json
import pathlib

from absl import flags
from ml_collections import ConfigDict, config_flags
import pytest

from configs import generators
from genrec_jax.cli import train
from genrec_jax.core.build import build, build_options, to_plain
from genrec_jax.data import GlobalTime
from genrec_jax.data.dataset.catalog import Catalog
from genrec_jax.data.pipeline.pipeline import training_batches
from genrec_jax.data.prepare import encode
from genrec_jax.data.prepare.preparation import prepare
from genrec_jax.data.sources import Files
from genrec_jax.experiment import checks
from genrec_jax.experiment.experiment import Run
from genrec_jax.experiment.options import PipelineOptions
from genrec_jax.experiment.sections import check_config
from genrec_jax.experiment.stages import STAGES, StageJob
from genrec_jax.semantic_ids import stages
from genrec_jax.tpu.compile import steps_of
from genrec_jax.train.loop import LoopOptions
from genrec_jax.train.parameter_source import ParameterSource
from tests import commands
from tests.config_parts import with_every_pair, with_every_part

_ROOT = pathlib.Path(__file__).resolve().parents[1]
# What configs share.
_SHARED = ("__init__", "commerce", "common", "files", "generators", "kuairand")
_NAMES = sorted(
  p.stem for p in (_ROOT / "configs").glob("*.py") if p.stem not in _SHARED
)
_FORMS = [
  (name, "-".join(filter(None, (variant, "quicktest"))))
  for name in _NAMES
  for variant in ("", *importlib.import_module(f"configs.{name}")._VARIANTS)
  if variant != "quicktest"
]
# Their codes come from a run that is trained first.
_LATER = [
  (name, form)
  for name, form in _FORMS
  if "before" in importlib.import_module(f"configs.{name}").get_config(form)
]
# The same, and its small form, in both sizes.
_BUILT_ON = [
  (name, form.removesuffix("-quicktest") if full else form)
  for name, form in (*_LATER, ("tiger_files", "rqvae-small-quicktest"))
  for full in (False, True)
]
# They make item tokens, and train nothing.
_TOKENS_ONLY = ("rqkmeans_amazon",)
# These are trained elsewhere, and what comes of it is evaluated or asked:
_END_TO_END = {
  ("hstu_joint_movielens", "quicktest"): "tests/end_to_end/test_joint.py",
  ("hstu_movielens", "quicktest"): "tests/end_to_end/conftest.py",
  ("tiger_amazon", "quicktest"): "tests/end_to_end/test_tokens.py",
  ("tiger_amazon", "decoder_only-quicktest"): "tests/end_to_end/test_tokens.py",
  ("hstu_ranking_kuairand", "quicktest"): "tests/scripts/test_rank.py",
  ("cobra_amazon", "quicktest"): "colabs/06_sparse_and_dense.ipynb",
  (
    "liger_amazon",
    "cold_start-quicktest",
  ): "colabs/06_sparse_and_dense.ipynb",
  ("cobra_amazon", "text-quicktest"): "tests/sharding/test_item_content.py",
}
# tests/serving/test_fit.py trains tiger_files.
_ELSEWHERE = {*_TOKENS_ONLY, *(name for name, _ in _END_TO_END), "tiger_files"}
_TRAINED = with_every_part(
  [n for n in _NAMES if n not in _ELSEWHERE], _END_TO_END
)
_BUILT = [form for form in _FORMS if form not in _LATER]
_OF_THE_DATA = ("data", "split", "filter")
# Sections of artifacts, and what these depend on beside the data.
_MADE_OF = {
  "content": (),
  "tokens": ("content", "collaborative"),
  "lists": (),
}


def _check(config):
  """The plain config, with the sections that training needs."""
  config = to_plain(config)
  if config["name"].startswith(_TOKENS_ONLY):
    return config
  return check_config(config)


@pytest.mark.parametrize(("name", "form"), _END_TO_END)
def test_what_is_trained_elsewhere_is_named_there(name, form):
  text = (_ROOT / _END_TO_END[name, form]).read_text()
  assert (name, form) in _FORMS and name in text
  assert form.removesuffix("quicktest").removesuffix("-") in text


@pytest.mark.parametrize("name", _NAMES)
def test_a_config_is_complete_and_documented(name):
  module = importlib.import_module(f"configs.{name}")
  config = _check(module.get_config())
  assert config["name"] == name
  quick = _check(module.get_config("quicktest"))
  assert quick["name"] == f"{name}-quicktest"
  for part in ("scripts/", "--workdir", "Expected", "CPU core"):
    if name.endswith(("_files", *_TOKENS_ONLY)) and part == "Expected":
      continue  # nobody knows a user's data, and tokens have no metric
    assert part in module.__doc__, f"{name}'s docstring lacks {part!r}"


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize("variant", ["", "quicktest"])
def test_every_filter_option_is_there_at_its_default(name, variant):
  module = importlib.import_module(f"configs.{name}")
  parameters = inspect.signature(encode).parameters.values()
  options = {p.name: p.default for p in parameters if p.name != "raw"}
  assert _check(module.get_config(variant))["filter"] == options


def _fields(cls):
  return {
    f.name: None if f.default is dataclasses.MISSING else f.default
    for f in dataclasses.fields(cls)
  }


def test_every_field_of_files_is_there_at_its_default():
  module = importlib.import_module("configs.hstu_files")
  node = check_config(module.get_config())["data"]
  assert node.pop("name") == "sources.Files"
  plain = {k: tuple(v) if isinstance(v, list) else v for k, v in node.items()}
  assert plain == {**_fields(Files), "path": ""}


@pytest.mark.parametrize(
  "name",
  [
    "hstu_files",
    "hstu_movielens",
    "hstu_synthetic",
    "sasrec_files",
    "sasrec_movielens",
  ],
)
def test_global_time_is_a_variant_with_every_field(name):
  module = importlib.import_module(f"configs.{name}")
  config = check_config(module.get_config("global_time"))
  assert config["name"] == f"{name}-global_time"
  assert build(config["split"]) == GlobalTime()
  assert config["split"].keys() == {"name", *_fields(GlobalTime)}


# Sections that say what the model is, and what it is trained to say.
_MODEL = ("system", "objective", "tokens")


@pytest.mark.parametrize("name", _NAMES)
def test_a_title_is_a_published_name_and_says_what_a_variant_changes(name):
  module = importlib.import_module(f"configs.{name}")
  full = to_plain(module.get_config())
  assert full["title"] and full["title"] != name
  assert to_plain(module.get_config("quicktest"))["title"] == full["title"]
  for variant in set(module._VARIANTS) - {"quicktest"}:
    other = to_plain(module.get_config(variant))
    if any(full.get(part) != other.get(part) for part in _MODEL):
      assert other["title"] != full["title"], variant


@pytest.mark.parametrize("name", _NAMES)
def test_an_unknown_variant_is_an_error(name):
  module = importlib.import_module(f"configs.{name}")
  with pytest.raises(ValueError, match="Did you mean 'quicktest'"):
    module.get_config("quicktst")


# How ml_collections reads a file.
@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
@pytest.mark.parametrize("name", sorted({*_NAMES} - {*_TOKENS_ONLY}))
def test_pretrained_parameters_are_named_on_the_command_line(name):
  values = flags.FlagValues()
  path = _ROOT / "configs" / f"{name}.py"
  part = "{'a/b': {'path': 'runs/x', 'prefix': 'b'}}"
  arguments = ["", f"--config={path}", f"--config.train.pretrained={part}"]
  config_flags.DEFINE_config_file(
    "config", flag_values=values, sys_argv=arguments
  )
  values(arguments)
  for config, sources in (
    (importlib.import_module(f"configs.{name}").get_config(), {}),
    (values.config, {"a/b": ParameterSource("runs/x", "b")}),
  ):
    options = check_config(config)["train"]
    options = build_options(LoopOptions, options, where="config.train")
    assert options.pretrained == sources


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
  """The folder of the data set of a config; many configs share one."""
  folders = {}

  def prepare_once(config):
    wanted = {part: to_plain(config)[part] for part in _OF_THE_DATA}
    key = json.dumps(wanted, sort_keys=True)
    if key not in folders:
      folders[key] = tmp_path_factory.mktemp("prepared") / "data"
      parts = [build(wanted[part]) for part in ("data", "split")]
      prepare(*parts, folders[key], **wanted["filter"])
    return folders[key]

  return prepare_once


def _share_artifacts(config):
  """Names folders beside the data, one for each way to make an artifact: what
  the first config has made, the others find up to date."""
  plain = to_plain(config)
  for section, others in _MADE_OF.items():
    if plain.get(section):
      made_of = [plain.get(part) for part in (section, *others)]
      text = json.dumps(made_of, sort_keys=True).encode()
      folder = f"{section}-{hashlib.sha256(text).hexdigest()[:16]}"
      place = pathlib.Path(config.prepared).parent / folder
      config[section].directory = str(place)


@functools.cache
def _traced():
  """Which forms to trace, found out when they are."""
  return with_every_pair(_BUILT)


@pytest.mark.parametrize(("name", "form"), _BUILT)
def test_every_form_builds(name, form, prepared, tmp_path, request):
  config = importlib.import_module(f"configs.{name}").get_config(form)
  config.prepared = str(prepared(config))
  _share_artifacts(config)
  plain, workdir = to_plain(config), tmp_path / "run"
  if "content" in plain:
    catalog = Catalog(plain["prepared"])
    stages.make_vectors(plain, catalog, workdir)
    if "tokens" in plain:
      tokens = stages.make_tokens(plain, catalog, workdir)
      assert tokens.for_catalog(catalog.ids).shape[0] == len(catalog.ids)
  if name not in _TOKENS_ONLY:
    run = Run.start(config, workdir)
    run.check_evals()
    if request.config.getoption("--full") and (name, form) in _traced():
      _trace(run)
    else:
      assert run.abstract_params()


def _trace(run):
  """A step of training, on the shapes that its data come in."""
  options, program = run.pipeline, run.program()
  batch = next(
    training_batches(
      run.source,
      options.layout,
      batch_size=options.batch_size,
      row_length=options.row_length,
      seed=run.seed,
    )
  )
  expected = program.abstract_batch()
  assert {n: (x.shape, x.dtype) for n, x in batch.items()} == {
    n: (x.shape, x.dtype) for n, x in expected.items()
  }
  with program.in_force():
    (step,) = steps_of(program, ("train",))
    step.function.trace(*step.arguments)


@pytest.mark.parametrize(
  ("name", "form"),
  [f for f in _FORMS if not f[0].startswith(_TOKENS_ONLY)],
)
def test_lengths_fit_in_full_size_too(name, form):
  """What quicktest replaces would be found out only with the data there."""
  full = "-".join(v for v in form.split("-") if v != "quicktest")
  config = importlib.import_module(f"configs.{name}").get_config(full)
  plain = to_plain(config)
  options = build_options(PipelineOptions, plain["pipeline"], where="pipeline")
  assert options.row_length >= options.layout.max_length
  assert options.batch_size % options.readers == 0
  system = build(plain["system"], where="system", num_items=100)
  checks.check_length(system, options.layout)
  options.layout.check_system(system)
  checks.check_tasks(build(plain["objective"]), options.layout)


@pytest.mark.parametrize(("name", "form"), _BUILT_ON)
def test_what_is_trained_first_is_of_the_same_items(name, form):
  config = importlib.import_module(f"configs.{name}").get_config(form)
  *_, file = config.before.values()
  path, _, variants = file.partition(":")
  stem = pathlib.Path(path).stem
  first = importlib.import_module(f"configs.{stem}").get_config(variants)
  for section in ("data", "split"):
    assert to_plain(config[section]) == to_plain(first[section])
  if "quantizer" not in first.system:
    return  # It has items of its own, and no codes.
  assert to_plain(config.content) == to_plain(first.content)
  encoder = first.content.encoder
  if "width" in encoder:
    assert first.system.vector_width == encoder.width
  assert first.pipeline.layout.width == first.system.vector_width
  sizes = first.system.quantizer.level_sizes
  if "tokens" not in config:  # A second stage of what is trained first.
    assert config.system.quantizer == first.system.quantizer
    return
  last = config.tokens.unique.get("size")
  assert config.system.level_sizes == ((*sizes, last) if last else sizes)


def test_what_goes_on_has_the_rate_that_is_said():
  for usual in (1e-3, 2e-3):
    values = {"train": {}, "optimizer": {"learning_rate": usual}}
    config = ConfigDict(values)
    config.train.steps = 9
    generators.goes_on(config, {}, steps=7)
    assert config.optimizer.learning_rate == 1e-4 and config.train.steps == 7
  assert "learning rate of 1e-4." in generators.goes_on.__doc__


def test_what_is_trained_first_is_told_of_the_data(tmp_path):
  config = importlib.import_module("configs.tiger_files").get_config("rqvae")
  config.data.update(path="log.csv", user="who", quote="", timestamp="")
  config.data.update(items_path="items.csv", items_attributes=("brand", "a'b"))
  job = StageJob(to_plain(config), (), tmp_path)
  (before,) = (stage for stage in STAGES if stage.name == "before")
  ((command, *words),) = before.commands(job)
  assert command == "train"
  train.COMMAND.parse("train", words)
  assert to_plain(train.COMMAND.config.value.data) == to_plain(config.data)


def test_what_is_trained_first_reads_the_same_words(tmp_path):
  config = importlib.import_module("configs.lemur_synthetic")
  job = StageJob(to_plain(config.get_config("frozen")), (), tmp_path)
  stages_of = {stage.name: stage for stage in STAGES}
  (before,) = stages_of["before"].commands(job)
  assert f"--config.text_tokens.directory={tmp_path / 'text_tokens'}" in before
  (training,) = stages_of["training"].commands(job)
  assert f"'path': '{tmp_path / 'contrast'}'" in training[-1]
  for part in ("item_encoder", "query_encoder"):
    assert f"'{part}': {{" in training[-1]


@pytest.mark.parametrize(
  ("form", "first", "flag"),
  [
    ("letter", "sasrec", "--config.collaborative.workdir={}"),
    ("engagement", "rqvae", "--config.train.pretrained={{'': {{'path': '{}', "),
  ],
)
def test_a_run_before_takes_from_the_one_ahead_of_it(
  form, first, flag, tmp_path
):
  config = importlib.import_module("configs.tiger_amazon").get_config(form)
  job = StageJob(to_plain(config), (), tmp_path)
  (before,) = (stage for stage in STAGES if stage.name == "before")
  ahead, behind = before.commands(job)
  assert f"--workdir={tmp_path / first}" in ahead
  wanted = flag.format(tmp_path / first)
  assert any(word.startswith(wanted) for word in behind)
  assert not any(word.startswith(flag.split("=")[0]) for word in ahead)


def test_a_config_that_trains_nothing_says_what_it_is_for():
  config = importlib.import_module("configs.rqkmeans_amazon").get_config()
  with pytest.raises(ValueError, match="use genrec tokenize or"):
    check_config(config)


def _smaller(config):
  """Flags for little width, and for one of layers that are alike."""
  system = config.get("system", {})
  backbone = system.get("backbone", {})
  flags = {}
  if "key_width" in backbone and system.width > 64:
    flags["width"] = 64
    flags["backbone.key_width"] = 64 // backbone.num_heads
    flags["backbone.value_width"] = 64 // backbone.num_heads
  if not backbone.get("scan"):
    layers = {"num_layers", "num_encoder_layers", "num_decoder_layers"}
    flags |= {f"backbone.{name}": 1 for name in sorted(layers & {*backbone})}
  return [f"--config.system.{name}={value}" for name, value in flags.items()]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*_TRAINED, *_TOKENS_ONLY])
def test_three_steps_of_training(name, prepared, tmp_path):
  config = importlib.import_module(f"configs.{name}").get_config("quicktest")
  script = ["train.py", *_smaller(config)]
  if {"content", "text_tokens"} & {*config}:
    script[:1] = ["run.py", "--stop_after=training"]
  done = commands.run(
    [
      _ROOT / "scripts" / script[0],
      f"--config={_ROOT / 'configs' / name}.py:quicktest",
      f"--workdir={tmp_path / 'run'}",
      f"--config.prepared={prepared(config)}",
      *script[1:],
    ]
  )
  assert done.returncode == 0, done.stderr
  if name in _TOKENS_ONLY:
    assert (tmp_path / "run" / "tokens" / "quality.html").is_file()
  else:
    assert "all 3 steps done" in done.stdout


@pytest.mark.parametrize(
  ("name", "form"),
  [
    ("tiger_amazon", "decoder_only-small"),
    ("tiger_amazon", "rqvae-letter"),
    ("tiger_amazon", "user_token-decoder_only"),
    ("tiger_amazon", "user_token-lazy"),
    ("tiger_amazon", "lazy-small"),
    ("generator_amazon", "hstu-hstu_order"),
    ("generator_amazon", "no_items-vector"),
    ("generator_amazon", "fused-vector"),
    ("varlen_amazon", "long-short"),
    ("tiger_varlen_amazon", "long-short"),
    ("dense_amazon", "full-negatives"),
    ("letter_amazon", "codes-no_alignment"),
  ],
)
def test_variants_of_which_one_would_be_ignored_exclude_each_other(name, form):
  module = importlib.import_module(f"configs.{name}")
  with pytest.raises(ValueError, match="exclude each other: name one"):
    module.get_config(form)


def test_quick_forms_keep_the_protocol_of_unseen_items():
  for name, form in (
    ("tiger_amazon", "cold_start"),
    ("liger_amazon", "cold_start-last_20"),
  ):
    module = importlib.import_module(f"configs.{name}")
    whole, quick = (
      module.get_config(f"{form}{end}").filter for end in ("", "-quicktest")
    )
    assert quick.hold_out_items == whole.hold_out_items > 0
    assert quick.last_events == whole.last_events


def test_lists_of_actions_reach_layout_and_model():
  module = importlib.import_module("configs.hstu_files")
  form = "small-actions/actions=click,buy/targets=buy/weights=buy=5"
  config = module.get_config(form)
  layout = config.pipeline.layout
  assert layout.actions == ("click", "buy") and config.system.num_actions == 2
  assert layout.target_actions == ("buy",)
  assert layout.action_weights.to_dict() == {"buy": 5.0}
  assert config.title == "HSTU (small, actions)"
  with pytest.raises(ValueError, match="an action and a number"):
    module.get_config("actions/weights=buy")
  with pytest.raises(ValueError, match="variant `actions`: name it too"):
    module.get_config("small/targets=buy")
