"""What the three estimators have in common: settings, parameters, and what is remembered of a fit."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any, Generic, TypeVar

from nwb_rnn.errors import InputError, NotFittedError

Config = TypeVar("Config")
Parameters = TypeVar("Parameters")


class Estimator(Generic[Config, Parameters]):
    """A network with settings, and parameters once it is fitted.

    Attributes
    ----------
    config : frozen settings
    history : a row for each check of training
    data_description : what the model remembers of its data
    software : name -> version of what made the fit
    scores : name -> number, of the last call of `score`
    """

    config: Config

    def __init__(self, kind: type[Config], **settings: Any):
        try:
            self.config = kind(**settings)
        except TypeError as error:
            known = ", ".join(field.name for field in fields(kind))
            unknown = ", ".join(name for name in settings if name not in known.split(", "))
            if not unknown:
                raise
            raise InputError(f"{type(self).__name__} does not know {unknown}; it knows {known}") from error
        self._parameters: Parameters | None = None
        self.history: list[dict] = []
        self.data_description: dict = {}
        self.software: dict[str, str] = {}
        self.scores: dict[str, float] = {}

    @property
    def parameters(self) -> Parameters:
        """The numbers of the network; NotFittedError before `fit`."""
        if self._parameters is None:
            name = type(self).__name__
            raise NotFittedError(
                f"this {name} has no parameters yet: call fit(...), or make one with "
                f"{name}.from_arrays(...) or nwb_rnn.load(path)"
            )
        return self._parameters

    @property
    def configuration(self) -> dict:
        """The frozen configuration as a dict that JSON can hold."""
        return asdict(self.config)  # type: ignore[call-overload]

    @property
    def bin_size(self) -> float:
        """Bin width, s."""
        return float(self.data_description.get("bin_size", 1.0))

    @property
    def unit_ids(self) -> list:
        """Ids of the observed units, in the order of the model."""
        return list(self.data_description["unit_ids"])
