"""What a task needs in the process that does it, beside its data: as plain data, and made ready."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_ablation.network.given import Given


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a task needs.

    Attributes:
        modules: Files of the user's own modules, by name.
        initial: What gives the weights that trainings start from, by their fingerprint.
        resources: What it is given on a cluster; empty for the cluster's default.
    """

    modules: Mapping[str, str] = field(default_factory=dict)
    initial: Mapping[str, Callable[[], Given]] = field(default_factory=dict)
    resources: str = ""

    def provide(self) -> None:
        """Make it ready in this process.

        Modules are imported as pytest did, which may have found them by their files alone.
        """
        if self.initial:
            from pytest_ablation.training import initial

            initial.provide(self.initial)
        for name, file in self.modules.items():
            known = sys.modules.get(name)
            if known is None:
                with suppress(ImportError):
                    known = importlib.import_module(name)
            if getattr(known, "__file__", None) == file:
                continue
            spec = importlib.util.spec_from_file_location(name, file)
            if spec is not None and spec.loader is not None:
                module = importlib.util.module_from_spec(spec)
                sys.modules[name] = module
                spec.loader.exec_module(module)
