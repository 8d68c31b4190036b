"""What is studied: the pipeline on scikit-learn's own images of handwritten digits."""

import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from pytest_ablation import Dataset, Experiment

from pipeline import SETTINGS, forest


@pytest.fixture(scope="session")
def experiment():
    """Return the pipeline and the images, three in five of them to train on."""
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        x, y, test_size=0.4, random_state=0, stratify=y
    )
    digits = Dataset(
        name="digits",
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        classes=tuple("0123456789"),
        source="scikit-learn",
    )
    return Experiment(SETTINGS, data=digits, train=forest)
