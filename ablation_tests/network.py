"""The CIFAR-10 network of the published study."""

import keras
from keras import layers


def cnn() -> keras.Model:
    """Return three blocks of convolution, pooling and dropout, and three dense layers."""
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(48, 3, activation="relu", name="conv1"),
            layers.MaxPooling2D(2, name="pool1"),
            layers.Dropout(0.25, name="drop1"),
            layers.Conv2D(96, 3, activation="relu", name="conv2"),
            layers.MaxPooling2D(2, name="pool2"),
            layers.Dropout(0.25, name="drop2"),
            layers.Conv2D(192, 3, activation="relu", name="conv3"),
            layers.MaxPooling2D(2, name="pool3"),
            layers.Dropout(0.25, name="drop3"),
            layers.Flatten(name="flatten"),
            layers.Dense(512, activation="relu", name="dense512"),
            layers.Dropout(0.5, name="drop512"),
            layers.Dense(256, activation="relu", name="dense256"),
            layers.Dropout(0.5, name="drop256"),
            layers.Dense(10, activation="softmax", name="classes"),
        ]
    )
