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
backbones.CausalTransformer backbones.EncoderDecoder backbones.HSTU
backbones.LazyDecoder backbones.PreNormTransformer backbones.ResearchSASRec
backbones.PreNormDecoder backbones.STU
content.PercentileWords
backbones.STU backbones.CrossCausal backbones.MergedHistory
content.FittedTfidf content.TextEncoder content.TfidfSvd
data.GlobalTime data.LeaveOneOut data.TokenGrammar
dataset.Audience dataset.Baskets
dataset.Feedback dataset.NextItems dataset.UserPart
evaluation.CodeQuality evaluation.Decoding evaluation.NextItem
evaluation.BeyondAccuracy evaluation.IncrementalRecall evaluation.ListAuc
evaluation.ListRecall evaluation.ServedList evaluation.ShownItems
evaluation.TakenItems
experiment.ItemKnnLists experiment.PopularLists experiment.RunLists
experiment.TableLists experiment.ListRewards experiment.TrainedTokenizer
features.AtLeast features.Feature features.FeatureSet features.Hashed
features.LogBuckets features.Percentiles features.Vocabulary
features.WatchPercentiles
layers.Concat layers.CrossNetwork layers.DotInteraction
layers.FactorizationMachine layers.FeedForward layers.LinearHead layers.MMoE
layers.CrossHead layers.DifferenceProduct layers.OuterProduct
layers.RotaryPositions
layers.ExpertFeedForward layers.MixtureOfExperts layers.ReluRouter
layers.ResidualQuantizer layers.RotaryTime layers.SharedMlp
layers.SiluAttention layers.SoftmaxAttention layers.SumPooling
layers.SlotFeedForward layers.SlotExperts layers.TwoRouterSlotExperts
layers.FeatureGroups layers.GroupTokens layers.SlicedTokens
layers.HeadMixing layers.SlotAttention
layers.MixBlock layers.MixRevertBlock layers.MixingStack
objectives.AuxLogits objectives.Distillation
layers.SlotFeedForward layers.EventMerge
layers.TargetAttention layers.TaskMlp layers.TopKRouter layers.Wukong
layouts.ActionOriented layouts.AudienceRows layouts.CatalogRows
layouts.EventGroups layouts.EventLists layouts.Fused layouts.Interleaved
layouts.SegmentWeights
layers.VectorFeatures
layouts.ActionOriented layouts.CatalogRows layouts.EventGroups
layouts.Condition layouts.ConditionItems layouts.Conditions
layouts.VectorColumns models.ConditionItem
layouts.EventLists layouts.Fused layouts.Interleaved layouts.SegmentWeights
layouts.JointActionOriented layouts.JointFused layouts.JointInterleaved
layouts.LabelledLists layouts.ListTargets layouts.ShownTogether
layouts.NextItem layouts.PointwiseRows layouts.StochasticLength
layouts.TokenHistory layouts.TokenPrefixes layouts.TokenTargets
layouts.ToldContext layouts.TypedTokens layouts.Watched
layouts.SuffixLength
models.ActionRanker models.FeatureRanker models.JointRanker models.NextItem
models.ListReward models.ListSeq2Seq models.SlotRanker
models.RQVAE models.TokenDecoder models.TokenSeq2Seq models.TwoTower
models.ContextSeq2Seq models.WithReference models.LongHistoryRanker
models.TokenBaseline objectives.TypedCrossEntropy retrieval.PrefixBackOff
objectives.BinaryCrossEntropy objectives.CodeCrossEntropy
objectives.ByPlace objectives.ByPropensity objectives.ByTime
objectives.FullSoftmax objectives.InBatchContrastive
objectives.InBatchNegatives objectives.Positives objectives.Reconstruction
objectives.ListCrossEntropy objectives.RoutingLoss
objectives.SampledSoftmax objectives.UniformPerPosition
objectives.UniformShared objectives.WeightedSum
objectives.CoverageWeights objectives.FromLists objectives.HardBlock
objectives.Mixed objectives.PositiveAware
objectives.DAPO objectives.DPO objectives.ECPO objectives.GBPO objectives.GRPO
objectives.IPO objectives.PPOClip objectives.SampledPolicy
objectives.SoftmaxDPO objectives.LoggedPolicy objectives.TakenTargets
quantizers.MlpQuantizer quantizers.ProductCodes quantizers.ProductQuantization
quantizers.ResidualCodes quantizers.ResidualKMeans
retrieval.Beam retrieval.BeamLists
retrieval.BestFirst retrieval.Exact retrieval.PrefixMatch
retrieval.Quotas retrieval.ReciprocalRank
rewards.TrainedReward rewards.TrueNext rewards.VectorScore
rollout.BeamItems rollout.Online rollout.SampledItems rollout.SampleQuality
rollout.StoredPairs
semantic_ids.DedupLevel semantic_ids.RandomLastLevel
semantic_ids.SinkhornLastLevel
simulator.GrowingCatalog simulator.Synthetic
simulator.LongMemory simulator.Synthetic
sources.Amazon2014 sources.Files sources.KuaiRand sources.MovieLens
sources.OnlineRetail sources.Otto sources.RetailRocket
train.AtLeast train.FallAtMost train.RiseAtMost
train.Constant train.Cosine train.Frozen train.DenseAndRowwise train.Linear
train.RowwiseAdagrad train.RowwiseAdamW train.adamw
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
