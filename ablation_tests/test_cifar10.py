"""The published study: five trainings, and what its author said of them.

The bounds are those words in numbers. They hold in the full profile and in the quick one, on
CIFAR-10 and on the stand-in.
"""

import pytest
from keras import layers

from ablation_tests.network import cnn
from pytest_ablation import configure, having, leave_one_out, remove

HARMLESS = -0.02  # of accuracy: one margin for all that may go, which five seeds can tell


def test_baseline_learns(baseline):
    """It tells ten classes apart, five times better than chance."""
    assert baseline.accuracy >= 0.50
    assert baseline.params == 736_618


@pytest.mark.ablation(remove(layers.Dropout))
def test_dropout_curbs_overfitting(variant):
    """Without Dropout the network overfits: training accuracy leaves test accuracy behind."""
    assert variant.gap.change >= 0.10
    assert variant.accuracy.change <= -0.01
    assert variant.time.ratio <= 1.05
    assert variant.params.change == 0


@pytest.mark.ablation(configure(layers.MaxPooling2D, pool_size=4) + remove("*3"))
def test_coarse_pooling_is_fast_and_inaccurate(variant):
    """With 4×4 pooling, and so no room for the third block, it is faster and less accurate."""
    assert variant.accuracy.change <= -0.05
    assert variant.time.ratio <= 0.80
    assert variant.params.ratio <= 0.50


@pytest.mark.ablation(remove("*256"))
def test_second_dense_layer_is_useless(variant):
    """Without Dense 256 and its Dropout nothing is lost: it was useless or harmful."""
    assert variant.accuracy.change >= HARMLESS
    assert variant.time.ratio <= 1.05
    assert variant.params.ratio <= 0.90


@pytest.mark.ablation(configure(having(activation="relu"), activation="exponential"))
def test_exponential_activation_collapses(variant):
    """With exponential in the place of relu it stays at chance, and a step costs no less."""
    assert variant.accuracy <= 0.12
    assert variant.accuracy.change <= -0.40
    assert variant.time.ratio >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("variant", leave_one_out(cnn, layers.Dropout), indirect=True)
def test_each_dropout_is_harmless_to_remove(variant):
    """No single Dropout layer is worth more than two points."""
    assert variant.accuracy.change >= HARMLESS
