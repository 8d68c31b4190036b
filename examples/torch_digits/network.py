"""The network that is studied, and how it is trained, as its settings say."""

import os

import torch
from torch import nn

from pytest_ablation import Progress

SETTINGS = {
    "hidden": [64, 64],
    "activation": "ReLU",
    "batch_norm": True,
    "dropout": 0.25,
    "epochs": 15,
    "batch_size": 32,
    "learning_rate": 1e-3,
}


def network(settings, inputs, classes):
    """Return hidden layers, each with what the settings give it, and a linear classifier."""
    layers = []
    for width in settings["hidden"]:
        layers.append(nn.Linear(inputs, width))
        layers += [nn.BatchNorm1d(width)] if settings["batch_norm"] else []
        layers += [getattr(nn, settings["activation"])(), nn.Dropout(settings["dropout"])]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, classes))


def train(trial, data, progress):
    """Train the network, from its last checkpoint where there is one; return what it is worth."""
    settings = trial.config
    torch.manual_seed(trial.seed)
    x, y = torch.tensor(data.x_train), torch.tensor(data.y_train)
    model = network(settings, x.shape[1], len(data.classes))
    optimizer = torch.optim.Adam(model.parameters(), lr=settings["learning_rate"])
    names = ("loss", "val_loss", "accuracy", "val_accuracy")
    curves: dict[str, list[float]] = {name: [] for name in names}
    done = resumed(progress.checkpoint, model, optimizer, curves)

    for epoch in range(done, settings["epochs"]):
        model.train()
        for batch in torch.randperm(len(x)).split(settings["batch_size"]):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
        for name, value in zip(curves, measured(model, data), strict=True):
            curves[name].append(value)
        keep(progress.checkpoint, model, optimizer, curves, epoch + 1)
        progress(Progress(epoch + 1, settings["epochs"], accuracy=curves["accuracy"][-1]))

    with torch.no_grad():
        predicted = model.eval()(torch.tensor(data.x_test)).argmax(1)
    return {
        "loss": curves["val_loss"][-1],
        "accuracy": curves["val_accuracy"][-1],
        "train_accuracy": curves["accuracy"][-1],
        "curves": curves,
        "correct": predicted.numpy() == data.y_test,
        "params": sum(each.numel() for each in model.parameters()),
    }


@torch.no_grad()
def measured(model, data):
    """Return loss and test loss, accuracy and test accuracy, in inference mode."""
    model.eval()
    losses, accuracies = [], []
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        output, labels = model(torch.tensor(x)), torch.tensor(y)
        losses.append(nn.functional.cross_entropy(output, labels).item())
        accuracies.append((output.argmax(1) == labels).float().mean().item())
    return *losses, *accuracies


def keep(path, model, optimizer, curves, epoch):
    """Keep where the training is, so that one that is killed goes on from here."""
    if path is None:
        return
    state = [model.state_dict(), optimizer.state_dict(), torch.get_rng_state(), curves, epoch]
    torch.save(state, f"{path}.part")
    os.replace(f"{path}.part", path)


def resumed(path, model, optimizer, curves):
    """Go on from what was kept, and return how many epochs are done."""
    if path is None or not path.exists():
        return 0
    weights, moments, random, known, epoch = torch.load(path)
    model.load_state_dict(weights)
    optimizer.load_state_dict(moments)
    torch.set_rng_state(random)
    curves.update(known)
    return epoch
