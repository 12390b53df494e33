"""Write the YAML files of ndx-latent-dynamics: `python src/spec/create_extension_spec.py`."""

from pathlib import Path

from fixed_point_spec import fixed_point_table
from latents_spec import trial_aligned_latents
from model_spec import (
    fit_history_table,
    latent_dynamics_model,
    low_rank_rnn,
    parameter_array,
    parameter_group,
    rate_rnn,
    task_rnn,
)
from pynwb.spec import NWBNamespaceBuilder, export_spec

SPEC_FOLDER = Path(__file__).resolve().parents[2] / "spec"


def namespace() -> NWBNamespaceBuilder:
    """Name, version and dependencies of the extension."""
    builder = NWBNamespaceBuilder(
        name="ndx-latent-dynamics",
        version="0.2.0",
        doc="Fitted models of latent neural dynamics, the latents they infer, and their fixed points.",
        author=["The nwb_rnn developers"],
    )
    builder.include_namespace("core")
    return builder


def types() -> list:
    """Every type, those that others build on first."""
    return [
        parameter_array(),
        parameter_group(),
        fit_history_table(),
        latent_dynamics_model(),
        low_rank_rnn(),
        rate_rnn(),
        task_rnn(),
        trial_aligned_latents(),
        fixed_point_table(),
    ]


def main(folder: Path = SPEC_FOLDER) -> None:
    """Write both YAML files into `folder`."""
    export_spec(namespace(), types(), str(folder))


if __name__ == "__main__":
    main()
