"""How large a session trains: profiles that keep the shape of the training."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pytest_ablation.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How large a session trains.

    Attributes:
        name: "full", "quick" or "smoke".
        share: Share of the training examples, and of the epochs: cut together they keep the passes
            over the data, and with them overfitting, as they are in full.
        most_epochs: Limit on the epochs.
        most_steps: Limit on the steps an epoch.
        most_tested: Limit on the test examples.
        most_seeds: Limit on the seeds.
        decides_nothing: Whether trained quantities tell nothing at this length.
    """

    name: str
    share: float = 1.0
    most_epochs: int | None = None
    most_steps: int | None = None
    most_tested: int | None = None
    most_seeds: int | None = None
    decides_nothing: bool = False

    def recipe(self, recipe: Recipe, examples: int) -> Recipe:
        """Return the recipe at this length; `examples` are those of the whole training set.

        A learning rate's schedule gets shorter with the training, and so keeps its shape.
        """
        epochs = max(1, round(recipe.epochs * self.share))
        seen = examples - recipe.held_out(examples)
        steps = recipe.steps_per_epoch or max(1, seen // recipe.batch_size)
        shorter = replace(
            recipe,
            epochs=min(epochs, self.most_epochs or epochs),
            steps_per_epoch=min(steps, self.most_steps or steps),
        )
        share = shorter.epochs * min(steps, self.most_steps or steps) / (recipe.epochs * steps)
        if share == 1.0:
            return shorter
        from pytest_ablation.training import recipe as recipes

        return recipes.shortened(shorter, share)


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(name="full"),
        Profile(name="quick", share=0.1),
        Profile(
            name="smoke",
            share=0.02,
            most_epochs=2,
            most_steps=5,
            most_tested=500,
            most_seeds=1,
            decides_nothing=True,
        ),
    )
}
