# SPDX-License-Identifier: Apache-2.0
"""Public names: each resolves, is what it says, and old paths are refused."""

import importlib

import pytest

from genrec_jax.content.tfidf import TfidfSvd
from genrec_jax.core import names
from genrec_jax.data.layouts.next_item import NextItem
from genrec_jax.train.optimizers import adamw

# Names that configs, workdirs and artifacts hold. One that is gone breaks what
# people have stored: a new name may be added, none may be changed.
_STORED = """
backbones.CausalTransformer backbones.CrossCausal backbones.EncoderDecoder
backbones.HSTU backbones.LazyDecoder backbones.MergedHistory
backbones.PreNormDecoder backbones.PreNormTransformer backbones.ResearchSASRec
backbones.STU content.FittedTfidf content.NumberList content.PercentileWords
content.TextEncoder content.TfidfSvd data.GlobalTime data.LeaveOneOut
data.TokenGrammar dataset.Audience dataset.Baskets dataset.Feedback
dataset.NextItems dataset.UserPart evaluation.BeyondAccuracy evaluation.ByScene
evaluation.CodeQuality evaluation.Decoding evaluation.IncrementalRecall
evaluation.ListAuc evaluation.ListRecall evaluation.NextItem
evaluation.ServedList evaluation.ShownItems evaluation.TakenItems
evaluation.WithinRequests experiment.ItemKnnLists experiment.ListRewards
experiment.PopularLists experiment.RunLists experiment.TableLists
experiment.TrainedTokenizer features.AtLeast features.Feature
features.FeatureSet features.Hashed features.LogBuckets features.Percentiles
features.Vocabulary features.WatchPercentiles layers.Concat layers.ContentGrid
layers.CrossHead layers.CrossNetwork layers.DifferenceProduct
layers.DotInteraction layers.EventMerge layers.ExpertFeedForward
layers.FactorizationMachine layers.FeatureGroups layers.FeedForward
layers.GroupTokens layers.HeadMixing layers.LinearHead layers.MMoE
layers.MemoryBank layers.MixBlock layers.MixRevertBlock layers.MixingStack
layers.MixtureOfExperts layers.OuterProduct layers.ReluRouter
layers.ResidualQuantizer layers.RotaryPositions layers.RotaryTime
layers.RowSampling layers.SharedMlp layers.SiluAttention layers.SlicedTokens
layers.SlotAttention layers.SlotExperts layers.SlotFeedForward
layers.SoftmaxAttention layers.SumPooling layers.TargetAttention layers.TaskMlp
layers.TopKRouter layers.TwoRouterSlotExperts layers.VectorFeatures
layers.Wukong layouts.ActionOriented layouts.AudienceRows layouts.CatalogRows
layouts.Condition layouts.ConditionItems layouts.Conditions layouts.EventGroups
layouts.EventLists layouts.Fused layouts.Interleaved
layouts.JointActionOriented layouts.JointFused layouts.JointInterleaved
layouts.LabelledLists layouts.LastTaken layouts.ListTargets layouts.NextItem
layouts.PointwiseRows layouts.RequestQuery layouts.SegmentWeights
layouts.ShownTogether layouts.StochasticLength layouts.SuffixLength
layouts.TokenHistory layouts.TokenPrefixes layouts.TokenTargets
layouts.ToldContext layouts.TypedTokens layouts.VectorColumns layouts.Watched
models.ActionRanker models.ConditionItem models.ContentRanker
models.ContextSeq2Seq models.FeatureRanker models.JointRanker models.ListReward
models.ListSeq2Seq models.LongHistoryRanker models.NextItem models.RQVAE
models.SlotRanker models.TokenBaseline models.TokenDecoder models.TokenSeq2Seq
models.TwoTower models.WithReference objectives.AuxLogits
objectives.BinaryCrossEntropy objectives.ByPlace objectives.ByPropensity
objectives.ByTime objectives.CodeCrossEntropy objectives.CoverageWeights
objectives.DAPO objectives.DPO objectives.Distillation objectives.ECPO
objectives.FormatReward objectives.FromLists objectives.FullSoftmax
objectives.GBPO objectives.GRPO objectives.HardBlock objectives.IPO
objectives.InBatchContrastive objectives.InBatchNegatives
objectives.ListCrossEntropy objectives.LoggedPolicy objectives.MemoryFigures
objectives.Mixed objectives.PPOClip objectives.PositiveAware
objectives.Positives objectives.QueryDocumentContrast objectives.Reconstruction
objectives.RoutingLoss objectives.SampledPolicy objectives.SampledSoftmax
objectives.SoftmaxDPO objectives.TakenTargets objectives.TypedCrossEntropy
objectives.UniformPerPosition objectives.UniformShared objectives.WeightedSum
quantizers.MlpQuantizer quantizers.ProductCodes quantizers.ProductQuantization
quantizers.ResidualCodes quantizers.ResidualKMeans retrieval.Beam
retrieval.BeamLists retrieval.BestFirst retrieval.Exact retrieval.PrefixBackOff
retrieval.PrefixMatch retrieval.Quotas retrieval.ReciprocalRank
rewards.TrainedReward rewards.TrueNext rewards.VectorScore rollout.BeamItems
rollout.BestLists rollout.Online rollout.SampleQuality rollout.SampledCodes
rollout.SampledItems rollout.SampledLists rollout.StoredPairs
semantic_ids.DedupLevel semantic_ids.RandomLastLevel
semantic_ids.SinkhornLastLevel simulator.GrowingCatalog simulator.LongMemory
simulator.SearchLog simulator.Synthetic sources.Amazon2014 sources.Files
sources.KuaiRand sources.MovieLens sources.OnlineRetail sources.Otto
sources.RetailRocket train.AtLeast train.Constant train.Cosine
train.DenseAndRowwise train.FallAtMost train.Frozen train.Linear
train.RiseAtMost train.RowwiseAdagrad train.RowwiseAdamW train.adamw
""".split()


