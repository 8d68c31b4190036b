"""What each component of the network is worth."""

import pytest

from pytest_ablation import override


def test_the_network_reads_digits(baseline):
    """It tells ten digits apart, nine times better than chance."""
    assert baseline.accuracy >= 0.96


@pytest.mark.ablation(override(batch_norm=False))
def test_batch_normalisation_learns_faster(variant):
    """With as many epochs it gets further."""
    assert variant.accuracy.change <= -0.01


@pytest.mark.ablation(override(activation="Identity"))
def test_a_nonlinearity_is_needed(variant):
    """Without one, all layers together are one linear map."""
    assert variant.accuracy.change <= 0


@pytest.mark.ablation(override(dropout=0.0))
def test_dropout_does_no_good(variant):
    """So short a training does not overfit: Dropout is not worth a point."""
    assert variant.accuracy.change >= -0.01


@pytest.mark.ablation(override(hidden=[64]))
def test_the_second_layer_buys_little(variant):
    """It is half of the parameters, and worth less than two points."""
    assert variant.accuracy.change >= -0.02
    assert variant.params.ratio <= 0.6
