"""The pipeline that is studied: scaling, PCA and a random forest, as its settings say."""

from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SETTINGS = {
    "scale": True,
    "pca": {"components": 30, "whiten": False},
    "forest": {"n_estimators": 100, "max_depth": None, "max_features": "sqrt"},
}


def forest(trial, data, progress):
    """Fit the pipeline; return what it gets right of the test set, and how large its trees are."""
    settings = trial.config
    steps = [StandardScaler()] if settings["scale"] else []
    if pca := settings["pca"]:
        steps.append(PCA(pca["components"], whiten=pca["whiten"], random_state=trial.seed))
    steps.append(RandomForestClassifier(**settings["forest"], random_state=trial.seed))
    model = make_pipeline(*steps).fit(data.x_train, data.y_train)
    correct = model.predict(data.x_test) == data.y_test
    return {
        "accuracy": correct.mean(),
        "train_accuracy": model.score(data.x_train, data.y_train),
        "correct": correct,
        "params": sum(tree.tree_.node_count for tree in model[-1].estimators_),
    }
