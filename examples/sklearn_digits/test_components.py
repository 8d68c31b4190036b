"""What each component of the pipeline is worth."""

import pytest

from pytest_ablation import override


def test_the_pipeline_reads_digits(baseline):
    """It tells ten digits apart, nine times better than chance."""
    assert baseline.accuracy >= 0.93


@pytest.mark.ablation(override(scale=False))
def test_scaling_does_no_good(variant):
    """Pixels at the border become as loud to PCA as any: scaling is not worth a point."""
    assert variant.accuracy.change >= -0.01


@pytest.mark.ablation(override(pca=None))
def test_pca_harms(variant):
    """A forest takes the pixels as they are, and likes them better."""
    assert variant.accuracy.change >= 0


@pytest.mark.ablation(override(forest={"n_estimators": 10}))
def test_trees_buy_accuracy_with_time(variant):
    """A tenth of the trees fits in less time, and is wrong more often."""
    assert variant.accuracy.change <= -0.02
    assert variant.wall.ratio <= 0.8


@pytest.mark.ablation(override(forest={"max_depth": 3}))
def test_depth_buys_accuracy_with_nodes(variant):
    """Trees that ask three questions are small, and wrong far more often."""
    assert variant.accuracy.change <= -0.05
    assert variant.params.ratio <= 0.2
