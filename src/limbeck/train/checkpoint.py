"""Checkpoints of a training run: tensors in safetensors, the rest in JSON, no pickle, replaced atomically."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limbeck.errors import ConfigError, CorruptArtefact
from limbeck.storage import durable
from limbeck.train.history import History

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from limbeck.train.system import System

SECONDS_BETWEEN = 60.0
POINTER = "checkpoint.json"


@dataclass(frozen=True, slots=True)
class State:
    """Where a stopped run stood."""

    step: int
    sums: Mapping[str, float]  # of each term in the epoch that was running
    history: History


class Checkpoint:
    """Saves and restores parameters, optimiser and best parameters of one run.

    The tensors go to a file of their own name; then the pointer, which holds their sha256, is replaced. A crash at any
    moment leaves the earlier checkpoint whole.
    """

    def __init__(self, system: System, optimizer: Optimizer, *, settings: Mapping[str, Any]) -> None:
        self.parameters = {
            f"{name}.{i}": parameter
            for name in sorted(system.train)
            for i, parameter in enumerate(system.groups()[name])
        }
        self.optimizer = optimizer
        self.settings = {**settings, "train": dict(system.train), "terms": sorted(system.objective)}
        self._best: dict[str, Tensor] = {}
        self._saved_at = time.monotonic()

    def keep_as_best(self) -> None:
        """Remember the parameters as they are."""
        self._best = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    def restore_best(self) -> None:
        """Put the remembered parameters back."""
        _copy_into(self.parameters, self._best)

    def is_due(self) -> bool:
        return time.monotonic() - self._saved_at > SECONDS_BETWEEN

    def save(self, folder: Path, state: State) -> None:
        """Write where the run stands, and then forget the checkpoint before."""
        from safetensors.torch import save

        folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"now.{name}": p.detach().clone() for name, p in self.parameters.items()}
        tensors |= {f"best.{name}": value for name, value in self._best.items()}
        for name, parameter in self.parameters.items():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"adam.{key}.{name}"] = value.clone()
        data = save(tensors)
        name = f"step-{state.step:08d}.safetensors"
        durable.write_file(folder / name, data)
        pointer = {
            "file": name,
            "sha256": hashlib.sha256(data).hexdigest(),
            "step": state.step,
            "sums": dict(state.sums),
            "history": state.history.as_json(),
            "settings": self.settings,
        }
        durable.write_file(folder / POINTER, json.dumps(pointer, indent=1, allow_nan=False).encode())
        for old in folder.glob("step-*.safetensors"):
            if old.name != name:
                old.unlink(missing_ok=True)
        self._saved_at = time.monotonic()

    def resume(self, folder: Path) -> State | None:
        """Continue from the checkpoint in `folder`; None where there is none.

        raises  ConfigError when it belongs to a run with other settings; CorruptArtefact when it is damaged
        """
        from safetensors.torch import load

        if not (folder / POINTER).exists():
            return None
        pointer = json.loads((folder / POINTER).read_text())
        changed = {
            k
            for k in {*pointer["settings"], *self.settings}
            if pointer["settings"].get(k) != self.settings.get(k)
        }
        if changed:
            raise ConfigError(
                f"{folder}: this checkpoint was made with other settings of {sorted(changed)}.\n\n"
                "Hint: continue with the same settings, or give another checkpoint folder."
            )
        path = folder / pointer["file"]
        data = path.read_bytes() if path.exists() else b""
        if hashlib.sha256(data).hexdigest() != pointer["sha256"]:
            raise CorruptArtefact(
                f"{path}: missing or damaged (sha256 differs). Delete {folder} to train from the start."
            )
        tensors = load(data)
        _copy_into(self.parameters, _under("now.", tensors))
        self._best = _under("best.", tensors)
        for name, parameter in self.parameters.items():
            state = {
                key.split(".")[1]: tensors[key]
                for key in tensors
                if key.startswith("adam.") and key.endswith(f".{name}")
            }
            if state:
                self.optimizer.state[parameter] = state
        return State(pointer["step"], pointer["sums"], History.from_json(pointer["history"]))


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _copy_into(parameters: Mapping[str, Any], values: Mapping[str, Tensor]) -> None:
    import torch

    with torch.no_grad():
        for name, value in values.items():
            parameters[name].copy_(value)