@pytest.mark.parametrize("package", names.PACKAGES)
def test_every_name_of_a_package_is_its_own_and_is_stored_under_it(package):
  module = importlib.import_module(names.PACKAGES[package])
  assert list(module.__all__) == sorted(set(module.__all__))
  for name in module.__all__:
    thing = names.resolve(f"{package}.{name}", "config.x")
    if isinstance(thing, type):
      assert names.public_name(thing) == f"{package}.{name}"
      assert thing.__module__.startswith(names.PACKAGES[package])


@pytest.mark.parametrize("name", _STORED)
def test_names_that_people_have_stored_are_still_there(name):
  assert names.resolve(name, "config.x").__name__ == name.split(".")[1]


def test_names_both_ways():
  assert names.public_name(NextItem) == "layouts.NextItem"
  assert names.public_name(adamw) == "train.adamw"
  assert names.public_name(TfidfSvd) == "content.TfidfSvd"

  class Own:
    pass

  assert names.public_name(Own).startswith(Own.__module__)


@pytest.mark.parametrize(
  ("old", "now"),
  [
    ("data.layouts.NextItem", "layouts.NextItem"),
    ("systems.next_item.NextItem", "models.NextItem"),
    ("data.synthetic.Synthetic", "simulator.Synthetic"),
    ("train.optimizers.adamw", "train.adamw"),
    ("tokens.rq_kmeans.ResidualKMeans", "quantizers.ResidualKMeans"),
    ("backbones.interactions.Wukong", "layers.Wukong"),
    ("objectives.negatives.InBatch", "objectives.InBatchNegatives"),
    ("train.impression_ranking.ImpressionRanking", "evaluation.ShownItems"),
  ],
)
def test_the_path_of_a_module_is_refused_by_its_public_name(old, now):
  with pytest.raises(ValueError, match=f"its public name is '{now}'"):
    names.resolve(old, "config.x.name")
  with pytest.raises(ValueError, match="made anew, in another folder"):
    names.check_stored(old, "run/config.json")
  names.check_stored(now, "run/config.json")


@pytest.mark.parametrize(
  ("name", "said"),
  [
    ("layouts.NextItm", "layouts offers no 'NextItm'. Did you mean 'NextItem'"),
    ("layout.NextItem", "Did you mean 'layouts'"),
    ("NextItem", "must be 'package.Name'"),
    ("gone.module.Thing", "it has no such name"),
    ("layouts.annotations", "offers no 'annotations'"),
  ],
)
def test_unknown_names_say_the_choices(name, said):
  with pytest.raises(ValueError, match=said):
    names.resolve(name, "config.x.name")


def test_what_no_package_offers_cannot_be_stored():
  from genrec_jax.core.sharding import Placement

  with pytest.raises(ValueError, match="stored under no public name"):
    names.public_name(Placement)
